"""A recorded trial, read back: what analysis, reports, replay and readers of trajectories work on.

Loading is tolerant, since old, newer, torn and hostile ledgers must all be readable: what this version does not know
or cannot accept is kept as an `UnknownBody` and named in `problems`. Loading proves nothing; that is
`sandbox/record/verify.py`'s part.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from sandbox.errors import IntegrityError, TooLarge, UsageError
from sandbox.events import (
    FORMAT,
    Content,
    Event,
    Header,
    StopReason,
    ToolCalled,
    ToolReturned,
    TrialFinished,
    TrialStarted,
    UnknownBody,
)
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout, RunLayout, TrialLayout
from sandbox.record.line import MAX_LINE, Line, decode, lines_of, read

if TYPE_CHECKING:
    import pandas as pd

MAX_LEDGER = 256 * 1024 * 1024
"""Bytes of the largest ledger that is loaded: of usual events about 300,000, which take a gigabyte."""

MAX_VALUES = 12_000_000
"""JSON values of the densest: as many as a ledger of usual events and `MAX_LEDGER` bytes has. Three bytes can be one."""


B = TypeVar("B", bound=BaseModel)
_HEADER = b'{"header":'
_LAST_LINE = 64 * 1024
_CHUNK = 1024 * 1024


def newer(ledger_format: object) -> int | None:
    """A manifest's format if it is one that this version does not know yet."""
    return ledger_format if isinstance(ledger_format, int) and ledger_format > FORMAT else None


def told_newer(ledger_format: int) -> str:
    """What is said of a ledger in such a format."""
    return (
        f"it is in ledger format {ledger_format}, newer than this version's {FORMAT}: what is read from it may be incomplete "
        "or mean something else"
    )


class CallRecord(NamedTuple):
    """One tool call: the event written before it, the one that answered it (None if it never was), and every other
    event that was seen during it or is ascribed to it, in order."""

    called: Event
    call: ToolCalled
    returned: Event | None
    result: ToolReturned | None
    others: tuple[Event, ...]


