"""Making a bundle of a run or a trial: verify, withhold, index, sign, pack; the same input gives the same bytes.

What a bundle is stands in `sandbox/record/bundle.py`, how fields are taken out in `sandbox/record/withholding.py`.
Nothing is sealed that does not verify. Where anything is withheld, what may quote it - verdicts, labels, judgements, files that
a fork changed, the source of an imported trial - is withheld too, as digests; what a killed writer left of a line always is.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import zstandard
from pydantic_core import from_json

from sandbox.errors import IntegrityError, NotReadyError, UsageError
from sandbox.record.blobs import BlobStore
from sandbox.record.bundle import (
    BLOCK,
    MAX_FILE,
    NAMES,
    SUFFIX,
    BundledAttempt,
    BundledFile,
    BundleIndex,
    BundleSignature,
    WithheldFile,
    header,
)
from sandbox.record.layout import AttemptLayout, RunLayout, TrialLayout, safe_name
from sandbox.record.signing import fingerprint, own_key, public_bytes
from sandbox.record.text_search import matching
from sandbox.record.verify import verify
from sandbox.record.withholding import TEXT, Kept, ReadBlob, withhold
from sandbox.trajectory import Trajectory, find_attempt

LEVEL = 10
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_SOURCE = "imported.source"
_LEDGERS_AT_ONCE = 999_999


@dataclass
class SealReport:
    """What was sealed. `repeated` counts fields that were withheld only since they repeat others; `still_readable` where a
    `text:` pattern matches what cannot be withheld."""

    path: Path
    fingerprint: str
    run: str
    attempts: int = 0
    events: int = 0
    bytes: int = 0
    withheld: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    withheld_blobs: int = 0
    withheld_files: tuple[str, ...] = ()
    still_readable: Counter[str] = field(default_factory=Counter)


@dataclass
class _Part:
    """One file of the bundle: its bytes, or where they lie."""

    name: str
    data: bytes | None = None
    place: Path | None = None

    def read(self) -> bytes:
        return self.data if self.data is not None else (self.place or Path()).read_bytes()


def seal(
    path: Path,
    out: Path,
    *,
    patterns: Sequence[str] = (),
    verdicts: Mapping[str, bytes] | None = None,
    keep_verdicts: bool = False,
    partial: bool = False,
) -> SealReport:
    """Seal a run, a trial (all attempts) or one attempt into the file `out`, which must not exist.

    Args:
        patterns: what to withhold (`sandbox/record/withholding.py`).
        verdicts: further analyses by file name, beside those that lie in the run.
        keep_verdicts: keep them, labels, judgements and changed files even though something is withheld that they may quote.
        partial: go on where a `text:` pattern also matches what cannot be withheld.

    Raises UsageError for a path that holds no trial, and for a pattern that chooses nothing or, without `partial`, leaves
    something readable; IntegrityError where a ledger does not verify; NotReadyError where the key or the file cannot be had.
    """
    if out.exists():
        raise UsageError(f"{out} exists.", "Give another --out, or remove it.")
    run, attempts = _attempts(path)
    key = own_key()
    report = SealReport(out, fingerprint(public_bytes(key)), run.id if run else _run_of(attempts[0]))
    with tempfile.TemporaryDirectory(prefix="belljar-seal-") as spool:
        sealed, parts, matched = _seal_attempts(attempts, patterns, Path(spool), report)
        side, withheld = _side_files(run, verdicts or {}, attempts)
        kept, back = _sift(side, patterns, keep_verdicts=keep_verdicts, matched=matched)
        _check_patterns(patterns, matched, report, partial=partial)
        report.withheld_files = tuple(file.path for file in (*withheld, *back))
        ordered = [*kept, *parts]
        index = BundleIndex(
            run=safe_name(report.run),
            files=tuple(_entry(part) for part in ordered),
            attempts=tuple(sealed),
            patterns=_told(patterns),
            repeated=sum(report.repeated.values()),
            withheld_blobs=report.withheld_blobs,
            withheld_files=(*withheld, *back),
        )
        data = index.model_dump_json().encode()
        signature = BundleSignature(public_key=public_bytes(key).hex(), signature=key.sign(data).hex())
        head = [_Part("bundle.json", data), _Part("signature.json", signature.model_dump_json().encode())]
        report.attempts, report.events = len(sealed), sum(entry.events for entry in sealed)
        report.bytes = _pack(out, [*head, *ordered])
    return report


def default_name(path: Path) -> Path:
    """Where a bundle of `path` goes unless told otherwise: beside it, under its name."""
    return path.absolute().parent / f"{path.absolute().name}{SUFFIX}"


def _attempts(path: Path) -> tuple[RunLayout | None, list[AttemptLayout]]:
    """The run, where `path` is a whole one, and the attempts to seal, in order."""
    run = RunLayout(path)
    if run.trials_folder.is_dir():
        attempts = [attempt for trial in run.trials() for attempt in trial.attempts() if attempt.ledger.is_file()]
        if not attempts:
            raise UsageError(f"No trial has been recorded in {path}.")
        if len(attempts) > _LEDGERS_AT_ONCE:
            raise UsageError(f"{path} holds more than {_LEDGERS_AT_ONCE:,} attempts.", "Seal its trials apart.")
        return run, attempts
    of_trial = [attempt for attempt in TrialLayout(path).attempts() if attempt.ledger.is_file()]
    return None, of_trial or [find_attempt(path)]


def _run_of(attempt: AttemptLayout) -> str:
    return attempt.run or Trajectory.load(attempt.ledger).manifest.run


def _seal_attempts(
    attempts: Sequence[AttemptLayout], patterns: Sequence[str], spool: Path, report: SealReport
) -> tuple[list[BundledAttempt], list[_Part], set[str]]:
    """The index's entries, the files they need, and the patterns that found something."""
    entries: list[BundledAttempt] = []
    parts: dict[str, _Part] = {}
    matched: set[str] = set()
    for number, attempt in enumerate(attempts, 1):
        name = f"ledgers/{number:06}.jsonl"
        whole = _whole_lines(attempt)
        kept = withhold(whole, _with_source(patterns, whole), _reader(attempt)) if patterns else Kept(whole)
        entry = _attempt_entry(attempt, name, whole, kept, report)
        entries.append(entry)
        matched |= kept.matched
        report.repeated += kept.repeated
        report.still_readable += kept.still_readable
        place = attempt.ledger
        if len(kept.ledger) != place.stat().st_size:
            place = spool / f"{number:06}.jsonl"
            place.write_bytes(kept.ledger)
        parts |= {name: _Part(name, place=place)} | {part.name: part for part in _blob_parts(attempt, entry.blobs)}
    return entries, [parts[name] for name in sorted(parts)], matched


