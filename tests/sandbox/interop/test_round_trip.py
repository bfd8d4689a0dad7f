"""What leaves in another format and comes back is the same trial, but for its effects, which are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.events import Imported, Interviewed, ModelCalled, Reviewed, SensorState, Submitted, ToolCalled, ToolReturned
from sandbox.interop import WRITERS, export, import_file
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory
from tests.sandbox.interop.samples import LONG, VERDICTS, whole_trial

KEPT = (ModelCalled, ToolCalled, ToolReturned, Submitted, Interviewed, Reviewed)


@pytest.fixture
def trial(tmp_path: Path, state: Path) -> Trajectory:
    return whole_trial(tmp_path / "ours")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def back(trial: Trajectory, form: str, folder: Path, verdicts: Any = VERDICTS) -> Trajectory:
    if form.startswith("inspect"):
        pytest.importorskip("inspect_ai")
    exported = export(trial, form, verdicts)
    file = folder / f"exported{exported.suffix}"
    file.write_bytes(exported.data)
    report = import_file(file, folder / "runs")
    assert len(report.trials) == 1
    return Trajectory.load(report.trials[0].path)


@pytest.mark.parametrize("form", WRITERS)
def test_calls_outputs_order_and_words_come_back(form: str, trial: Trajectory, tmp_path: Path) -> None:
    returned = back(trial, form, tmp_path)
    for kind in KEPT:
        assert [body for _, body in returned.of(kind)] == [body for _, body in trial.of(kind)], kind
    order = [e.kind for e in trial.events if isinstance(e.body, ModelCalled | ToolCalled | ToolReturned)]
    assert [e.kind for e in returned.events if isinstance(e.body, ModelCalled | ToolCalled | ToolReturned)] == order
    assert returned.finished is not None
    assert returned.finished.stop_reason == "submitted"


@pytest.mark.parametrize("form", WRITERS)
def test_the_manifest_comes_back_and_long_bodies_with_it(form: str, trial: Trajectory, tmp_path: Path) -> None:
    returned = back(trial, form, tmp_path)
    own = {"run", "parent", "sensors"}
    assert returned.manifest.model_dump(exclude=own) == trial.manifest.model_dump(exclude=own)
    long = next(body.output for _, body in returned.of(ToolReturned) if body.call == "c3")
    assert returned.bytes_of(long) == LONG
    assert verify(returned.layout.root).status == "ok"
    assert returned.problems == []


@pytest.mark.parametrize("form", WRITERS)
def test_verdicts_travel_twice_and_stay_claims(form: str, trial: Trajectory, tmp_path: Path) -> None:
    once = back(trial, form, tmp_path)
    (tmp_path / "again").mkdir()
    twice = back(once, form, tmp_path / "again", None)
    (imported,) = [body for _, body in twice.of(Imported)]
    assert imported.claims["verdicts"] == VERDICTS


@pytest.mark.parametrize("form", WRITERS)
def test_nothing_was_watched_and_effects_are_counted(form: str, trial: Trajectory, tmp_path: Path) -> None:
    returned = back(trial, form, tmp_path)
    assert [body.state for _, body in returned.of(SensorState)] == ["gap"]
    assert not [e for e in returned.events if e.kind.startswith("effect.")]
    (imported,) = [body for _, body in returned.of(Imported)]
    assert sum(n for what, n in imported.lost.items() if "effect.file" in what) == 1
    assert sum(n for what, n in imported.lost.items() if "effect.network" in what) == 1


def test_metadata_that_contradicts_the_messages_is_left_aside(trial: Trajectory, tmp_path: Path) -> None:
    document = json.loads(export(trial, "openai-messages").data)
    document["messages"] = [m for m in document["messages"] if m.get("tool_calls", [{}])[0].get("id") != "c1"]
    file = tmp_path / "edited.json"
    file.write_text(json.dumps(document))
    report = import_file(file, tmp_path / "runs")
    assert report.lost["belljar metadata that does not fit the messages"] == 1
    assert Trajectory.load(report.trials[0].path).manifest.seed == 0


def test_what_inspect_reads_back_is_what_was_written(trial: Trajectory, tmp_path: Path) -> None:
    log_module = pytest.importorskip("inspect_ai.log")
    for form in ("inspect", "inspect-json"):
        exported = export(trial, form, VERDICTS)
        file = tmp_path / f"log{exported.suffix}"
        file.write_bytes(exported.data)
        log = log_module.read_eval_log(str(file))
        (sample,) = log.samples
        calls = [c for m in sample.messages if m.role == "assistant" for c in m.tool_calls or []]
        assert [c.arguments for c in calls] == [dict(c.arguments) for _, b in trial.of(ModelCalled) for c in b.reply.calls]
        assert sample.scores["belljar"].value == "clean"
        infos = [e.source for e in sample.events if e.event == "info"]
        assert "belljar/effect.file" in infos


@pytest.mark.parametrize("form", ["ours", "foreign"])
def test_atif_passes_its_own_validator(form: str, trial: Trajectory, tmp_path: Path) -> None:
    if form == "foreign":
        source = Path(__file__).parent / "files" / "openai.json"
        trial = Trajectory.load(import_file(source, tmp_path / "runs").trials[0].path)
    document = json.loads(export(trial, "atif", VERDICTS).data)
    models = pytest.importorskip("atif")
    models.Trajectory.model_validate(document)


def test_langchain_itself_takes_its_messages(trial: Trajectory) -> None:
    from langchain_core.messages import messages_from_dict

    document = json.loads(export(trial, "langchain-messages").data)
    messages = messages_from_dict(document["messages"])
    assert [m.type for m in messages][:4] == ["system", "human", "ai", "tool"]
    assert messages[2].tool_calls[0]["args"] == {"command": "cat /srv/note"}
