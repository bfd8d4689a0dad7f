"""Files made to hurt: every one ends in a documented error or a trial, within bounds, and nothing half-written stays."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import IntegrityError, UsageError
from sandbox.events import ModelCalled, ToolReturned
from sandbox.interop import FORMATS, import_file
from sandbox.interop.intake import MAX_DOCUMENT, MAX_UNPACKED, MAX_VALUES, SourceFile, parse
from sandbox.interop.sniff import READERS, recognise
from sandbox.record.anchors import state_folder
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory
from tests.sandbox.interop.test_import import FILES, eval_archive, zstandard_archive

GOOD = b'[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]'


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return packed.getvalue()


def header(**changes: Any) -> bytes:
    return json.dumps({"version": 2, "eval": {"task": "t", "model": "m"}} | changes).encode()


SAMPLE = b'{"id": 1, "epoch": 1, "messages": [{"role": "assistant", "content": "y"}]}'
BAD: dict[str, bytes] = {
    "nothing": b"",
    "blank": b"  \n\n ",
    "not json": b"<html></html>",
    "a number": b"42",
    "cut json": GOOD[:-5],
    "two documents": GOOD + GOOD,
    "invalid utf-8": b'[{"role": "assistant", "content": "\xff\xfe"}]',
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "too deep beside a surrogate": b'["\\ud800",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
    "too many values": b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
    "no reply": b'[{"role": "user", "content": "x"}]',
    "newer atif": b'{"schema_version": "ATIF-v1.99", "agent": {}, "steps": []}',
    "atif 2": b'{"schema_version": "ATIF-v2.0", "agent": {}, "steps": []}',
    "newer mini": b'{"trajectory_format": "mini-swe-agent-9", "messages": []}',
    "newer inspect": json.dumps({"version": 3, "eval": {}, "samples": [{}]}).encode(),
    "inspect without samples": json.dumps({"version": 2, "eval": {}}).encode(),
    "cut gzip": gzip.compress(GOOD * 1000)[:-20],
    "gzip of zeros": gzip.compress(bytes(300 * 1024 * 1024)),
    "zstandard": b"\x28\xb5\x2f\xfd\x00\x00",
    "a ledger of ours": b'{"header":{},\t"body":{},\t"hash":""}\n' * 2,
    "zip without header": zipped({"samples/1.json": SAMPLE}),
    "zip without samples": zipped({"header.json": header()}),
    "newer eval": zipped({"header.json": header(version=3), "samples/1.json": SAMPLE}),
    "cut eval": eval_archive(93)[:-60],
    "damaged eval": eval_archive(93)[:60] + b"\0\0\0\0" + eval_archive(93)[64:],
    "deflate bomb": zipped({"header.json": header(), "samples/1.json": bytes(MAX_DOCUMENT + 1)}),
    "zstandard bomb": zstandard_archive({"header.json": header(), "samples/1.json": bytes(MAX_DOCUMENT + 1)}),
    "zstandard bomb that lies": zstandard_archive({"header.json": bytes(MAX_DOCUMENT + 1)}, claim=100),
    "entry that is not what it says": zstandard_archive({"header.json": header()}, claim=5),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_refused_in_a_sentence_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    file = tmp_path / "in" / "bad.json"
    file.parent.mkdir()
    file.write_bytes(BAD[what])
    with pytest.raises(UsageError) as raised:
        import_file(file, tmp_path / "runs")
    assert len(raised.value.message) < 600
    assert "\n" not in raised.value.message
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["bad.json"]
    assert not list(state_folder().rglob("*.1"))


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.eval"
    packed = zstandard_archive({"samples/1.json": SAMPLE, "samples/2.json": SAMPLE})
    file.write_bytes(packed.replace(b"samples/2.json", b"samples/1.json"))
    with pytest.raises(UsageError, match="same name"):
        import_file(file, tmp_path / "runs")


def archive_with(change: Callable[[list[zipfile.ZipInfo]], None], samples: int) -> bytes:
    """An archive whose directory says what `change` makes of it."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("header.json", header())
        for number in range(samples):
            archive.writestr(f"samples/{number}.json", SAMPLE)
        change(archive.infolist())
    return packed.getvalue()


