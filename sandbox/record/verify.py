"""Proof that a recorded trial is what was written, or the name of the first place where it is not.

A pure function over files: the chain of stored bytes, the openings against their seals, the blobs against their names,
and head and count against the anchor that this machine keeps outside the run (`sandbox/record/anchors.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from pydantic import Field

from sandbox.errors import IntegrityError, TooLarge, UsageError
from sandbox.events import Content, Frozen
from sandbox.record.anchors import Anchor, AnchorKey, is_digest, look_up, run_anchors
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout, RunLayout, TrialLayout
from sandbox.record.line import MAX_LINE, MODELS, START, Line, check, contents, lines_of
from sandbox.trajectory import (
    Trajectory,
    attempts_at,
    beginning,
    check_size,
    elsewhere,
    find_attempt,
    find_runs,
    newer,
    opened,
    told_newer,
)

Status = Literal["ok", "broken", "cut", "unanchored_tail", "unanchored"]
"""ok: all holds and agrees with the anchor. broken: `first_bad` says where and why. cut: fewer lines than were anchored.
unanchored_tail: all holds, and lines follow the last anchored one, as a killed process leaves them. unanchored: all
holds, but this machine has no anchor, so a cut tail or a wholly rewritten ledger would not show."""


class FirstBad(Frozen):
    """The first event that does not hold: `seq` counts from 0, `line` from 1."""

    seq: int
    line: int
    why: str


class Withheld(Frozen):
    """A field that was taken out of this copy."""

    seq: int
    field: str


class VerifyReport(Frozen):
    """`events` counts the whole lines that hold, `head` is the hash of the last of them, `torn` the bytes after the last.

    `ok` is true for `ok` and `unanchored_tail`. `problems` are sentences for the reader. The JSON of `belljar verify`.
    """

    ok: bool
    status: Status
    events: int
    head: str
    first_bad: FirstBad | None = None
    problems: tuple[str, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    torn: int = 0
    anchored_as: AnchorKey = Field(default=AnchorKey("", "", 1), exclude=True)


def verify(path: Path | str, *, blobs: bool = True, proven: dict[str, int] | None = None) -> VerifyReport:
    """Verify one attempt: a ledger file, an attempt's folder, or a trial's (its latest).

    Args:
        blobs: whether to unpack stored bodies and compare them with their names.
        proven: sizes by digest of blobs that need not be unpacked again, and where this attempt's are noted; for several
            attempts only where their stores are known to hold the same files.

    Raises UsageError.
    """
    layout = find_attempt(Path(path))
    chain = _Chain.of(layout)
    with opened(layout.ledger) as file:
        for _ in _follow(file, chain, layout, {} if proven is None else proven, blobs=blobs):
            if chain.first_bad is not None:
                break
    return _judge(chain)


def load_verified(layout: AttemptLayout) -> tuple[Trajectory, VerifyReport]:
    """An attempt's trajectory and what `verify` says of it, of one reading. Raises UsageError, TooLarge among them."""
    chain = _Chain.of(layout)
    with opened(layout.ledger) as file:
        check_size(file, layout.ledger)
        trajectory = Trajectory.from_lines(_follow(file, chain, layout, {}), layout)
    return trajectory, _judge(chain)


def read_verified(data: bytes) -> tuple[Trajectory, VerifyReport]:
    """The same of a ledger's bytes from elsewhere, whose stored bodies are not to be had. Raises TooLarge."""
    layout, file = elsewhere("-"), BytesIO(data)
    check_size(file, layout.ledger)
    chain = _Chain.of(layout)
    return Trajectory.from_lines(_follow(file, chain, layout, {}, blobs=False), layout), _judge(chain)


def verified(path: Path | str) -> Iterator[tuple[Trajectory, VerifyReport]]:
    """Every trial at `path` as `sandbox.trajectory.trajectories` gives it, with what `verify` says of it; each is read once."""
    return (read_once(attempt, alone=alone) for attempt, alone in attempts_at(Path(path)))


def read_once(attempt: AttemptLayout, *, alone: bool) -> tuple[Trajectory, VerifyReport]:
    """One of them. Raises UsageError, TooLarge only where the attempt is all that was asked for."""
    try:
        return load_verified(attempt)
    except TooLarge as error:
        if alone:
            raise
        return beginning(attempt, error), verify(attempt.ledger)


