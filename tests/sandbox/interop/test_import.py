"""Files of other programs, written by hand, become trials that hold what they say, and say what they could not hold."""

from __future__ import annotations

import gzip
import json
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard

from analysis.verdict import judge
from sandbox.events import Imported, ModelCalled, SensorState, Submitted, ToolCalled, ToolReturned
from sandbox.interop import ImportReport, import_file
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory

FILES = Path(__file__).parent / "files"


def imported(name: str, folder: Path) -> tuple[ImportReport, list[Trajectory]]:
    report = import_file(FILES / name, folder / "runs")
    loaded = [Trajectory.load(trial.path) for trial in report.trials]
    for trial in loaded:
        assert trial.problems == []
        assert verify(trial.layout.root).status == "ok"
        assert [(b.state, b.sensor) for _, b in trial.of(SensorState)] == [("gap", "import")]
        (origin,) = [b for _, b in trial.of(Imported)]
        assert origin.format == report.format
        assert trial.bytes_of(origin.source)
    return report, loaded


def calls(trial: Trajectory) -> list[tuple[str, Any, str | None, str | None]]:
    """Tool, arguments, status and output of every call."""
    return [
        (c.call.tool, c.call.arguments, c.result.status if c.result else None, c.result.output.text if c.result else None)
        for c in trial.calls()
    ]


def told(trial: Trajectory) -> list[list[tuple[str, str]]]:
    return [[(m.role, m.content) for m in body.delta] for _, body in trial.of(ModelCalled)]


def test_openai_messages(tmp_path: Path) -> None:
    report, (trial,) = imported("openai.json", tmp_path)
    assert report.format == "openai-messages"
    assert calls(trial) == [
        ("bash", {"command": "ls /srv/archive | wc -l"}, "ok", "12\n"),
        ("bash", {"_unparsed": "not json"}, "ok", "syntax error"),
    ]
    first = next(trial.of(ModelCalled))[1]
    assert first.reply.reasoning == "A listing will do."
    assert [c.provider_id for c in first.reply.calls] == ["call_1", "call_2"]
    assert told(trial)[0] == [("system", "You keep a small archive."), ("user", "Count the files in /srv/archive.")]
    assert [role for role, _ in told(trial)[1]] == ["tool", "tool", "tool"]
    assert report.lost == {
        "messages of several text parts (joined)": 1,
        "arguments that are no JSON object (kept as text)": 1,
        "tool messages that answer no call (kept in the conversation)": 1,
        "message fields `annotations`": 1,
        "messages after the last reply": 1,
    }


def test_atif(tmp_path: Path) -> None:
    report, (trial,) = imported("atif.json", tmp_path)
    assert report.format == "atif"
    assert trial.manifest.model == "orchard/pear-1"
    assert trial.manifest.trial == "harvest-7"
    assert calls(trial) == [
        ("shell", {"command": "tank --level"}, "ok", "81 percent"),
        ("shell", {"command": "valve --state"}, "ok", "closed"),
    ]
    event, first = next(trial.of(ModelCalled))
    assert (first.usage.input_tokens, first.usage.cost_usd, first.reply.reasoning) == (
        120,
        0.002,
        "An empty tank would be bad.",
    )
    assert event.header.observed_at.wall_us == 1_772_352_005_000_000
    assert told(trial)[1] == [("tool", "closed"), ("tool", "81 percent"), ("tool", "a pump started by itself")]
    assert list(trial.of(ModelCalled))[1][1].reply.content == "Watered.[image]"
    assert report.lost == {
        "step fields `model_name`": 1,
        "tool call fields `extra`": 1,
        "metrics fields `cached_tokens`": 1,
        "observations without a call (kept in the conversation)": 1,
        "image parts of messages": 1,
        "messages of several text parts (joined)": 1,
    }


def test_langchain_messages_in_all_three_forms(tmp_path: Path) -> None:
    report, (trial,) = imported("langchain.json", tmp_path)
    assert report.format == "langchain-messages"
    assert calls(trial) == [
        ("find", {"q": "maps"}, "ok", "shelf 12"),
        ("find", {"_unparsed": "{broken"}, "error", "bad arguments"),
    ]
    replies = [body.reply for _, body in trial.of(ModelCalled)]
    assert [(r.content, r.reasoning) for r in replies] == [("I look it up.", None), ("Shelf 12.", "That settles it.")]
    assert told(trial)[0] == [("system", "You keep a library."), ("user", "Which shelf holds maps?")]
    assert report.lost["messages of type 'remove'"] == 1