def _whole_lines(attempt: AttemptLayout) -> bytes:
    data = attempt.ledger.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _attempt_entry(attempt: AttemptLayout, name: str, whole: bytes, kept: Kept, report: SealReport) -> BundledAttempt:
    """What the index says of one attempt. Raises IntegrityError where its ledger does not verify."""
    verified = verify(attempt.ledger)
    if verified.first_bad is not None:
        raise IntegrityError(
            f"{attempt.ledger} does not verify: {verified.problems[0]}.", "Nothing is sealed.", place=str(attempt.ledger)
        )
    store = BlobStore(attempt.blobs)
    after = _referred(kept.ledger, store)
    report.withheld_blobs += len(_referred(whole, store) - after)
    lines = whole.split(b"\n") if verified.withheld else []
    withheld = kept.withheld + Counter(f"{_kind(lines[gone.seq])}.{gone.field}" for gone in verified.withheld)
    report.withheld += withheld
    return BundledAttempt(
        trial=safe_name(attempt.trial),
        attempt=attempt.number,
        ledger=name,
        events=verified.events,
        head=verified.head,
        status=verified.status,
        blobs=tuple(sorted(after)),
        withheld=dict(sorted(withheld.items())),
    )


def _kind(line: bytes) -> str:
    header = from_json(line.split(b"\t", 1)[0].removesuffix(b",") + b"}")["header"]
    return str(header["kind"])


def _with_source(patterns: Sequence[str], ledger: bytes) -> list[str]:
    """An imported trial's source says everything again, so it goes with whatever goes."""
    imported = b'"kind":"imported"' in ledger
    return [*patterns, _SOURCE] if patterns and imported and _SOURCE not in patterns else list(patterns)


def _referred(ledger: bytes, store: BlobStore) -> set[str]:
    """The blobs of the store whose digests stand in a ledger."""
    mentioned = {digest.decode() for digest in _HEX.findall(ledger)}
    return mentioned.intersection(store)