def verify_path(path: Path | str, *, blobs: bool = True) -> list[tuple[Path, VerifyReport]]:
    """Verify every attempt at `path`: a ledger, an attempt, a trial, a run, or a folder of runs. Never empty.

    Ledgers of a run that were anchored on this machine and are gone are reported as cut. Raises UsageError where
    there is nothing to verify.
    """
    place = Path(path)
    if place.is_file() or AttemptLayout(place).ledger.is_file():
        return [(place, verify(place, blobs=blobs))]
    attempts = [attempt.root for attempt in _written(TrialLayout(place))]
    if attempts:
        return [(attempt, verify(attempt, blobs=blobs)) for attempt in attempts]
    reports: list[tuple[Path, VerifyReport]] = []
    for run in find_runs(place):
        recorded = [attempt.root for trial in run.trials() for attempt in _written(trial)]
        reports += [(attempt, verify(attempt, blobs=blobs)) for attempt in recorded]
        reports += [(gone, _GONE) for gone in _vanished(run)]
    if not reports:
        raise UsageError(f"No trial has been recorded in {place}.")
    return reports


_VANISHED = "the whole ledger is gone: it was anchored on this machine"
_GONE = VerifyReport(
    ok=False,
    status="cut",
    events=0,
    head=START,
    first_bad=FirstBad(seq=0, line=1, why=_VANISHED),
    problems=(_VANISHED,),
)


@dataclass
class _Chain:
    """As far as the lines hold: how many, the hash of the last and of the one that the anchor names."""

    key: AnchorKey
    anchor: Anchor | None = None
    lines: int = 0
    head: str = START
    at_anchor: str = START
    first_bad: FirstBad | None = None
    withheld: list[Withheld] = field(default_factory=list)
    torn: int = 0
    doubts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, layout: AttemptLayout) -> _Chain:
        key = AnchorKey(layout.run, layout.trial, layout.number)
        return cls(key, look_up(key))

    def take(self, line: Line) -> None:
        """Go on to a line that holds."""
        if self.lines == 0:
            self.key = _key(line) or self.key
            if line.header.get("kind") == "trial.started" and (found := newer(line.body.get("format"))):
                self.doubts.append(told_newer(found))
            self.anchor = look_up(self.key)
        self.withheld.extend(Withheld(seq=self.lines, field=name) for name in line.withheld)
        self.lines += 1
        self.head = line.hash
        if self.anchor is not None and self.lines == self.anchor.lines:
            self.at_anchor = line.hash


class _Sizes(NamedTuple):
    """Proven sizes of blobs: each is unpacked once, however many lines refer to it."""

    store: BlobStore
    proven: dict[str, int]

    def of(self, digest: str) -> int:
        """Raises IntegrityError."""
        if digest not in self.proven or digest not in self.store:
            self.proven[digest] = self.store.size(digest)
        return self.proven[digest]


def _follow(
    file: BinaryIO, chain: _Chain, layout: AttemptLayout, proven: dict[str, int], *, blobs: bool = True
) -> Iterator[tuple[bytes, Line | None]]:
    """Every line, taken apart as long as the chain holds."""
    sizes = _Sizes(BlobStore(layout.blobs), proven) if blobs else None
    for seq, text in enumerate(lines_of(file)):
        line = None
        if chain.first_bad is None:
            if len(text) <= MAX_LINE and not text.endswith(b"\n"):
                chain.torn = len(text)
            else:
                line = _next(chain, seq, text, sizes)
        yield text, line


def _next(chain: _Chain, seq: int, text: bytes, sizes: _Sizes | None) -> Line | None:
    """Go on by one line if it holds."""
    try:
        _check_length(text)
        line = check(text[:-1])
        _check_place(line, seq, chain.head)
        if sizes is not None and b'"stored":true' in text:
            chain.doubts.extend(_check_blobs(line, sizes))
    except (ValueError, IntegrityError) as error:
        chain.first_bad = FirstBad(seq=seq, line=seq + 1, why=str(error).splitlines()[0][:300])
        return None
    chain.take(line)
    return line


