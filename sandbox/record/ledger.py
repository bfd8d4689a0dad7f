"""The one writer of a trial's ledger: gives each event its place, chains it, and has it on disk before going on.

Each append is one unbuffered write followed by the anchor's, so that a process killed at any moment loses at most the
line being written; nothing is forced to the platter, since a trial that a power failure ends is run again. Lines once
whole are never rewritten. How a line looks is in `sandbox/record/line.py`, where files lie in `sandbox/record/layout.py`.

The file is aiofiles'. Its hand-over to a thread costs about ten times what it takes to copy a usual line to the page
cache, and was most of a trial's cost without a sandbox; so only writes of more than `HANDED_OVER` bytes go that way.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import aiofiles

from sandbox.errors import EventTooLarge, InfrastructureError, IntegrityError, NotReadyError, TooLarge, UsageError
from sandbox.events import (
    Body,
    CanaryEffect,
    Content,
    Draft,
    ErrorRaised,
    Event,
    Header,
    ModelCalled,
    ObservedAt,
    ToolCalled,
    TrialFinished,
    TrialStarted,
)
from sandbox.limits import Spent
from sandbox.record.anchors import Anchor, AnchorFile, AnchorKey, make_state_folder
from sandbox.record.blobs import KEEP_LIMIT, BlobStore
from sandbox.record.layout import AttemptLayout
from sandbox.record.line import MAX_LINE, START, encode
from sandbox.record.verify import VerifyReport, verify
from sandbox.trajectory import Trajectory

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncFileIO

T = TypeVar("T")
Clock = Callable[[], ObservedAt]

RESERVE = 64 * 1024
"""Bytes of disk set aside while a ledger is open: given free when the disk is full, so that the trial can be closed."""


def now() -> ObservedAt:
    """This machine's clocks."""
    return ObservedAt(time.time_ns() // 1000, time.monotonic_ns() // 1000)


HANDED_OVER = 64 * 1024
"""Writes of more bytes than this are left to aiofiles' thread; smaller ones are made at once."""


class _Tail(NamedTuple):
    """Where a ledger stands: lines, hash of the last, bytes."""

    lines: int = 0
    head: str = START
    size: int = 0


class Ledger:
    """The ledger of one attempt, new with it; an async context manager.

    `step` is the agent loop's to set: events appended from then on belong to that step. Appending from several tasks is
    safe; seq is the order of arrival.

    Args:
        attempt: where to write; the folder is made. The ledger must not exist.
        clock: asked once for each event that does not bring its own time.
        salt: gives that many random bytes for a sealed field; only for recordings that must come out the same twice.

    Raises, on entering: UsageError where the ledger exists or another process holds it; NotReadyError where it cannot
    be written at all.
    """

    def __init__(self, attempt: AttemptLayout, *, clock: Clock = now, salt: Callable[[int], bytes] = os.urandom) -> None:
        self.attempt = attempt
        self.clock = clock
        self.salt = salt
        self.step = 0
        self.blobs = BlobStore(attempt.blobs)
        self._tail = _Tail()
        self._searched: int | None = None
        self._writing = asyncio.Lock()
        self._file: AsyncFileIO | None = None
        self._anchor: AnchorFile | None = None
        self._threads = ThreadPoolExecutor(1, "ledger")

    @property
    def count(self) -> int:
        """Events written; the next one's seq."""
        return self._tail.lines

    @property
    def head(self) -> str:
        """Hash of the last event, 64 zeros before the first."""
        return self._tail.head

    async def __aenter__(self) -> Self:
        make_state_folder()
        try:
            self.attempt.root.mkdir(parents=True, exist_ok=True)
            try:
                await _to_its_end(asyncio.ensure_future(self._open(os.O_EXCL)))
            except asyncio.CancelledError:
                await self.close()
                self.attempt.ledger.unlink(missing_ok=True)  # nothing was written: no attempt was begun
                raise
            with contextlib.suppress(OSError), self.attempt.reserve.open("wb") as reserve:
                os.posix_fallocate(reserve.fileno(), 0, RESERVE)
        except FileExistsError as error:
            raise UsageError(
                f"{self.attempt.ledger} exists; a ledger is written once.", "Start a new attempt in a folder of its own."
            ) from error
        except OSError as error:
            raise NotReadyError(f"The ledger {self.attempt.ledger} cannot be written: {error.strerror}.") from error
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def append(self, draft: Draft) -> Event:
        """Write one event; on return it is in the file.

        Raises InfrastructureError where it could not be written, EventTooLarge among them.
        """
        return (await self.append_many((draft,)))[0]

    async def append_many(self, drafts: Sequence[Draft]) -> list[Event]:
        """Write several events in one go, all or none of them.

        Raises InfrastructureError where they could not be written (disk full): the ledger then ends with the last whole
        line before, disk space has been freed for a few closing events, and appending may be tried again.
        """
        if not drafts:
            return []
        async with self._writing:
            file = self._file
            if file is None:
                raise InfrastructureError(f"The ledger {self.attempt.ledger} is closed.")
            events, lines, tail = self._chain(drafts)
            if len(lines) > HANDED_OVER:
                await _to_its_end(asyncio.ensure_future(self._write(file, lines, tail, drafts[0].body)))
            else:  # never suspends, so a cancellation cannot part it
                await self._write(file, lines, tail, drafts[0].body)
            return events

    async def keep(self, data: bytes, limit: int = KEEP_LIMIT) -> Content:
        """`data` as an event shows it; the whole goes to the blob store where the event cannot hold it.

        See `BlobStore.keep`. Raises InfrastructureError.
        """
        if len(data) <= limit:
            return self.blobs.keep(data, limit)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.blobs.keep, data, limit)

    async def close(self) -> None:
        """Mark the ledger as closed in order and let it go; nothing can be appended afterwards. Idempotent."""
        async with self._writing:
            file, self._file = self._file, None
            if file is None:
                return
            with contextlib.suppress(OSError):
                self.attempt.reserve.unlink(missing_ok=True)
                if self._anchor is not None:
                    self._anchor.write(Anchor(*self._tail[:2], closed=True))
            if self._anchor is not None:
                self._anchor.close()
            await _to_its_end(asyncio.ensure_future(file.close()))
            self._threads.shutdown()

    @classmethod
    async def _left_open(cls, attempt: AttemptLayout, clock: Clock) -> Self:
        """Hold the ledger that a killed process left, which may even not exist yet. Raises as `close_interrupted` does."""
        ledger = cls(attempt, clock=clock)
        try:
            attempt.root.mkdir(parents=True, exist_ok=True)
            await ledger._open(0)
            attempt.reserve.unlink(missing_ok=True)
        except OSError as error:
            raise InfrastructureError(f"The ledger {attempt.ledger} cannot be opened: {error.strerror}.") from error
        return ledger

    async def _go_on_after(self, report: VerifyReport, left: Trajectory) -> None:
        """Cut what lies beyond the whole lines, which has been copied, and chain to the last of them."""
        size = self.attempt.ledger.stat().st_size - left.torn
        try:
            if left.torn and self._file is not None:
                await self._file.truncate(size)
            self._anchor = AnchorFile(report.anchored_as)
        except OSError as error:
            raise InfrastructureError(f"The ledger {self.attempt.ledger} cannot be closed: {error.strerror}.") from error
        self._tail = _Tail(report.events, report.head, size)

    async def _open(self, flags: int) -> None:
        def opener(path: str, _: int) -> int:
            wanted = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags
            return os.open(path, wanted, 0o644)

        file = None
        try:
            file = await aiofiles.open(self.attempt.ledger, "ab", buffering=0, executor=self._threads, opener=opener)
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if file is not None:
                await file.close()
            self._threads.shutdown()
            if isinstance(error, BlockingIOError):
                raise UsageError(f"{self.attempt.ledger} is being written by another process.") from error
            raise
        self._file = file

    async def _write(self, file: AsyncFileIO, lines: bytes, tail: _Tail, first: Body) -> None:
        """All or nothing. Raises InfrastructureError."""
        try:
            if self._anchor is None:
                self._anchor = self._new_anchor(first)
            await _write_whole(file, lines)
            self._anchor.write(Anchor(tail.lines, tail.head, closed=False))
        except OSError as error:
            self._back_out(file)
            raise InfrastructureError(f"The ledger {self.attempt.ledger} cannot be written: {error.strerror}.") from error
        self._tail = tail

    def _new_anchor(self, first: Body) -> AnchorFile:
        """Where `verify` will look for it: by the manifest if that comes first, otherwise by the folder's place.

        Its first record takes the disk space that all later ones use. Raises OSError.
        """
        key = AnchorKey(self.attempt.run, self.attempt.trial, self.attempt.number)
        if isinstance(first, TrialStarted):
            key = AnchorKey(first.run, first.trial, self.attempt.number)
        anchor = AnchorFile(key)
        anchor.write(Anchor(*self._tail[:2], closed=False))
        return anchor

    def _chain(self, drafts: Sequence[Draft]) -> tuple[list[Event], bytes, _Tail]:
        """What the drafts become: events, their lines, and where the ledger will then stand."""
        count, head, size = self._tail
        events, lines = [], []
        for draft in drafts:
            header = Header(
                kind=draft.body.kind,
                seq=count,
                step=self.step,
                attempt=self.attempt.number,
                source=draft.source,
                host=draft.host,
                observed_at=draft.observed_at or self.clock(),
                during=draft.during,
                origin=draft.origin,
                origin_basis=draft.origin_basis,
                prev=head,
            )
            body = draft.body
            if isinstance(body, CanaryEffect):
                body = body if body.found_in is not None else body.model_copy(update={"found_in": self._searched})
            else:
                self._searched = count
            line, head = encode(header, body, self.salt)
            if len(line) > MAX_LINE:
                raise EventTooLarge(f"A {body.kind} event of {len(line):,} bytes is too long; {MAX_LINE:,} is the most.")
            events.append(Event(header, body, head))
            lines.append(line)
            count, size = count + 1, size + len(line)
        return events, b"".join(lines), _Tail(count, head, size)

    def _back_out(self, file: AsyncFileIO) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), self._tail.size)
        with contextlib.suppress(OSError):
            self.attempt.reserve.unlink(missing_ok=True)


