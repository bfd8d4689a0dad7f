"""Verification: what was changed, cut, added, removed or rewritten is found, and the first bad line is named."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from sandbox.errors import UsageError
from sandbox.events import Content, Draft, ErrorRaised, FileEffect, ToolCalled, ToolReturned, TrialFinished, UnknownBody
from sandbox.record.anchors import AnchorKey, state_folder
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout, RunLayout, TrialLayout
from sandbox.record.ledger import Ledger
from sandbox.record.line import withhold
from sandbox.record.verify import VerifyReport, load_verified, verified, verify, verify_path
from sandbox.trajectory import Trajectory, trajectories
from tests.sandbox.recording import manifest, record

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""`anchored` only points to a state folder that these tests do not change."""

LOOKS_STORED: dict[str, JsonValue] = {"text": "", "size": 1, "sha256": "ab" * 32, "complete": False, "stored": True}
BIG = b"all of it\n" * 5000


def make(trial: TrialLayout) -> AttemptLayout:
    """A closed ledger of eight events with one blob."""

    async def write() -> None:
        async with Ledger(trial.next()) as ledger:
            output = await ledger.keep(BIG)
            await ledger.append(Draft(manifest(run=trial.root.parent.parent.name, trial=trial.id)))
            await ledger.append(Draft(ToolCalled(call="c1", tool="bash", arguments={"nested": LOOKS_STORED})))
            await ledger.append(Draft(FileEffect(action="created", path="/work/ünï", sensor="files"), "sensor"))
            await ledger.append(Draft(ToolReturned(call="c1", status="ok", output=output, exit_code=0)))
            await ledger.append(Draft(UnknownBody(kind="effect.weather", data={"sky": "grey", "in": [LOOKS_STORED]})))
            for k in range(2):
                await ledger.append(Draft(ErrorRaised(fault="agent", type="Note", message=f"note {k}")))
            await ledger.append(Draft(TrialFinished(stop_reason="submitted", steps=1)))

    asyncio.run(write())
    latest = trial.latest()
    assert latest is not None
    return latest