def _judge(chain: _Chain) -> VerifyReport:
    status, first_bad = ("broken", chain.first_bad) if chain.first_bad else _against_anchor(chain)
    problems = [f"line {first_bad.line} (seq {first_bad.seq}): {first_bad.why}"] if first_bad else []
    problems.extend(chain.doubts)
    if chain.torn:
        problems.append(f"{chain.torn:,} bytes of an unfinished line follow line {chain.lines}")
    if status == "unanchored":
        problems.append("this machine has no anchor for it: neither a cut tail nor a rewritten ledger would show")
    if status == "unanchored_tail" and chain.anchor is not None:
        problems.append(
            f"{chain.lines - chain.anchor.lines} whole lines follow the last anchored one, line {chain.anchor.lines}"
        )
    return VerifyReport(
        ok=status in ("ok", "unanchored_tail"),
        status=status,
        events=chain.lines,
        head=chain.head,
        first_bad=first_bad,
        problems=tuple(problems),
        withheld=tuple(chain.withheld),
        torn=chain.torn,
        anchored_as=chain.key,
    )


def _against_anchor(chain: _Chain) -> tuple[Status, FirstBad | None]:
    """What the anchor says of lines that hold by themselves."""
    anchor, lines = chain.anchor, chain.lines
    if anchor is None:
        return "unanchored", None
    if lines < anchor.lines:
        why = f"it was cut off: {anchor.lines} lines were anchored, {lines} are there"
        return "cut", FirstBad(seq=lines, line=lines + 1, why=why)
    if chain.at_anchor != anchor.head:
        why = "its hash is not the anchored one: the ledger was rewritten"
        return "broken", FirstBad(seq=max(anchor.lines - 1, 0), line=max(anchor.lines, 1), why=why)
    beyond = lines > anchor.lines or chain.torn > 0
    if beyond and anchor.closed:
        why = "it was added after the ledger was closed"
        return "broken", FirstBad(seq=anchor.lines, line=anchor.lines + 1, why=why)
    return ("unanchored_tail" if beyond else "ok"), None


def _check_length(text: bytes) -> None:
    if len(text) > MAX_LINE:
        raise ValueError(f"it is longer than {MAX_LINE:,} bytes: no line is")


def _check_place(line: Line, seq: int, prev: str) -> None:
    if line.header.get("seq") != seq:
        raise ValueError(f"its seq is {line.header.get('seq')!r}, not {seq}: a line was removed, added or moved")
    if line.header.get("prev") != prev:
        raise ValueError("it does not continue the line before")


def _key(line: Line) -> AnchorKey | None:
    """Where the ledger is anchored by what its manifest says, None without one."""
    run, trial, attempt = line.body.get("run"), line.body.get("trial"), line.header.get("attempt")
    manifest = line.header.get("kind") == "trial.started"
    if manifest and isinstance(run, str) and isinstance(trial, str) and isinstance(attempt, int):
        return AnchorKey(run, trial, attempt)
    return None


def _check_blobs(line: Line, blobs: _Sizes) -> Iterator[str]:
    """Every stored content among a body's fields. Raises IntegrityError; yields what is only doubtful.

    Only fields that *are* contents count, by their type. In a kind that this version does not know, shape alone speaks,
    and gives no more than a doubt: an agent that writes what looks like a content into its arguments must not make its
    own ledger look broken.
    """
    model = MODELS.get(str(line.header.get("kind")))
    for name, value in line.body.items():
        if not isinstance(value, dict) or value.get("stored") is not True:
            continue
        if model is not None and name in contents(model):
            _check_blob(value, blobs)
        elif model is None and value.keys() == Content.model_fields.keys():
            try:
                _check_blob(value, blobs)
            except IntegrityError as error:
                yield f"seq {line.header.get('seq')}, of a kind that this version does not know: {error.message}"


def _check_blob(content: Mapping[str, object], blobs: _Sizes) -> None:
    size = blobs.of(str(content.get("sha256")))
    if content.get("size") != size:
        raise IntegrityError(f"Blob {content.get('sha256')} has {size:,} bytes, not {content.get('size')!r}.")


def _written(trial: TrialLayout) -> Iterator[AttemptLayout]:
    return (attempt for attempt in trial.attempts() if attempt.ledger.is_file())


def _vanished(run: RunLayout) -> list[Path]:
    """Attempts that this machine anchored for a run and whose ledgers are not there any more."""
    folder = run_anchors(run.id)
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    parted = (name.rpartition(".") for name in names if not is_digest(name))
    places = [run.trials_folder / trial / f"attempt-{number}" for trial, _, number in parted]
    return [place for place in places if not AttemptLayout(place).ledger.is_file()]