async def close_interrupted(attempt: AttemptLayout, *, clock: Clock = now) -> TrialFinished | None:
    """Close what a killed process left of a ledger with an `error` and a `trial.finished` (`interrupted`) event.

    Whole lines stay as they are. An unfinished last line is moved to the end of `torn.bin`, its size and digest in the
    error event. Returns the closing body, None where the trial's end had been recorded already. Idempotent.

    Raises UsageError where another process holds the ledger; IntegrityError, changing nothing, where its lines do not
    hold, are fewer than were anchored, or more than are loaded; InfrastructureError where it cannot be written.
    """
    ledger = await Ledger._left_open(attempt, clock)
    try:
        report = await asyncio.to_thread(verify, attempt.ledger, blobs=False)
        if report.status in ("broken", "cut"):
            raise IntegrityError(f"{attempt.ledger} cannot be closed: {report.problems[0]}.", place=str(attempt.ledger))
        left = await asyncio.to_thread(_load, attempt)
        torn = await asyncio.to_thread(_set_torn_aside, attempt, left.torn)
        await ledger._go_on_after(report, left)
        return None if left.complete else await _finish(ledger, left, report, torn)
    finally:
        await ledger.close()


def _load(attempt: AttemptLayout) -> Trajectory:
    try:
        return Trajectory.load(attempt.ledger)
    except TooLarge as error:
        raise IntegrityError(f"{attempt.ledger} cannot be closed: {error.message}", place=str(attempt.ledger)) from error