def _blob_parts(attempt: AttemptLayout, digests: Sequence[str]) -> Iterator[_Part]:
    """Blobs as they lie in the store, compressed or not."""
    for digest in digests:
        for suffix in (".zst", ""):
            place = attempt.blobs / digest[:2] / (digest + suffix)
            if place.is_file() and not place.is_symlink():
                yield _Part(f"blobs/{digest[:2]}/{digest}{suffix}", place=place)
                break


def _reader(attempt: AttemptLayout) -> ReadBlob:
    store = BlobStore(attempt.blobs)

    def read(digest: str) -> bytes | None:
        try:
            return store.get(digest)
        except IntegrityError:
            return None

    return read


def _side_files(
    run: RunLayout | None, verdicts: Mapping[str, bytes], attempts: Sequence[AttemptLayout]
) -> tuple[list[_Part], list[WithheldFile]]:
    """The run's own files and what was said of it; what can be no file of a bundle is listed by its digest."""
    found = {f"verdicts/{name}": _Part(f"verdicts/{name}", data=data) for name, data in verdicts.items()}
    if run is not None:
        if run.study.is_file():
            found["study.json"] = _Part("study.json", place=run.study)
        for file in (file for folder in (run.verdicts, run.labels, run.judgements, run.changed) for file in folder.rglob("*")):
            if file.is_file() and not file.is_symlink():
                name = str(file.relative_to(run.root))
                found.setdefault(name, _Part(name, place=file))
    odd = sorted(name for name in found if not NAMES.fullmatch(name))
    withheld = [_withheld(found.pop(name)) for name in odd]
    withheld += [_withheld(_Part(f"{a.trial}/{a.root.name}/torn.bin", place=a.torn)) for a in attempts if a.torn.is_file()]
    return [found[name] for name in sorted(found)], withheld


def _sift(
    side: Sequence[_Part], patterns: Sequence[str], *, keep_verdicts: bool, matched: set[str]
) -> tuple[list[_Part], list[WithheldFile]]:
    """Of the run's own files those that stay, and those that may quote what is withheld."""
    if not patterns:
        return list(side), []
    kept: list[_Part] = []
    back: list[WithheldFile] = []
    for part in side:
        text = part.read().decode("utf-8", "replace")
        hits = {p for p in patterns if p.startswith(TEXT) and matching(p.removeprefix(TEXT), [text])}
        matched |= hits
        quotes = part.name != "study.json" and not keep_verdicts
        if hits or quotes:
            back.append(_withheld(part))
        else:
            kept.append(part)
    return kept, back


def _check_patterns(patterns: Sequence[str], matched: set[str], report: SealReport, *, partial: bool) -> None:
    """A pattern that chooses nothing is a typing error that would publish what it was meant to keep back."""
    idle = [pattern for pattern in patterns if pattern not in matched]
    if idle:
        raise UsageError(
            f"Nothing is withheld by {', '.join(repr(p) for p in idle)}.",
            "Patterns are event.field (see sandbox/events.py), such as 'tool.returned.output', or 'text:REGEX'.",
        )
    if report.still_readable and not partial:
        places = ", ".join(f"{place} ({count})" for place, count in report.still_readable.most_common(5))
        raise UsageError(
            f"The text also stands where nothing can be withheld: {places}.", "Seal with --partial to accept that."
        )


def _told(patterns: Sequence[str]) -> tuple[str, ...]:
    """A `text:` pattern is likely to be the very secret."""
    return tuple(sorted({"text:" if pattern.startswith(TEXT) else pattern for pattern in patterns}))


def _entry(part: _Part) -> BundledFile:
    data = part.read()
    if len(data) > MAX_FILE:
        raise UsageError(f"{part.name} is larger than {MAX_FILE:,} bytes.", "Seal its trials apart.")
    return BundledFile(name=part.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _withheld(part: _Part) -> WithheldFile:
    data = part.read()
    return WithheldFile(path=part.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _pack(out: Path, parts: Sequence[_Part]) -> int:
    """Write the archive beside its place and put it there whole; returns its size in bytes."""
    unfinished = out.parent / f".sealing-{secrets.token_hex(8)}"
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file, compressor.stream_writer(file, closefd=False) as stream:
            for part in parts:
                data = part.read()
                stream.write(header(part.name, len(data)))
                stream.write(data)
                stream.write(bytes(-len(data) % BLOCK))
            stream.write(bytes(2 * BLOCK))
        os.link(unfinished, out)
        return out.stat().st_size
    except FileExistsError as error:
        raise UsageError(f"{out} exists.", "Give another --out, or remove it.") from error
    except OSError as error:
        raise NotReadyError(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