def test_mini_swe_agent_with_commands_in_text(tmp_path: Path) -> None:
    report, (trial,) = imported("mini_text.traj.json", tmp_path)
    assert report.format == "mini-swe-agent"
    assert calls(trial)[0][:3] == ("bash", {"command": "cat clock.py"}, "ok")
    assert calls(trial)[1][3] is None
    assert next(trial.calls()).result.exit_code == 0  # type: ignore[union-attr]
    assert told(trial)[1] == [("user", "<returncode>0</returncode>\n<output>\nOFFSET = 3600\n</output>")]
    assert told(trial)[2] == [("user", "Please give exactly one block.")]
    assert [b.report for _, b in trial.of(Submitted)] == ["diff --git a/clock.py b/clock.py"]
    assert trial.manifest.model == "brook/stone-2"
    assert report.lost == {"calls without an answer (kept as calls)": 1}


def test_mini_swe_agent_with_tool_calls_and_responses(tmp_path: Path) -> None:
    report, (trial,) = imported("mini_calls.traj.json", tmp_path)
    assert calls(trial) == [
        ("bash", {"command": "ls bells"}, "ok", "no bells"),
        ("bash", {"command": "sleep 900"}, "timeout", ""),
        ("bash", {"command": "ls -a bells"}, "ok", ".hidden\n"),
    ]
    assert [c.result.exit_code for c in trial.calls() if c.result] == [2, -1, 0]
    second = list(trial.of(ModelCalled))[1][1]
    assert (second.reply.content, second.reply.reasoning) == ("Once more.", "Ring again.")
    assert trial.finished is not None
    assert (trial.finished.stop_reason, trial.finished.usage.cost_usd) == ("steps", 0.5)
    assert report.lost == {"exit messages (kept as the stop reason)": 1}


def test_swe_agent(tmp_path: Path) -> None:
    report, (trial,) = imported("swe_agent.traj", tmp_path)
    assert report.format == "swe-agent"
    assert calls(trial) == [
        ("bash", {"command": "open crane.py"}, "ok", "[File: crane.py]\nLIFT = 2"),
        ("bash", {"command": "submit"}, "ok", "done"),
    ]
    assert told(trial)[0][2] == ("user", "ISSUE: the crane lifts twice.")
    assert [c.result.duration_us for c in trial.calls() if c.result] == [250_000, 100_000]
    assert trial.finished is not None
    assert trial.finished.stop_reason == "submitted"
    assert report.lost == {"step fields `state`": 1, "later messages of the history that no step holds": 1}


def check_inspect(report: ImportReport, trials: list[Trajectory]) -> None:
    assert report.format == "inspect"
    assert [trial.id for trial in report.trials] == ["12", "12-epoch-2"]
    first, second = trials
    assert calls(first) == [
        ("bash", {"cmd": "oil"}, "ok", "full"),
        ("lamp", {}, "timeout", "Command timed out"),
        ("submit", {"answer": "lit"}, "ok", "lit"),
    ]
    body = next(first.of(ModelCalled))[1]
    assert (body.usage.output_tokens, body.latency_us, body.finish_reason) == (6, 1_500_000, "tool_calls")
    assert (body.reply.reasoning, body.delta[1].content) == ("Check the oil.", "Light the lamp, please.")
    assert next(first.calls()).result.duration_us == 250_000  # type: ignore[union-attr]
    assert (first.manifest.scenario, first.manifest.sampling) == ("lighthouse", {"temperature": 0.5})
    assert [b.report for _, b in first.of(Submitted)] == ["lit"]
    claims = next(first.of(Imported))[1].claims
    assert claims["scores"] == {"includes": {"value": "C", "answer": "lit"}}
    assert report.lost["model calls whose reply is not in the final messages"] == 1
    assert report.lost["`score` events of Inspect"] == 1
    assert second.finished is not None
    assert (second.finished.stop_reason, second.manifest.epoch) == ("tokens", 2)


def test_inspect_json(tmp_path: Path) -> None:
    check_inspect(*imported("inspect.json", tmp_path))


def eval_archive(compression: int) -> bytes:
    """The same log as an `.eval`; zstandard entries are written as Inspect writes them, which zipfile itself cannot yet."""
    log = json.loads((FILES / "inspect.json").read_text())
    entries = {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in log.pop("samples")} | {"header.json": log}
    packed = BytesIO()
    if compression != 93:
        with zipfile.ZipFile(packed, "w", compression) as archive:
            for name, value in entries.items():
                archive.writestr(name, json.dumps(value))
        return packed.getvalue()
    return zstandard_archive({name: json.dumps(value).encode() for name, value in entries.items()})


