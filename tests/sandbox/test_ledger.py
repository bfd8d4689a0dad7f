"""The writer: order, chaining, one writer only, and what is left after a kill, a cancellation or a full disk."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.errors import InfrastructureError, IntegrityError, NotReadyError, UsageError
from sandbox.events import (
    Body,
    CanaryEffect,
    Draft,
    ErrorRaised,
    Event,
    LimitReached,
    ObservedAt,
    TrialFinished,
    UnknownBody,
)
from sandbox.record.anchors import Anchor, AnchorFile, AnchorKey, look_up
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.record.ledger import HANDED_OVER, RESERVE, Ledger, close_interrupted
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory, stop_reason
from tests.sandbox.recording import ANY_DRAFT, abandon, manifest, record


def note(size: int) -> Draft:
    return Draft(ErrorRaised(fault="agent", type="Note", message="x" * size))


NOTE = note(1)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptLayout:
    return RunLayout(tmp_path / "run-1").trial("trial-1").next()


@settings(max_examples=25, deadline=None)
@given(st.lists(ANY_DRAFT, min_size=1, max_size=8))
def test_any_drafts_are_read_back_in_order_with_all_that_was_said_of_them(
    tmp_path_factory: pytest.TempPathFactory, drafts: list[Draft]
) -> None:
    folder = tmp_path_factory.mktemp("attempt")
    written = record(folder, drafts)
    loaded = Trajectory.load(folder)
    assert list(loaded.events) == written
    assert loaded.problems == []
    assert [_as_drafted(event.body, draft.body) for event, draft in zip(loaded.events, drafts, strict=True)] == [
        draft.body for draft in drafts
    ]
    assert [event.header.during for event in loaded.events] == [draft.during for draft in drafts]
    assert [event.seq for event in loaded.events] == list(range(len(drafts)))
    assert verify(folder, blobs=False).status == "ok"


def _as_drafted(body: Body, drafted: Body) -> Body:
    """The body without what the ledger itself fills in: the event in which a canary was found."""
    if isinstance(body, CanaryEffect) and isinstance(drafted, CanaryEffect) and drafted.found_in is None:
        return body.model_copy(update={"found_in": None})
    return body


async def test_events_carry_the_step_the_attempt_and_the_injected_time(attempt: AttemptLayout) -> None:
    times = iter([ObservedAt(20, 1), ObservedAt(10, 2)])  # the wall clock is set back
    async with Ledger(attempt, clock=lambda: next(times)) as ledger:
        first = await ledger.append(NOTE)
        ledger.step = 4
        second, third = await ledger.append_many([NOTE, NOTE._replace(observed_at=ObservedAt(5, 5))])
    assert [event.header.step for event in (first, second, third)] == [0, 4, 4]
    assert [event.header.observed_at.wall_us for event in (first, second, third)] == [20, 10, 5]
    assert second.header.prev == first.hash
    assert third.header.prev == second.hash
    assert verify(attempt.root).ok


async def test_a_canary_names_the_event_that_it_was_found_in(attempt: AttemptLayout) -> None:
    seen = Draft(CanaryEffect(canary="key", where="file"), "sensor")
    async with Ledger(attempt) as ledger:
        first = await ledger.append_many([NOTE, seen, seen, NOTE, NOTE])
        later = await ledger.append(seen)
        known = await ledger.append(Draft(CanaryEffect(canary="key", where="file", found_in=0), "sensor"))
    assert [event.body.found_in for event in first if isinstance(event.body, CanaryEffect)] == [0, 0]
    assert [event.body.found_in for event in (later, known) if isinstance(event.body, CanaryEffect)] == [4, 0]
    assert verify(attempt.root).ok


async def test_many_tasks_may_append_at_once(attempt: AttemptLayout) -> None:
    async with Ledger(attempt) as ledger:
        events = await asyncio.gather(*(ledger.append(NOTE) for _ in range(60)))
    assert sorted(event.seq for event in events) == list(range(60))
    assert verify(attempt.root).events == 60


async def test_an_event_is_on_disk_when_append_returns(attempt: AttemptLayout) -> None:
    async with Ledger(attempt) as ledger:
        event = await ledger.append(NOTE)
        assert Trajectory.load(attempt.root).events == (event,)
        assert look_up(AnchorKey("run-1", "trial-1", 1)) == Anchor(1, event.hash, False)


async def test_a_second_writer_is_refused(attempt: AttemptLayout) -> None:
    async with Ledger(attempt) as ledger:
        await ledger.append(NOTE)
        with pytest.raises(UsageError, match="exists"):
            await Ledger(attempt).__aenter__()
        with pytest.raises(UsageError, match="being written by another process"):
            await close_interrupted(attempt)
        await ledger.append(NOTE)
    with pytest.raises(UsageError, match="exists"):
        await Ledger(attempt).__aenter__()
    with pytest.raises(InfrastructureError, match="closed"):
        await ledger.append(NOTE)
    assert verify(attempt.root).events == 2


@pytest.mark.parametrize("size", [1, 2 * HANDED_OVER], ids=["written at once", "handed over"])
async def test_a_cancelled_append_leaves_the_chain_whole(attempt: AttemptLayout, size: int) -> None:
    async with Ledger(attempt) as ledger:
        for round_ in range(30):
            task = asyncio.create_task(ledger.append(note(size)))
            for _ in range(round_ % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await ledger.append(NOTE)
    report = verify(attempt.root)
    assert report.status == "ok"
    assert 30 <= report.events <= 60


async def test_no_state_folder_is_said_before_anything_is_written(
    attempt: AttemptLayout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "file"))
    with pytest.raises(NotReadyError, match="BELLJAR_STATE"):
        await Ledger(attempt).__aenter__()
    assert not attempt.ledger.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("size", [30_000, HANDED_OVER + 10_000], ids=["written at once", "handed over"])
async def test_a_full_disk_leaves_whole_lines_and_room_to_close(small_disk: Path, size: int) -> None:
    attempt = AttemptLayout(small_disk / "attempt-1")
    async with Ledger(attempt) as ledger:
        with pytest.raises(InfrastructureError, match="No space left"):
            await _fill(ledger, note(size))
        written = ledger.count
        assert written > 3
        assert verify(attempt.root).torn == 0
        await ledger.append(Draft(TrialFinished(stop_reason="infrastructure", steps=1)))
    report = verify(attempt.root)
    assert report.status == "ok"
    assert report.events == written + 1
    assert stop_reason(attempt) == "infrastructure"


async def _fill(ledger: Ledger, draft: Draft) -> None:
    for _ in range(100):
        await ledger.append(draft)


async def test_a_full_disk_fails_the_blob_and_leaves_no_part_of_it(small_disk: Path) -> None:
    attempt = AttemptLayout(small_disk / "attempt-1")
    async with Ledger(attempt) as ledger:
        with pytest.raises(InfrastructureError, match="could not be stored"):
            await ledger.keep(os.urandom(2_000_000))
    assert [file for file in attempt.blobs.rglob("*") if file.is_file()] == []


async def test_an_anchor_that_cannot_be_written_takes_the_event_back(
    attempt: AttemptLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Ledger(attempt) as ledger:
        await ledger.append(NOTE)
        real = AnchorFile.write

        def failing(_: AnchorFile, __: Anchor) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(AnchorFile, "write", failing)
        with pytest.raises(InfrastructureError, match="Input/output error"):
            await ledger.append(NOTE)
        monkeypatch.setattr(AnchorFile, "write", real)
        assert (await ledger.append(NOTE)).seq == 1
    assert verify(attempt.root).status == "ok"


async def test_the_reserve_is_there_while_the_ledger_is_open_only(attempt: AttemptLayout) -> None:
    async with Ledger(attempt):
        assert attempt.reserve.stat().st_size == RESERVE
    assert not attempt.reserve.exists()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_writer_killed_at_any_byte_leaves_a_ledger_that_loads_and_can_be_closed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    attempt = RunLayout(tmp_path_factory.mktemp("runs") / "run-1").trial("trial-1").attempt(1)
    notes = [Draft(LimitReached(limit="steps", value=k, bound=1)) for k in range(3)]
    drafts = [Draft(manifest()), *notes]
    record(attempt.root, drafts, close=False)
    whole = attempt.ledger.read_bytes()
    at = data.draw(st.integers(0, len(whole)))
    lines = whole[:at].count(b"\n")
    anchored = data.draw(st.integers(max(lines - 1, 0), lines))
    _as_killed(attempt, whole[:at], anchored)

    before = Trajectory.load(attempt.root)
    assert len(before.events) == lines
    assert verify(attempt.root).status in ("ok", "unanchored_tail")
    finished = asyncio.run(close_interrupted(attempt))
    assert finished is not None
    torn = at - (whole[:at].rfind(b"\n") + 1)
    assert attempt.ledger.read_bytes().startswith(whole[: at - torn])
    assert (attempt.torn.read_bytes() if torn else b"") == whole[at - torn : at]
    after = Trajectory.load(attempt.root)
    assert after.events[:lines] == before.events
    assert [event.kind for event in after.events[lines:]] == ["error", "trial.finished"]
    assert isinstance(after.events[lines].body, ErrorRaised)
    assert (f"{torn} bytes" in after.events[lines].body.message) == (torn > 0)
    assert verify(attempt.root).status == "ok"
    assert stop_reason(attempt) == "interrupted"


def _as_killed(attempt: AttemptLayout, left: bytes, anchored: int) -> None:
    """A ledger of which `left` is on disk, and the anchor as it was after its first `anchored` lines."""
    events = Trajectory.read(left).events
    attempt.ledger.write_bytes(left)
    head = events[anchored - 1].hash if anchored else "0" * 64
    with AnchorFile(AnchorKey("run-1", "trial-1", 1)) as file:
        file.write(Anchor(anchored, head, closed=False))


async def test_closing_is_done_once(attempt: AttemptLayout) -> None:
    await _abandoned(attempt, [Draft(manifest()), NOTE])
    assert await close_interrupted(attempt) is not None
    closed = attempt.ledger.read_bytes()
    assert await close_interrupted(attempt) is None
    assert attempt.ledger.read_bytes() == closed


async def test_a_trial_whose_end_was_recorded_is_not_called_interrupted(attempt: AttemptLayout) -> None:
    await _abandoned(attempt, [Draft(manifest()), Draft(TrialFinished(stop_reason="submitted", steps=2))])
    assert await close_interrupted(attempt) is None
    assert stop_reason(attempt) == "submitted"
    assert verify(attempt.root).status == "ok"


async def test_an_attempt_killed_before_its_ledger_was_made_can_be_closed(attempt: AttemptLayout) -> None:
    attempt.root.mkdir(parents=True)
    assert await close_interrupted(attempt) is not None
    assert verify(attempt.root).events == 2


async def test_a_ledger_that_was_cut_is_not_closed_over(attempt: AttemptLayout) -> None:
    await _abandoned(attempt, [Draft(manifest()), NOTE, NOTE])
    cut = b"".join(attempt.ledger.read_bytes().splitlines(keepends=True)[:2])
    attempt.ledger.write_bytes(cut)
    with pytest.raises(IntegrityError, match=r"line 3 .*cut off"):
        await close_interrupted(attempt)
    assert attempt.ledger.read_bytes() == cut
    assert verify(attempt.root).status == "cut"


async def test_what_was_spent_is_counted_when_an_interrupted_trial_is_closed(attempt: AttemptLayout) -> None:
    golden = Trajectory.load(Path(__file__).parent.parent / "golden" / "v1")
    drafts = [Draft(event.body, observed_at=event.header.observed_at) for event in golden.events[:-1]]
    await _abandoned(attempt, drafts)
    finished = await close_interrupted(attempt)
    assert finished is not None
    assert golden.finished is not None
    assert finished.calls == golden.finished.calls
    assert finished.usage == golden.finished.usage
    assert finished.model_us == golden.finished.model_us


async def _abandoned(attempt: AttemptLayout, drafts: list[Draft]) -> list[Event]:
    ledger = await Ledger(attempt).__aenter__()
    events = [await ledger.append(draft) for draft in drafts]
    abandon(ledger)
    return events


WRITER = """
import asyncio, sys
from pathlib import Path
from sandbox.events import Draft, ErrorRaised
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from tests.sandbox.recording import manifest

