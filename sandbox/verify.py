"""Proof that a recorded trial is what was written, or the name of the first place where it is not.

A pure function over files: the chain of stored bytes, the openings against their seals, the blobs against their names,
and head and count against the anchor that this machine keeps outside the run (`sandbox/anchors.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sandbox.anchors import Anchor, AnchorKey, look_up, run_anchors
from sandbox.blobs import BlobStore
from sandbox.errors import IntegrityError, UsageError
from sandbox.events import Frozen
from sandbox.layout import AttemptLayout, RunLayout, TrialLayout
from sandbox.line import START, Line, check
from sandbox.trajectory import find_attempt, find_runs

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


def verify(path: Path | str, *, blobs: bool = True) -> VerifyReport:
    """Verify one attempt: a ledger file, an attempt's folder, or a trial's (its latest). Raises UsageError."""
    layout = find_attempt(Path(path))
    try:
        data = layout.ledger.read_bytes()
    except OSError as error:
        raise UsageError(f"{layout.ledger} cannot be read: {error.strerror}.") from error
    *lines, tail = data.split(b"\n")
    chain = _follow(lines, BlobStore(layout.blobs) if blobs else None)
    anchor = look_up(chain.key or AnchorKey(layout.run, layout.trial, layout.number))
    return _judge(chain, len(lines), len(tail), anchor)


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
        reports += [
            (gone, VerifyReport(ok=False, status="cut", events=0, head=START, first_bad=_GONE)) for gone in _vanished(run)
        ]
    if not reports:
        raise UsageError(f"No trial has been recorded in {place}.")
    return reports


_GONE = FirstBad(seq=0, line=1, why="the whole ledger is gone: it was anchored on this machine")


class _Chain(NamedTuple):
    """As far as the lines hold: how many, the hashes they have, where the anchor is looked for."""

    hashes: list[str]
    key: AnchorKey | None
    first_bad: FirstBad | None
    withheld: list[Withheld]


def _follow(lines: list[bytes], blobs: BlobStore | None) -> _Chain:
    hashes: list[str] = []
    withheld: list[Withheld] = []
    key: AnchorKey | None = None
    for seq, text in enumerate(lines):
        try:
            line = check(text)
            _check_place(line, seq, hashes[-1] if hashes else START)
            if seq == 0:
                key = _key(line)
            if blobs is not None and b'"stored":true' in text:
                _check_blobs(line.body, blobs)
        except (ValueError, IntegrityError) as error:
            return _Chain(hashes, key, FirstBad(seq=seq, line=seq + 1, why=str(error).splitlines()[0][:300]), withheld)
        hashes.append(line.hash)
        withheld.extend(Withheld(seq=seq, field=name) for name in line.withheld)
    return _Chain(hashes, key, None, withheld)


def _judge(chain: _Chain, lines: int, torn: int, anchor: Anchor | None) -> VerifyReport:
    hashes = chain.hashes
    first_bad, problems = chain.first_bad, []
    status: Status = "broken" if first_bad else "ok"
    if torn:
        problems.append(f"{torn:,} bytes of an unfinished line follow line {lines}")
    if first_bad is None and anchor is None:
        status = "unanchored"
        problems.append("this machine has no anchor for it: a cut tail would not show")
    elif first_bad is None and anchor is not None:
        status, first_bad = _against(anchor, hashes, torn)
    if status == "unanchored_tail" and anchor is not None:
        problems.append(f"{lines - anchor.lines} whole lines and {torn:,} bytes follow the last anchored line, {anchor.lines}")
    if first_bad is not None:
        problems.insert(0, f"line {first_bad.line} (seq {first_bad.seq}): {first_bad.why}")
    head = hashes[-1] if hashes else START
    return VerifyReport(
        ok=status in ("ok", "unanchored_tail"),
        status=status,
        events=len(hashes),
        head=head,
        first_bad=first_bad,
        problems=tuple(problems),
        withheld=tuple(chain.withheld),
        torn=torn,
    )


def _against(anchor: Anchor, hashes: list[str], torn: int) -> tuple[Status, FirstBad | None]:
    """What the anchor says of lines that hold by themselves."""
    count = len(hashes)
    if count < anchor.lines:
        return "cut", FirstBad(
            seq=count, line=count + 1, why=f"it was cut off: {anchor.lines} lines were anchored, {count} are there"
        )
    if anchor.lines and hashes[anchor.lines - 1] != anchor.head:
        at = anchor.lines - 1
        return "broken", FirstBad(seq=at, line=at + 1, why="its hash is not the anchored one: the ledger was rewritten")
    if anchor.closed and (count > anchor.lines or torn):
        return "broken", FirstBad(seq=anchor.lines, line=anchor.lines + 1, why="it was added after the ledger was closed")
    return ("unanchored_tail" if count > anchor.lines or torn else "ok"), None


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


def _check_blobs(value: Any, blobs: BlobStore) -> None:
    """Every stored content anywhere in a body, of known kind or not. Raises IntegrityError."""
    if isinstance(value, dict):
        if value.get("stored") is True and isinstance(value.get("sha256"), str):
            data = blobs.get(value["sha256"])
            if value.get("size") != len(data):
                raise IntegrityError(f"Blob {value['sha256']} has {len(data):,} bytes, not {value.get('size')!r}.")
            return
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _check_blobs(part, blobs)


def _written(trial: TrialLayout) -> Iterator[AttemptLayout]:
    return (attempt for attempt in trial.attempts() if attempt.ledger.is_file())


def _vanished(run: RunLayout) -> list[Path]:
    """Attempts that this machine anchored for a run and whose ledgers are not there any more."""
    folder = run_anchors(run.id)
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
    parted = (name.rpartition(".") for name in names)
    places = [run.trials_folder / trial / f"attempt-{number}" for trial, _, number in parted]
    return [place for place in places if not AttemptLayout(place).ledger.is_file()]
