"""Reading back: tolerant of what is torn, newer, foreign or hostile, and exact in what belongs to which call."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import IntegrityError, UsageError
from sandbox.events import (
    Content,
    Draft,
    ErrorRaised,
    FileEffect,
    LimitReached,
    ToolCalled,
    ToolReturned,
    TrialFinished,
    UnknownBody,
)
from sandbox.record.layout import RunLayout, TrialLayout
from sandbox.trajectory import Trajectory, headers, stop_reason, trajectories
from tests.sandbox.recording import manifest, record

END = Draft(TrialFinished(stop_reason="submitted", steps=1))


def content(text: str) -> Content:
    return Content(text=text, size=len(text), sha256="")


@pytest.fixture
def trial(tmp_path: Path) -> TrialLayout:
    return RunLayout(tmp_path / "runs" / "run-1").trial("trial-1")


def test_a_ledger_is_found_by_its_file_its_attempt_or_its_trial(trial: TrialLayout) -> None:
    record(trial.next().root, [Draft(manifest(seed=1)), END])
    record(trial.next().root, [Draft(manifest(seed=2))])
    first = trial.attempt(1)
    assert Trajectory.load(first.ledger).manifest.seed == 1
    assert Trajectory.load(str(first.root)).manifest.seed == 1
    latest = Trajectory.load(trial.root)
    assert (latest.manifest.seed, latest.layout.number, latest.complete) == (2, 2, False)


def test_a_ledger_under_another_name_is_read_too(trial: TrialLayout) -> None:
    record(trial.attempt(1).root, [Draft(manifest())])
    moved = trial.attempt(1).ledger.rename(trial.attempt(1).root / "copy.jsonl")
    assert Trajectory.load(moved).manifest.trial == "trial-1"


def test_attempts_are_ordered_by_number_not_by_spelling(trial: TrialLayout) -> None:
    for number in (2, 10, 9):
        trial.attempt(number).root.mkdir(parents=True)
    (trial.root / "attempt-x").mkdir()
    assert [attempt.number for attempt in trial.attempts()] == [2, 9, 10]
    assert trial.next().number == 11


def test_every_trial_of_a_run_or_of_many_runs_is_read_once(tmp_path: Path) -> None:
    for run in ("run-1", "run-2"):
        for name in ("b", "a"):
            trial = RunLayout(tmp_path / run).trial(name)
            record(trial.next().root, [Draft(manifest(run=run, trial=name, epoch=1))])
            record(trial.next().root, [Draft(manifest(run=run, trial=name, epoch=2)), END])
    read = [(one.manifest.run, one.manifest.trial, one.manifest.epoch) for one in trajectories(tmp_path)]
    assert read == [("run-1", "a", 2), ("run-1", "b", 2), ("run-2", "a", 2), ("run-2", "b", 2)]
    assert [one.manifest.trial for one in trajectories(tmp_path / "run-1")] == ["a", "b"]
    assert [one.manifest.epoch for one in trajectories(tmp_path / "run-1" / "trials" / "a" / "attempt-1")] == [1]


def test_where_nothing_was_recorded_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            Trajectory.load(path)
        with pytest.raises(UsageError):
            list(trajectories(path))


def test_a_call_has_its_answer_and_what_it_caused_even_later(trial: TrialLayout) -> None:
    effect = FileEffect(action="created", path="/work/a")
    record(
        trial.attempt(1).root,
        [
            Draft(manifest()),
            Draft(ToolCalled(call="c1", tool="bash", arguments={})),
            Draft(effect, "sensor", during="c1", origin="c1"),
            Draft(ToolReturned(call="c1", status="ok", output=content("done"))),
            Draft(ToolCalled(call="c2", tool="bash", arguments={})),
            Draft(effect, "sensor", during="c2", origin="c1"),
        ],
    )
    first, second = Trajectory.load(trial.root).calls()
    assert first.result is not None
    assert first.result.output.text == "done"
    assert [event.seq for event in first.others] == [2, 5]
    assert (second.returned, second.result, [event.seq for event in second.others]) == (None, None, [5])


def test_events_are_asked_for_by_the_type_of_their_body(trial: TrialLayout) -> None:
    record(trial.attempt(1).root, [Draft(manifest()), Draft(LimitReached(limit="steps", value=3, bound=3)), END])
    loaded = Trajectory.load(trial.root)
    ((event, limit),) = loaded.of(LimitReached)
    assert (event.seq, limit.value) == (1, 3.0)
    assert loaded.kinds() == {"trial.started": 1, "limit": 1, "trial.finished": 1}
    assert (loaded.complete, loaded.finished and loaded.finished.stop_reason) == (True, "submitted")


def test_a_torn_line_is_counted_and_named_and_the_rest_is_read(trial: TrialLayout) -> None:
    attempt = trial.attempt(1)
    record(attempt.root, [Draft(manifest()), END])
    whole = attempt.ledger.read_bytes()
    attempt.ledger.write_bytes(whole[:-5])
    loaded = Trajectory.load(attempt.root)
    assert (len(loaded.events), loaded.complete) == (1, False)
    assert loaded.torn == len(whole.splitlines(keepends=True)[1]) - 5
    assert "unfinished line follow line 1" in loaded.problems[0]
    assert stop_reason(attempt) is None


def test_lines_that_are_no_events_are_named_and_passed_over(trial: TrialLayout) -> None:
    attempt = trial.attempt(1)
    record(attempt.root, [Draft(manifest()), END])
    first, last = attempt.ledger.read_bytes().splitlines(keepends=True)
    attempt.ledger.write_bytes(first + b"\xff\x00 not json\n[1, 2]\n" + last.replace(b'"seq":1', b'"seq":-1') + last)
    loaded = Trajectory.load(attempt.root)
    assert [event.kind for event in loaded.events] == ["trial.started", "trial.finished"]
    assert [problem.split(":")[0] for problem in loaded.problems] == ["line 2", "line 3", "line 4"]
    assert [header.kind for header in headers(attempt.root)] == ["trial.started", "trial.finished"]


def test_a_body_that_does_not_fit_its_kind_is_kept_and_named(trial: TrialLayout) -> None:
    attempt = trial.attempt(1)
    record(attempt.root, [Draft(manifest()), Draft(UnknownBody(kind="limit", data={"limit": "patience"})), END])
    loaded = Trajectory.load(attempt.root)
    assert loaded.events[1].body == UnknownBody(kind="limit", data={"limit": "patience"})
    assert loaded.problems[0].startswith("line 2 (seq 1): body of limit does not fit")
    assert loaded.complete


def test_without_a_manifest_the_trial_can_be_read_but_not_named(trial: TrialLayout) -> None:
    record(trial.attempt(1).root, [END])
    loaded = Trajectory.load(trial.root)
    assert loaded.started is None
    with pytest.raises(IntegrityError, match="no manifest"):
        _ = loaded.manifest


def test_a_missing_blob_is_answered_with_none_and_noted_once(trial: TrialLayout) -> None:
    lost = Content(text="head", size=99, sha256="ab" * 32, complete=False, stored=True)
    record(trial.attempt(1).root, [Draft(manifest()), Draft(ToolReturned(call="c", status="ok", output=lost))])
    loaded = Trajectory.load(trial.root)
    assert loaded.bytes_of(lost) is None
    assert loaded.bytes_of(lost) is None
    assert len(loaded.problems) == 1
    assert "missing" in loaded.problems[0]
    assert loaded.bytes_of(content("short")) == b"short"
    assert loaded.bytes_of(Content(text="[withheld]", size=0, sha256="", complete=False)) is None


def test_headers_say_what_the_whole_says(trial: TrialLayout) -> None:
    events = record(
        trial.attempt(1).root, [Draft(manifest()), *[Draft(ErrorRaised(fault="agent", type="N", message="\t\n"))] * 9]
    )
    assert list(headers(trial.root)) == [event.header for event in events]


def test_why_a_trial_ended_is_read_from_the_end_of_its_ledger(trial: TrialLayout) -> None:
    attempt = trial.attempt(1)
    assert stop_reason(attempt) is None
    filler = Draft(ErrorRaised(fault="agent", type="N", message="x" * 200_000))
    record(attempt.root, [Draft(manifest()), filler, END])
    assert stop_reason(attempt) == "submitted"
    record(trial.attempt(2).root, [Draft(manifest()), filler])
    assert stop_reason(trial.attempt(2)) is None
    record(trial.attempt(3).root, [])
    assert stop_reason(trial.attempt(3)) is None


def test_bytes_from_elsewhere_are_read_without_a_folder(trial: TrialLayout) -> None:
    record(trial.attempt(1).root, [Draft(manifest()), END])
    loaded = Trajectory.read(trial.attempt(1).ledger.read_bytes(), "-")
    assert loaded.complete
    assert loaded.blob("ab" * 32) is None