@dataclass
class Recorded:
    attempt: AttemptLayout
    original: bytes

    def put(self, data: bytes) -> VerifyReport:
        """Verify `data` in the ledger's place."""
        self.attempt.ledger.write_bytes(data)
        return verify(self.attempt.root)

    @property
    def lines(self) -> list[bytes]:
        return self.original.splitlines(keepends=True)


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    attempt = make(RunLayout(tmp_path / "run-1").trial("trial-1"))
    return Recorded(attempt, attempt.ledger.read_bytes())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """For property tests, which put the original back by never reading it again. Its anchor is made for each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BELLJAR_STATE", str(tmp_path_factory.mktemp("first-state")))
        attempt = make(RunLayout(tmp_path_factory.mktemp("runs") / "run-1").trial("trial-1"))
        shutil.copytree(state_folder(), attempt.root / "state")
    return Recorded(attempt, attempt.ledger.read_bytes())


@pytest.fixture
def anchored(shared: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    monkeypatch.setenv("BELLJAR_STATE", str(shared.attempt.root / "state"))
    return shared


def test_what_was_recorded_verifies(recorded: Recorded) -> None:
    report = verify(recorded.attempt.root)
    assert (report.ok, report.status, report.events, report.problems) == (True, "ok", 8, ())
    assert report.head == Trajectory.load(recorded.attempt.root).events[-1].hash


def test_an_agent_cannot_make_its_own_ledger_look_broken(recorded: Recorded) -> None:
    """Its arguments, and fields of kinds unknown here, may look like contents whose blobs are missing."""
    for position in (1, 4):
        assert b'"stored":true' in recorded.lines[position]
    unknown = UnknownBody(kind="x", data={"arguments": LOOKS_STORED})
    record(TrialLayout(recorded.attempt.root.parent).attempt(2).root, [Draft(unknown)])
    report = verify(recorded.attempt.root.parent)
    assert (report.ok, report.first_bad) == (True, None)
    assert "kind that this version does not know" in report.problems[0]


@settings(PROPERTY, max_examples=300)
@given(data=st.data())
def test_any_change_of_one_byte_is_found_in_its_line(anchored: Recorded, data: st.DataObject) -> None:
    original = anchored.original
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != original[at]))
    report = anchored.put(original[:at] + bytes([byte]) + original[at + 1 :])
    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad.line == original[:at].count(b"\n") + 1
    assert report.events == report.first_bad.seq
    assert report.first_bad.why


def test_an_unfinished_line_behind_a_broken_one_is_no_part_of_what_either_reading_tells(anchored: Recorded) -> None:
    report = anchored.put(b"\n\x00")
    assert (report.status, report.torn, len(report.problems)) == ("broken", 0, 1)
    assert load_verified(anchored.attempt) == (Trajectory.load(anchored.attempt.root), report)


@settings(PROPERTY, max_examples=100)
@given(data=st.data())
def test_one_reading_tells_what_loading_and_verifying_tell(anchored: Recorded, data: st.DataObject) -> None:
    original = anchored.original
    at, until = sorted(data.draw(st.tuples(*[st.integers(0, len(original))] * 2)))
    report = anchored.put(original[:at] + data.draw(st.binary(max_size=4)) + original[until:])
    assert load_verified(anchored.attempt) == (Trajectory.load(anchored.attempt.root), report)


@settings(PROPERTY, max_examples=100)
@given(data=st.data())
def test_any_cut_is_found_by_the_anchor(anchored: Recorded, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(anchored.original) - 1))
    left = anchored.original[:at]
    report = anchored.put(left)
    assert (report.ok, report.status, report.events) == (False, "cut", left.count(b"\n"))
    assert report.first_bad is not None
    assert report.first_bad.line == report.events + 1
    assert "8 lines were anchored" in report.first_bad.why
    assert report.torn == len(left) - (left.rfind(b"\n") + 1)


@settings(PROPERTY, max_examples=60)
@given(data=st.data())
def test_any_fields_may_be_withheld_and_are_named(anchored: Recorded, data: st.DataObject) -> None:
    lines = anchored.original.splitlines(keepends=True)
    every = [(seq, name) for seq, line in enumerate(lines) for name in json.loads(line)["body"]["sealed"]]
    out = data.draw(st.sets(st.sampled_from(every)))
    left = [withhold(line, {name for at, name in out if at == seq}) for seq, line in enumerate(lines)]
    report = anchored.put(b"".join(left))
    assert report.status == "ok"
    assert {(item.seq, item.field) for item in report.withheld} == out
    loaded = Trajectory.load(anchored.attempt.root)
    assert loaded.problems == []
    assert {(event.seq, name) for event in loaded.events for name in event.withheld} == out


@pytest.mark.parametrize("line", range(7))
def test_a_line_taken_out_is_noticed_where_it_was(recorded: Recorded, line: int) -> None:
    report = recorded.put(b"".join(recorded.lines[:line] + recorded.lines[line + 1 :]))
    assert (report.status, report.first_bad and report.first_bad.line) == ("broken", line + 1)


def test_lines_exchanged_or_doubled_are_noticed(recorded: Recorded) -> None:
    first, second, third, *rest = recorded.lines
    for lines in ([first, third, second, *rest], [first, second, second, third, *rest]):
        report = recorded.put(b"".join(lines))
        assert report.status == "broken"
        assert report.first_bad is not None
        assert "removed, added or moved" in report.first_bad.why


def test_a_line_from_another_ledger_is_noticed(recorded: Recorded, tmp_path: Path) -> None:
    other = make(RunLayout(tmp_path / "run-2").trial("trial-1")).ledger.read_bytes().splitlines(keepends=True)
    report = recorded.put(b"".join(recorded.lines[:5] + other[5:]))
    assert report.first_bad is not None
    assert (report.first_bad.line, report.first_bad.why) == (6, "it does not continue the line before")


def test_a_ledger_rewritten_from_its_first_line_is_noticed_by_the_anchor(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("BELLJAR_STATE", str(tmp_path / "another-state"))
        forged = make(RunLayout(tmp_path / "elsewhere" / "run-1").trial("trial-1")).ledger.read_bytes()
    report = recorded.put(forged)
    assert report.status == "broken"
    assert "rewritten" in report.problems[0]


def test_what_is_added_after_the_close_is_noticed(recorded: Recorded) -> None:
    for addition in (b"{", b"\n"):
        report = recorded.put(recorded.original + addition)
        assert not report.ok
        assert report.first_bad is not None
        assert report.first_bad.line == 9


def test_another_machine_says_unanchored_not_ok(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "fresh"))
    report = verify(recorded.attempt.root)
    assert (report.ok, report.status, report.first_bad, report.events) == (False, "unanchored", None, 8)
    cut = recorded.put(b"".join(recorded.lines[:3]))
    assert (cut.status, cut.events) == ("unanchored", 3)
    changed = recorded.put(recorded.original.replace(b"submitted", b"inert----"))
    assert (changed.status, changed.first_bad and changed.first_bad.line) == ("broken", 8)


@pytest.mark.parametrize("junk", [b"", b"belljar-anchor-1 ", b"\xff" * 117])
def test_an_anchor_that_cannot_be_read_counts_as_none(recorded: Recorded, junk: bytes) -> None:
    AnchorKey("run-1", "trial-1", 1).place.write_bytes(junk)
    assert verify(recorded.attempt.root).status == "unanchored"


def test_an_anchor_is_117_bytes_whatever_it_says(recorded: Recorded) -> None:
    place = AnchorKey("run-1", "trial-1", 1).place
    assert place == state_folder() / "anchors" / "run-1" / "trial-1.1"
    assert len(place.read_bytes()) == 117


def _blob(recorded: Recorded) -> Path:
    (found,) = (file for file in recorded.attempt.blobs.rglob("*") if file.is_file())
    return found


def test_a_missing_blob_is_named_with_its_event(recorded: Recorded) -> None:
    _blob(recorded).unlink()
    report = verify(recorded.attempt.root)
    assert (report.status, report.first_bad and report.first_bad.line) == ("broken", 4)
    assert "is missing" in report.problems[0]
    assert verify(recorded.attempt.root, blobs=False).ok


def test_an_altered_blob_is_named_with_its_event(recorded: Recorded) -> None:
    blob = _blob(recorded)
    blob.unlink()
    blob.with_suffix("").write_bytes(BIG.replace(b"all", b"ALL"))
    report = verify(recorded.attempt.root)
    assert (report.status, report.first_bad and report.first_bad.line) == ("broken", 4)
    assert "altered" in report.problems[0]


def test_a_body_that_many_lines_refer_to_is_unpacked_once(tmp_path: Path) -> None:
    """Two thousand times 128 MiB would take minutes."""
    size = 128 * 1024 * 1024
    digest = BlobStore(tmp_path / "blobs").put(bytes(size))
    output = Content(text="", size=size, sha256=digest, complete=False, stored=True)
    drafts = [Draft(ToolReturned(call=f"c{n}", status="ok", output=output)) for n in range(2000)]
    record(tmp_path, [Draft(manifest()), *drafts])
    started = time.process_time()
    assert verify(tmp_path).ok
    assert time.process_time() - started < 30


def test_a_withheld_content_needs_no_blob(recorded: Recorded) -> None:
    _blob(recorded).unlink()
    lines = recorded.lines
    lines[3] = withhold(lines[3], {"output"})
    assert recorded.put(b"".join(lines)).status == "ok"


def test_a_run_is_verified_attempt_by_attempt_and_a_vanished_ledger_is_missed(tmp_path: Path) -> None:
    run = RunLayout(tmp_path / "run-1")
    first, second = make(run.trial("trial-1")), make(run.trial("trial-1"))
    third = make(run.trial("trial-2"))
    assert [(place, report.status) for place, report in verify_path(run.root)] == [
        (attempt.root, "ok") for attempt in (first, second, third)
    ]
    assert [place for place, _ in verify_path(tmp_path)] == [first.root, second.root, third.root]
    assert [place for place, _ in verify_path(run.trial("trial-1").root)] == [first.root, second.root]
    assert [report.ok for _, report in verify_path(third.ledger)] == [True]
    assert list(verified(run.root)) == [(trajectory, verify(trajectory.layout.root)) for trajectory in trajectories(run.root)]
    shutil.rmtree(third.root)
    assert [(place, report.status) for place, report in verify_path(run.root)][2:] == [(third.root, "cut")]


def test_nothing_to_verify_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "run" / "trials").mkdir(parents=True)
    for path in (tmp_path / "nowhere", tmp_path / "run", tmp_path / "run" / "trials"):
        with pytest.raises(UsageError):
            verify_path(path)


def test_the_report_as_json_has_the_promised_fields(recorded: Recorded) -> None:
    good = verify(recorded.attempt.root).model_dump(mode="json")
    assert {"ok", "events", "head", "first_bad"} <= good.keys()
    assert "anchored_as" not in good
    bad = recorded.put(recorded.original[:-40]).model_dump(mode="json")
    assert bad["first_bad"] == {"seq": 7, "line": 8, "why": "it was cut off: 8 lines were anchored, 7 are there"}
    json.dumps(good)


@settings(PROPERTY, max_examples=50)
@given(junk=st.binary(max_size=300))
def test_a_file_of_anything_is_answered_not_raised(anchored: Recorded, junk: bytes) -> None:
    report = anchored.put(junk)
    assert not report.ok
    loaded = Trajectory.load(anchored.attempt.root)
    assert loaded.events == ()