@dataclass(frozen=True)
class Trajectory:
    """The events of one attempt. `torn` counts the bytes of an unfinished last line; `problems` says what could not be
    read as it stands, a sentence each, and grows when a blob is asked for that is not there."""

    layout: AttemptLayout
    events: tuple[Event, ...]
    torn: int = 0
    problems: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path | str) -> Trajectory:
        """Read a ledger file, an attempt's folder, or a trial's (its latest attempt).

        Raises UsageError where there is none, TooLarge where it has more than `MAX_LEDGER` bytes or `MAX_VALUES` values.
        """
        layout = find_attempt(Path(path))
        with opened(layout.ledger) as file:
            check_size(file, layout.ledger)
            return cls.from_lines(((line, None) for line in lines_of(file)), layout)

    @classmethod
    def read(cls, data: bytes, layout: AttemptLayout | str = "-") -> Trajectory:
        """What the bytes of a ledger hold; `layout` says where blobs would lie, or only names the source.

        Raises TooLarge as `load` does.
        """
        place = layout if isinstance(layout, AttemptLayout) else elsewhere(layout)
        file = BytesIO(data)
        check_size(file, place.ledger)
        return cls.from_lines(((line, None) for line in lines_of(file)), place)

    @classmethod
    def from_lines(cls, lines: Iterable[tuple[bytes, Line | None]], layout: AttemptLayout) -> Trajectory:
        """What the lines of a ledger hold, each as it is stored and, where somebody did that already, taken apart."""
        with _uncollected():
            return cls._from_lines(lines, layout)

    @classmethod
    def _from_lines(cls, lines: Iterable[tuple[bytes, Line | None]], layout: AttemptLayout) -> Trajectory:
        torn = 0
        events, problems = [], []
        for number, (line, apart) in enumerate(lines, 1):
            if len(line) > MAX_LINE:
                problems.append(f"line {number} is longer than {MAX_LINE:,} bytes: neither it nor what follows was read")
                break
            if not line.endswith(b"\n"):
                torn = len(line)
                problems.append(f"{torn:,} bytes of an unfinished line follow line {number - 1}")
                break
            try:
                event, problem = read(apart or decode(line))
            except ValueError as error:
                problems.append(f"line {number}: {_sentence(error)}")
                continue
            events.append(event)
            if problem is not None:
                problems.append(f"line {number} (seq {event.seq}): {problem}")
        made = cls(layout, tuple(events), torn, problems)
        if later := made.newer_format:
            problems.append(told_newer(later))
        return made

    @property
    def newer_format(self) -> int | None:
        """The ledger format that the manifest names, where it is newer than this version's."""
        found = next((e.body for e in self.events if e.kind == "trial.started"), None)
        return newer(found.data.get("format") if isinstance(found, UnknownBody) else getattr(found, "format", None))

    @property
    def started(self) -> TrialStarted | None:
        """The manifest, None where the ledger has none that can be read."""
        return next((body for _, body in self.of(TrialStarted)), None)

    @property
    def manifest(self) -> TrialStarted:
        """The manifest. Raises IntegrityError where there is none."""
        started = self.started
        if started is None:
            raise IntegrityError(f"{self.layout.ledger} has no manifest.", place=f"{self.layout.ledger}:1")
        return started

    @property
    def finished(self) -> TrialFinished | None:
        """How the trial ended, None where its ledger was never closed."""
        last = self.events[-1].body if self.events else None
        return last if isinstance(last, TrialFinished) else next((body for _, body in self.of(TrialFinished)), None)

    @property
    def complete(self) -> bool:
        """Whether the trial's end was recorded."""
        return self.finished is not None

    @property
    def blobs(self) -> BlobStore:
        return BlobStore(self.layout.blobs)

    def of(self, kind: type[B]) -> Iterator[tuple[Event, B]]:
        """Every event with a body of that type, in order."""
        for event in self.events:
            if isinstance(event.body, kind):
                yield event, event.body

    def calls(self) -> Iterator[CallRecord]:
        """Every tool call with its answer and what happened, in order."""
        answers = {body.call: (event, body) for event, body in self.of(ToolReturned)}
        others: dict[str, list[Event]] = {}
        for event in self.events:
            if not isinstance(event.body, ToolCalled | ToolReturned):
                for call in {event.header.during, event.header.origin, getattr(event.body, "call", None)} - {None}:
                    others.setdefault(str(call), []).append(event)
        for event, body in self.of(ToolCalled):
            returned, result = answers.get(body.call, (None, None))
            yield CallRecord(event, body, returned, result, tuple(others.get(body.call, ())))

    def bytes_of(self, content: Content) -> bytes | None:
        """The whole of a body, from the event or the blob store; None, with a problem noted, where it cannot be had."""
        if not content.stored:
            return content.text.encode() if content.complete else None
        return self.blob(content.sha256)

    def blob(self, digest: str) -> bytes | None:
        """A stored body by its SHA-256; None, with a problem noted, where it is missing or was altered."""
        try:
            return self.blobs.get(digest)
        except IntegrityError as error:
            if error.message not in self.problems:
                self.problems.append(error.message)
            return None

    def kinds(self) -> Counter[str]:
        """How many events of each kind there are."""
        return Counter(event.kind for event in self.events)


def headers(path: Path | str) -> Iterator[Header]:
    """Only the envelopes, several times faster than loading all; lines that do not hold are passed over."""
    with opened(find_attempt(Path(path)).ledger) as file:
        for line in lines_of(file):
            first = line.split(b"\t", 1)[0]
            try:
                if line.endswith(b"\n"):
                    yield Header.model_validate(from_json(first[len(_HEADER) : -1]))
            except ValueError:
                continue


def stop_reason(attempt: AttemptLayout) -> StopReason | None:
    """Why an attempt ended, by the last line of its ledger; None where it was not closed. Reads only the file's end."""
    try:
        with attempt.ledger.open("rb") as file:
            file.seek(-min(file.seek(0, os.SEEK_END), _LAST_LINE), os.SEEK_END)
            lines = file.read().split(b"\n")
        event, _ = read(decode(lines[-2]))
    except (OSError, ValueError, IndexError):
        return None
    return event.body.stop_reason if isinstance(event.body, TrialFinished) else None


def trajectories(path: Path | str) -> Iterator[Trajectory]:
    """Every trial at `path`, one at a time: a ledger, an attempt, a trial, a run (latest attempts, by trial id), or a
    folder of runs. Trials without a ledger are passed over. Raises UsageError where there is nothing of the kind.

    One trial that is too large does not stop those beside it: of a run's, its manifest alone is given, and the reason as
    a problem, so that it reads as a trial that never ended.
    """
    for attempt, alone in attempts_at(Path(path)):
        try:
            yield Trajectory.load(attempt.ledger)
        except TooLarge as error:
            if alone:
                raise
            yield beginning(attempt, error)


def attempts_at(path: Path) -> Iterator[tuple[AttemptLayout, bool]]:
    """What `trajectories` reads, in order, and whether it is all that was asked for. Raises UsageError likewise."""
    try:
        yield find_attempt(path), True
        return
    except UsageError:
        runs = find_runs(path)
    latest = (trial.latest() for run in runs for trial in run.trials())
    yield from ((attempt, False) for attempt in latest if attempt is not None and attempt.ledger.is_file())