def test_entries_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    def share(entries: list[zipfile.ZipInfo]) -> None:
        entries[2].header_offset = entries[1].header_offset

    (tmp_path / "shared.eval").write_bytes(archive_with(share, 2))
    with pytest.raises(UsageError, match="in the same place"):
        import_file(tmp_path / "shared.eval", tmp_path / "runs")


def test_entries_that_unpack_to_too_much_together_are_refused(tmp_path: Path) -> None:
    def claim(entries: list[zipfile.ZipInfo]) -> None:
        for entry in entries:
            entry.file_size = MAX_DOCUMENT

    (tmp_path / "large.eval").write_bytes(archive_with(claim, MAX_UNPACKED // MAX_DOCUMENT))
    with pytest.raises(UsageError, match=f"at most {MAX_UNPACKED:,}"):
        import_file(tmp_path / "large.eval", tmp_path / "runs")


def test_a_failure_in_the_middle_leaves_no_run(tmp_path: Path) -> None:
    file = tmp_path / "half.eval"
    file.write_bytes(zipped({"header.json": header(), "samples/1.json": SAMPLE, "samples/2.json": b"{cut"}))
    with pytest.raises(UsageError, match=r"samples/2\.json"):
        import_file(file, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []
    assert not list(state_folder().rglob("*.1"))


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "..", ".", "", "a/b\\c\0d", "x" * 5000, "CON", "évil\u202e"])
def test_names_of_trials_cannot_lead_out_of_the_run(name: str, tmp_path: Path) -> None:
    file = tmp_path / "named.json"
    messages = [{"role": "assistant", "content": "y"}]
    file.write_text(json.dumps({"id": name, "messages": messages}))
    report = import_file(file, tmp_path / "deep" / "runs")
    (trial,) = report.trials
    assert trial.path.resolve().parent == (report.path / "trials").resolve()
    assert verify(trial.path).status == "ok"
    assert {p.name for p in tmp_path.iterdir()} == {"named.json", "deep"}


def test_links_folders_and_pipes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(GOOD)
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("link.json", "pipe.json", "missing.json", "."):
        with pytest.raises(UsageError):
            import_file(tmp_path / name, tmp_path / "runs")


def test_an_unknown_format_is_named_with_the_known_ones(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(GOOD)
    with pytest.raises(UsageError) as raised:
        import_file(tmp_path / "good.json", tmp_path / "runs", format="csv")
    assert all(name in raised.value.fix for name in FORMATS)


def test_more_turns_than_the_bound_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "million.json"
    file.write_bytes(b"[" + b",".join([b'{"role":"assistant","content":"x"}'] * 1_000_000) + b"]")
    with pytest.raises(UsageError, match="turns"):
        import_file(file, tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


def within_a_gigabyte(script: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    limit = 1024 * 1024 * 1024
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        check=False,
    )


def test_the_densest_document_that_is_read_stays_within_a_gigabyte() -> None:
    script = (
        "from sandbox.interop.intake import MAX_VALUES, parse\nparse(b'[' + b'[],' * (MAX_VALUES // 2 - 2) + b'[]]', 'dense')\n"
    )
    done = within_a_gigabyte(script)
    assert done.returncode == 0, done.stderr[-500:]


DENSE = b'{"role":"assistant","content":[' + b"{}," * 99_999 + b"{}]}\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (DENSE * 110, b"values; at most"),
        (b"{}\n" * 2 + b"\n" * 250_000_000, b"lines; at most"),
        (b"{}\n" * 4_000_000, b"format"),
    ],
    ids=["dense messages", "empty lines", "empty objects"],
)
def test_many_lines_in_few_packed_bytes_are_refused_within_a_gigabyte(data: bytes, why: bytes, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl.gz"
    file.write_bytes(gzip.compress(data, 1))
    script = "import sys\nfrom sandbox.cli import main\nmain(['import', *sys.argv[1:]])\n"
    done = within_a_gigabyte(script, file, "--out", tmp_path / "runs")
    assert done.returncode == 2, done.stderr[-500:]
    assert why in done.stderr


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "role",
        "content",
        "tool_calls",
        "id",
        "function",
        "name",
        "arguments",
        "tool_call_id",
        "reasoning",
        "type",
        "data",
        "kwargs",
        "lc",
        "args",
        "status",
        "messages",
        "steps",
        "source",
        "message",
        "observation",
        "results",
        "source_call_id",
        "metrics",
        "schema_version",
        "agent",
        "extra",
        "trajectory",
        "history",
        "info",
        "action",
        "response",
        "exit_status",
        "submission",
        "eval",
        "version",
        "samples",
        "events",
        "event",
        "output",
        "choices",
        "usage",
        "attachments",
        "scores",
        "metadata",
        "belljar",
        "limit",
        "epoch",
        "timestamp",
        "working_time",
        "trajectory_format",
        "object",
        "call_id",
        "raw_output",
        "returncode",
        "error",
    ]
)
WORDS = st.sampled_from(
    ["assistant", "user", "tool", "system", "ai", "human", "agent", "model", "text", "reasoning", "ATIF-v1.6", "exit",
     "function_call", "message", "submit", "attachment://x", "```bash\nls\n```", "<returncode>1</returncode>"]
)  # fmt: skip
SHAPED = st.recursive(
    WORDS | st.none() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


def mutated(document: Any, data: st.DataObject) -> Any:
    """A document with a few of its values replaced by anything."""
    for _ in range(data.draw(st.integers(1, 4))):
        place, key = document, None
        while isinstance(place, dict | list) and place:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            parent, key = place, data.draw(st.sampled_from(keys))
            place = place[key]
            if data.draw(st.integers(0, 3)) == 0:
                break
        if key is not None:
            parent[key] = data.draw(SHAPED | JSON)
    return document


def outcome(read: Callable[[], Any]) -> str:
    """`read`, or the documented errors; anything else is a failure of the test."""
    try:
        read()
    except (UsageError, IntegrityError) as error:
        return type(error).__name__
    return "read"


@pytest.mark.parametrize("form", FORMATS)
@given(document=SHAPED | JSON)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused_by_every_reader(form: str, document: Any) -> None:
    outcome(lambda: list(READERS[form](document, "any")))


@pytest.mark.parametrize("name", sorted(file.name for file in FILES.iterdir()))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_good_file_with_bad_places_becomes_a_whole_trial_or_is_refused(name: str, data: st.DataObject) -> None:
    document = mutated(json.loads((FILES / name).read_text()), data)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mutated.json"
        file.write_text(json.dumps(document))
        runs = Path(folder) / "runs"
        if outcome(lambda: import_file(file, runs)) == "read":
            ledgers = list(runs.glob("*/trials/*/attempt-1/ledger.jsonl"))
            assert ledgers
            assert all(verify(ledger).status == "ok" for ledger in ledgers)
        else:
            assert list(runs.iterdir() if runs.exists() else []) == []


@given(raw=st.binary(max_size=300), cut=st.integers(0, 2000), flip=st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes, cut: int, flip: int) -> None:
    archive = bytearray(eval_archive(93 if flip % 2 else zipfile.ZIP_DEFLATED))
    archive[flip % len(archive)] ^= 1 + cut % 255
    for data in (raw, b"PK\x03\x04" + raw, b"\x1f\x8b" + raw, bytes(archive), bytes(archive[:cut])):
        outcome(lambda data=data: list(recognise(SourceFile("any", data)).transcripts))  # type: ignore[misc]


@given(st.binary(max_size=60))
def test_the_parser_gives_json_or_a_usage_error(raw: bytes) -> None:
    outcome(lambda: parse(raw, "any"))


@pytest.mark.parametrize("text", ["x" * 25_000_000, "a,b [c] {d}\n" * 2_200_000], ids=["long", "full of signs"])
def test_a_huge_output_is_imported_with_the_middle_of_its_message_left_out(text: str, tmp_path: Path) -> None:
    asked = {"id": "1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "cat x"}'}}
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "1", "content": text},
        {"role": "assistant", "content": "done"},
    ]
    source = tmp_path / "huge.json"
    source.write_text(json.dumps({"messages": messages}))
    report = import_file(source, tmp_path / "runs")
    assert report.lost == {"the middle of long messages (content)": 1}
    trial = Trajectory.load(report.trials[0].path)
    (returned,) = (body for _, body in trial.of(ToolReturned))
    assert trial.bytes_of(returned.output) == text.encode()
    told = next(m.content for _, body in trial.of(ModelCalled) for m in body.delta if m.role == "tool")
    assert (told[:1000], told[-1000:]) == (text[:1000], text[-1000:])
    assert len(told) < 1_001_000
    assert "characters left out" in told
