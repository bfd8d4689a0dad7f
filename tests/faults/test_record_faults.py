"""What happens to a record afterwards, or to the clock meanwhile: verification names the place, all else stays as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from analysis.verdict import judge
from sandbox.errors import IntegrityError
from sandbox.events import Content, Draft, ErrorRaised, FileEffect, ObservedAt, TrialFinished
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.record.ledger import Ledger, close_interrupted
from sandbox.record.verify import verify, verify_path
from sandbox.trajectory import Trajectory
from tests.sandbox.recording import abandon, manifest

DAY = 24 * 3600 * 10**6


def clock_set_back() -> Iterator[ObservedAt]:
    """Runs forward by a second each time; after the third reading somebody sets the date back by a day."""
    for n in count():
        wall = 1_800_000_000_000_000 + n * 10**6 - (DAY if n >= 3 else 0)
        yield ObservedAt(wall, 5_000_000 + n * 10**6)


def finished() -> TrialFinished:
    return TrialFinished(stop_reason="submitted", steps=1, calls=1, duration_us=1)


async def write(attempt: AttemptLayout, *, end: bool = True) -> None:
    """A small ledger with one blob, of the trial and run that the folder's place names."""
    clock = clock_set_back()
    ledger = await Ledger(attempt, clock=lambda: next(clock)).__aenter__()
    await ledger.append(Draft(manifest(trial=attempt.trial, run=attempt.run)))
    for n in range(5):
        content: Content = await ledger.keep(f"{n} {attempt.trial} ".encode() * 4000)
        await ledger.append(Draft(FileEffect(action="created", path=f"/tmp/{n}", content=content), source="sensor"))
    if end:
        await ledger.append(Draft(finished()))
        await ledger.close()
    else:
        abandon(ledger)


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    """A run of three finished trials."""
    layout = RunLayout.new(tmp_path)
    for name in ("t1", "t2", "t3"):
        asyncio.run(write(layout.trial(name).attempt(1)))
    return layout


def others_hold(run: RunLayout, struck: AttemptLayout) -> bool:
    return all(
        report.ok for place, report in verify_path(run.root) if place != struck.root and struck.root not in place.parents
    )


def test_a_clock_set_back_changes_neither_order_nor_wholeness(run: RunLayout) -> None:
    attempt = run.trial("t1").attempt(1)
    trajectory = Trajectory.load(attempt.root)
    walls = [event.header.observed_at.wall_us for event in trajectory.events]
    assert walls != sorted(walls)
    assert [event.seq for event in trajectory.events] == list(range(7))
    monotonic = [event.header.observed_at.mono_us for event in trajectory.events]
    assert monotonic == sorted(monotonic)
    assert verify(attempt.root).ok
    assert judge(trajectory, path=str(attempt.root)).status == "valid"


def test_an_attempt_torn_while_the_clock_was_set_back_is_closed_without_a_negative_duration(tmp_path: Path) -> None:
    attempt = RunLayout.new(tmp_path).trial("t1").attempt(1)
    asyncio.run(write(attempt, end=False))
    body = asyncio.run(close_interrupted(attempt, clock=lambda: ObservedAt(1, 2)))
    assert body is not None
    assert body.stop_reason == "interrupted"
    assert body.duration_us >= 0
    assert verify(attempt.root).ok


@pytest.mark.parametrize(("lines", "more_bytes"), [(1, 0), (3, 0), (1, 40), (6, 10)])
def test_a_truncated_ledger_is_named_with_the_first_missing_line(run: RunLayout, lines: int, more_bytes: int) -> None:
    struck = run.trial("t2").attempt(1)
    whole = struck.ledger.read_bytes().splitlines(keepends=True)
    kept = b"".join(whole[:-lines])
    struck.ledger.write_bytes(kept[: len(kept) - more_bytes] if more_bytes else kept)
    report = verify(struck.root)
    assert report.status == "cut"
    assert report.first_bad is not None
    assert report.first_bad.seq == len(whole) - lines - (1 if more_bytes else 0)
    assert others_hold(run, struck)


def test_a_truncated_ledger_is_not_closed_over(run: RunLayout) -> None:
    struck = run.trial("t2").attempt(1)
    struck.ledger.write_bytes(b"".join(struck.ledger.read_bytes().splitlines(keepends=True)[:-2]))
    before = struck.ledger.read_bytes()
    with pytest.raises(IntegrityError, match="cut off") as raised:
        asyncio.run(close_interrupted(struck))
    assert str(struck.ledger) in raised.value.place
    assert struck.ledger.read_bytes() == before


@pytest.mark.parametrize("harm", ["missing", "altered", "emptied", "linked"])
def test_a_blob_that_is_not_what_was_kept_is_named(run: RunLayout, harm: str, tmp_path: Path) -> None:
    struck = run.trial("t2").attempt(1)
    trajectory = Trajectory.load(struck.root)
    seq, digest = next(
        (e.seq, e.body.content.sha256) for e in trajectory.events[3:] if isinstance(e.body, FileEffect) and e.body.content
    )
    (blob,) = struck.blobs.rglob(f"{digest}*")
    data = bytearray(blob.read_bytes())
    blob.unlink()
    if harm == "altered":
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
    elif harm == "emptied":
        blob.write_bytes(b"")
    elif harm == "linked":
        (tmp_path / "elsewhere").write_bytes(data)
        blob.symlink_to(tmp_path / "elsewhere")
    report = verify(struck.root)
    assert not report.ok
    assert report.first_bad is not None
    assert report.first_bad.seq == seq
    assert digest[:12] in report.first_bad.why
    assert others_hold(run, struck)


def test_a_vanished_ledger_is_missed(run: RunLayout) -> None:
    struck = run.trial("t2").attempt(1)
    struck.ledger.unlink()
    reports = verify_path(run.root)
    assert [place for place, report in reports if not report.ok] == [struck.root] or any(
        struck.root.as_posix() in str(place) and not report.ok for place, report in reports
    )


def test_an_error_can_still_be_written_after_the_clock_ran_backwards_twice(tmp_path: Path) -> None:
    attempt = RunLayout.new(tmp_path).trial("t1").attempt(1)
    times = iter([ObservedAt(9, 9), ObservedAt(5, 5), ObservedAt(0, 0), ObservedAt(-7, 0)])

    async def record() -> None:
        async with Ledger(attempt, clock=lambda: next(times)) as ledger:
            await ledger.append(Draft(manifest(trial="t1", run=attempt.run)))
            for _ in range(2):
                await ledger.append(Draft(ErrorRaised(fault="infrastructure", type="Clock", message="it was set back")))

    asyncio.run(record())
    assert verify(attempt.root).ok