def beginning(attempt: AttemptLayout, error: TooLarge) -> Trajectory:
    """The manifest alone of a trial that is too large, and why."""
    with opened(attempt.ledger) as file:
        first = next(lines_of(file))
    return replace(Trajectory.read(first, attempt), problems=[error.message])


def load_frame(path: Path | str) -> pd.DataFrame:
    """Every event of every trial at `path` (as `trajectories` takes it) as a pandas data frame, a row an event; needs pandas.

    Columns: run, trial, scenario, model, seed, epoch, attempt, seq, step, kind, source, host, at (UTC), during, origin,
    withheld, and `body`, the event's own fields as a dictionary. Words of an agent in it are hostile: do not render them raw.
    """
    import pandas as pd  # noqa: PLC0415 - a second to import, and not everybody's

    rows = [row for trajectory in trajectories(path) for row in _rows(trajectory)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["at"] = pd.to_datetime(frame["at"], unit="us", utc=True)
    return frame


_COLUMNS = ("run", "trial", "scenario", "model", "seed", "epoch", "attempt", "seq", "step", "kind", "source", "host", "at",
            "during", "origin", "withheld", "body")  # fmt: skip


def _rows(trajectory: Trajectory) -> Iterator[tuple[object, ...]]:
    start = trajectory.started
    about = (start.run, start.trial, start.scenario, start.model, start.seed, start.epoch) if start else (None,) * 6
    for event in trajectory.events:
        head = event.header
        body = event.body.model_dump(mode="python", exclude={"kind"})
        yield (*about, head.attempt, head.seq, head.step, head.kind, head.source, head.host, head.observed_at.wall_us,
               head.during, head.origin, event.withheld, body)  # fmt: skip


def find_runs(path: Path) -> tuple[RunLayout, ...]:
    """The run that `path` is, or those that lie in it, oldest first. Raises UsageError where there is none."""
    if RunLayout(path).trials_folder.is_dir():
        return (RunLayout(path),)
    below = sorted(path.iterdir()) if path.is_dir() else []
    runs = tuple(RunLayout(child) for child in below if RunLayout(child).trials_folder.is_dir())
    if not runs:
        raise UsageError(f"There is no run at {path}.", "Give a run's folder, or the folder that holds runs.")
    return runs


def find_attempt(path: Path) -> AttemptLayout:
    """The attempt that a ledger file, an attempt's folder or a trial's folder stands for. Raises UsageError."""
    if path.is_file():
        return AttemptLayout(path.parent) if path.name == "ledger.jsonl" else _Elsewhere(path.parent, path)
    if AttemptLayout(path).ledger.is_file():
        return AttemptLayout(path)
    latest = TrialLayout(path).latest()
    if latest is not None and latest.ledger.is_file():
        return latest
    raise UsageError(f"There is no trajectory at {path}.", "Give a trial's folder, an attempt's, or a ledger.jsonl.")


@dataclass(frozen=True)
class _Elsewhere(AttemptLayout):
    """A ledger under a name of its own, blobs beside it."""

    file: Path = Path()

    @property
    def ledger(self) -> Path:
        return self.file


def elsewhere(name: str) -> AttemptLayout:
    """Where a ledger lies that is no file here: it has that name, and no blobs."""
    return _Elsewhere(Path(os.devnull), Path(name))


@contextmanager
def opened(ledger: Path) -> Iterator[BinaryIO]:
    """A ledger to be read. Raises UsageError where it cannot be, then or later."""
    try:
        with ledger.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{ledger} cannot be read: {error.strerror}.") from error


@contextmanager
def _uncollected() -> Iterator[None]:
    """Events are many objects without a cycle: looking for cycles among them takes as long as making them."""
    wanted = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if wanted:
            gc.enable()


def check_size(file: BinaryIO, ledger: Path) -> None:
    """Raises TooLarge where a ledger is not to be loaded. Values are counted only where there are bytes for too many."""
    size, values = file.seek(0, os.SEEK_END), 0
    file.seek(0)
    if MAX_VALUES < size <= MAX_LEDGER:
        values = sum(chunk.count(sign) for chunk in iter(lambda: file.read(_CHUNK), b"") for sign in b",[{")
        file.seek(0)
    if size > MAX_LEDGER or values > MAX_VALUES:
        what = f"{values:,} values; at most {MAX_VALUES:,}" if values else f"{size:,} bytes; at most {MAX_LEDGER:,}"
        raise TooLarge(f"{ledger} holds {what} are loaded.", "`belljar verify` proves a ledger of any size.")


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