def zstandard_archive(entries: dict[str, bytes], *, claim: int | None = None) -> bytes:
    """A zip file of zstandard entries; `claim` is the size they all say they have."""
    body, directory = b"", b""
    for name, data in entries.items():
        raw, frame = name.encode(), zstandard.compress(data)
        sizes = zlib.crc32(data).to_bytes(4, "little") + len(frame).to_bytes(4, "little")
        sizes += (len(data) if claim is None else claim).to_bytes(4, "little") + len(raw).to_bytes(2, "little")
        common = (63).to_bytes(2, "little") + bytes(2) + (93).to_bytes(2, "little") + bytes(4) + sizes + bytes(2)
        directory += b"PK\x01\x02" + (63).to_bytes(2, "little") + common + bytes(10) + len(body).to_bytes(4, "little") + raw
        body += b"PK\x03\x04" + common + raw + frame
    count = len(entries).to_bytes(2, "little")
    end = b"PK\x05\x06" + bytes(4) + count * 2 + len(directory).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return body + directory + end + bytes(2)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, 93])
def test_inspect_eval(compression: int, tmp_path: Path) -> None:
    file = tmp_path / "log.eval"
    file.write_bytes(eval_archive(compression))
    report = import_file(file, tmp_path / "runs")
    check_inspect(report, [Trajectory.load(trial.path) for trial in report.trials])


def test_every_line_of_a_json_lines_file_is_a_trial_compressed_or_not(tmp_path: Path) -> None:
    line = {"id": "same", "model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}
    data = b"".join(json.dumps(line | {"label": n}).encode() + b"\n" for n in range(3))
    (tmp_path / "three.jsonl").write_bytes(data)
    (tmp_path / "three.jsonl.gz").write_bytes(gzip.compress(data))
    for name in ("three.jsonl", "three.jsonl.gz"):
        report = import_file(tmp_path / name, tmp_path / "runs")
        assert [trial.id for trial in report.trials] == ["same", "same-2", "same-3"]
        labels = [next(Trajectory.load(t.path).of(Imported))[1].claims["label"] for t in report.trials]
        assert labels == [0, 1, 2]


def test_messages_one_a_line_are_one_trial(tmp_path: Path) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text('{"role": "user", "content": "hi"}\n{"role": "assistant", "content": "ho"}\n')
    report = import_file(file, tmp_path / "runs")
    assert [trial.turns for trial in report.trials] == [1]


def test_lone_surrogates_are_replaced_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "odd.json"
    file.write_text(
        '[{"role": "assistant", "content": "a\\ud800b", "tool_calls": [{"id": "\\udfff", "function": {"name": "x"}}]}]'
    )
    report = import_file(file, tmp_path / "runs")
    trial = Trajectory.load(report.trials[0].path)
    assert next(trial.of(ModelCalled))[1].reply.content == "a\ufffdb"
    assert report.lost["texts with lone surrogates (replaced)"] == 2
    assert next(trial.of(ToolCalled))[1].arguments == {}


def test_a_repeated_call_id_is_answered_turn_by_turn(tmp_path: Path) -> None:
    def turn(command: str, *outputs: str) -> list[dict[str, Any]]:
        call = {"id": "same", "type": "function", "function": {"name": "bash", "arguments": json.dumps({"command": command})}}
        answers = [{"role": "tool", "tool_call_id": "same", "content": output} for output in outputs]
        return [{"role": "assistant", "content": "", "tool_calls": [call] * len(outputs)}, *answers]

    file = tmp_path / "same.json"
    file.write_text(json.dumps(turn("one", "1a", "1b") + turn("two", "2")))
    trial = Trajectory.load(import_file(file, tmp_path / "runs").trials[0].path)
    assert [output for *_, output in calls(trial)] == ["1a", "1b", "2"]
    assert len({body.call for _, body in trial.of(ToolCalled)}) == 3
    assert [body.call for _, body in trial.of(ToolReturned)] == ["c1", "c2", "c3"]


@pytest.mark.parametrize("name", sorted(file.name for file in FILES.iterdir()))
def test_imported_trials_are_judged_at_once_and_nothing_is_excluded_unseen(name: str, tmp_path: Path) -> None:
    _, trials = imported(name, tmp_path)
    for trial in trials:
        verdict = judge(trial)
        facts = {fact for behaviour in verdict.verdicts.values() for fact in (behaviour.attempted, behaviour.succeeded)}
        assert "false" not in facts