async def _finish(ledger: Ledger, left: Trajectory, report: VerifyReport, torn: bytes) -> TrialFinished:
    spent = _spent(left)
    ledger.step = spent.steps
    at = ledger.clock()
    began = left.events[0].header.observed_at.mono_us if left.events else at.mono_us
    finished = TrialFinished(
        stop_reason="interrupted",
        steps=spent.steps,
        calls=spent.calls,
        usage=spent.usage(),
        duration_us=left.events[-1].header.observed_at.mono_us - began if left.events else 0,
        model_us=spent.model_us,
    )
    error = ErrorRaised(fault="infrastructure", type="Interrupted", message=_account(report, torn))
    await ledger.append_many((Draft(error, observed_at=at), Draft(finished, observed_at=at)))
    return finished


def _spent(left: Trajectory) -> Spent:
    spent = Spent()
    for _, exchange in left.of(ModelCalled):
        spent.add(exchange.usage, exchange.latency_us)
    steps = max((event.header.step for event in left.events), default=0)
    return replace(spent, steps=steps, calls=sum(1 for _ in left.of(ToolCalled)))


def _account(report: VerifyReport, torn: bytes) -> str:
    text = f"The recorder was killed after {report.events} events."
    if torn:
        digest = hashlib.sha256(torn).hexdigest()
        text += f" {len(torn)} bytes of an unfinished line were moved to torn.bin (SHA-256 {digest})."
    if report.status == "unanchored":
        text += " This machine had no anchor for the ledger."
    return text


def _set_torn_aside(attempt: AttemptLayout, size: int) -> bytes:
    """Copy the last `size` bytes of the ledger to the end of `torn.bin`; the ledger itself is cut by its writer."""
    if not size:
        return b""
    try:
        with attempt.ledger.open("rb") as ledger, attempt.torn.open("ab") as file:
            ledger.seek(-size, os.SEEK_END)
            torn = ledger.read()
            file.write(torn)
    except OSError as error:
        raise InfrastructureError(f"{attempt.torn} cannot be written: {error.strerror}.") from error
    return torn


async def _to_its_end(writing: asyncio.Future[T]) -> T:
    """Await a write that must not be left half done, and only then let a cancellation through."""
    cancelled: asyncio.CancelledError | None = None
    while not writing.done():
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: S110 - raised below, by result()
            pass
    if cancelled is not None:
        writing.exception()
        raise cancelled
    return writing.result()


async def _write_whole(file: AsyncFileIO, data: bytes) -> None:
    """All of `data`; an unbuffered file may take a part at a time. Raises OSError."""
    rest = memoryview(data)
    while rest:
        written = await file.write(rest) if len(data) > HANDED_OVER else os.write(file.fileno(), rest)
        rest = rest[written:]