async def main():
    async with Ledger(AttemptLayout(Path(sys.argv[1]))) as ledger:
        await ledger.append(Draft(manifest()))
        print("writing", flush=True)
        while True:
            for size in (10, 3_000, 100_000):
                await ledger.append(Draft(ErrorRaised(fault="agent", type="Note", message="x" * size)))

asyncio.run(main())
"""


@pytest.mark.parametrize("delay", [0.01, 0.05, 0.13])
def test_a_process_killed_outright_loses_at_most_the_line_being_written(attempt: AttemptLayout, delay: float) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, attempt.root], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    report = verify(attempt.root)
    assert report.status in ("ok", "unanchored_tail")
    anchor = look_up(AnchorKey("run-1", "trial-1", 1))
    assert anchor is not None
    assert anchor.lines <= report.events <= anchor.lines + 1
    assert asyncio.run(close_interrupted(attempt)) is not None
    assert verify(attempt.root).status == "ok"


async def test_an_unknown_kind_can_be_recorded(attempt: AttemptLayout) -> None:
    body = UnknownBody(kind="effect.weather", data={"sky": "grey"})
    async with Ledger(attempt) as ledger:
        await ledger.append(Draft(body))
    assert Trajectory.load(attempt.root).events[0].body == body


async def test_an_attempt_cancelled_before_its_ledger_stands_leaves_no_ledger(tmp_path: Path) -> None:
    attempt = AttemptLayout(tmp_path / "attempt-1")

    async def enter() -> None:
        async with Ledger(attempt):
            raise AssertionError("it was cancelled before")

    entering = asyncio.ensure_future(enter())
    await asyncio.sleep(0)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not attempt.ledger.exists()
