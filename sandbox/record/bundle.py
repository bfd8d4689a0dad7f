"""A run, or one trial of it, in one file that can be checked anywhere: what lies in it, how it is opened and verified.

A bundle is a zstandard frame of a plain ustar archive (`zstd -d < x.belljar | tar t` lists it):

    bundle.json        the index: every other file with size and SHA-256, every ledger with its count and head   (BundleIndex)
    signature.json     Ed25519 over the bytes of bundle.json, with the public key
    study.json         as it lay in the run, if it did
    verdicts/…         analyses; likewise labels/… of people, judgements/… of models, changed/… files of a fork
    ledgers/000001.jsonl …
    blobs/ab/ab3f…[.zst]   every body that a ledger still refers to, once

The signature covers the index and the index everything else, so nothing is read that was not announced: names, order and
sizes must be exactly those of the index, headers say nothing else, and nothing follows the frame. Opening writes below one
hidden folder that is renamed at the end. What was withheld is absent, counted in the index, and shows in the ledgers as seals
without openings. Reports are not in it: they are made again of what is.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple

import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.errors import IntegrityError, NotReadyError, UsageError
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import RunLayout, safe_name
from sandbox.record.signing import Signer, Standing, holds, signer
from sandbox.record.verify import verify

FORMAT = 1
SUFFIX = ".belljar"
MAX_INDEX = 64 * 1024 * 1024
MAX_TOTAL = 32 * 1024 * 1024 * 1024
MAX_FILE = 8 * 1024 * 1024 * 1024 - 1
BLOCK = 512
_CHUNK = 1024 * 1024
_MAX_WINDOW = 128 * 1024 * 1024
_FRAME_HEADER = 18
_REPEATED = 1
_MAGIC = b"\x28\xb5\x2f\xfd"
NAMES = re.compile(
    r"study\.json|(?:verdicts|labels|judgements|changed)/[A-Za-z0-9][A-Za-z0-9._@=+,-]{0,80}|ledgers/[0-9]{6}\.jsonl|blobs/[0-9a-f]{2}/[0-9a-f]{64}(?:\.zst)?"
)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=MAX_FILE)]


class Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundledFile(Data):
    name: str
    size: Size
    sha256: Digest


class BundledAttempt(Data):
    """`status` is what verification said on the sealing machine (`sandbox/record/verify.py`), its anchors included;
    `withheld` counts fields by path."""

    trial: str
    attempt: Annotated[int, Field(ge=1, le=10**9)]
    ledger: str
    events: Annotated[int, Field(ge=0)]
    head: Digest
    status: str
    blobs: tuple[Digest, ...] = ()
    withheld: dict[str, int] = {}


class WithheldFile(Data):
    """A file of the run that was kept back, by its digest."""

    path: str
    size: Size
    sha256: Digest


class BundleIndex(Data):
    """`patterns` are the field patterns that were withheld; of `text:` patterns only that there were any."""

    belljar_bundle: Literal[1] = 1
    run: str
    files: tuple[BundledFile, ...]
    attempts: tuple[BundledAttempt, ...]
    patterns: tuple[str, ...] = ()
    repeated: int = 0
    withheld_blobs: int = 0
    withheld_files: tuple[WithheldFile, ...] = ()


class BundleSignature(Data):
    algorithm: Literal["ed25519"] = "ed25519"
    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class BundledTrial(Data):
    """One attempt as it was verified: `ok` says that it is what was sealed."""

    trial: str
    attempt: int
    ok: bool
    events: int
    head: str
    sealed_as: str
    problems: tuple[str, ...] = ()


class BundleReport(Data):
    """What a bundle proves. `standing` says whether this machine knows the key: an unknown one proves integrity only.

    `proven`, `not_proven` and `problems` are sentences for the reader; `withheld` counts fields by path.
    """

    ok: bool
    run: str = ""
    fingerprint: str = ""
    standing: Standing = "unknown"
    signer: str = ""
    events: int = 0
    trials: tuple[BundledTrial, ...] = ()
    proven: tuple[str, ...] = ()
    not_proven: tuple[str, ...] = ()
    withheld: dict[str, int] = {}
    withheld_blobs: int = 0
    withheld_files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def is_bundle(path: Path) -> bool:
    """Whether a file begins like a bundle; nothing more is looked at."""
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(4) == _MAGIC
    except OSError:
        return False


def open_bundle(path: Path, out: Path) -> tuple[RunLayout, BundleReport]:
    """Unpack a bundle into a run of its own below `out`, every file checked against the signed index.

    Raises UsageError for what is no bundle, is of a newer format, or whose run is there already; IntegrityError where it was
    cut or changed; NotReadyError where it cannot be written. Nothing is then left in `out`.
    """
    with _unpacked(path, out) as (partial, index, who):
        report = _judge(partial, index, who)
        if not report.ok:
            raise IntegrityError(f"{path} does not hold: {report.problems[0]}", place=str(path))
        place = RunLayout(out / safe_name(index.run))
        if place.root.exists():
            raise UsageError(f"{place.root} exists.", "Open it below another folder.")
        try:
            partial.root.rename(place.root)
        except OSError as error:
            raise NotReadyError(f"{place.root} cannot be written: {error.strerror}.") from error
    return place, report


def verify_bundle(path: Path, *, key: str = "") -> BundleReport:
    """Check a bundle without keeping anything of it; `key` is who must have signed it: a fingerprint, or a remembered name.

    A bundle that does not hold gives a report that says so. Raises UsageError for what is no bundle or of a newer format,
    NotReadyError where there is no room to unpack it for the time of the check.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="belljar-verify-") as folder:  # noqa: SIM117 - one is inside the other
            with _unpacked(path, Path(folder)) as (partial, index, who):
                report = _judge(partial, index, who)
    except IntegrityError as error:
        return BundleReport(ok=False, problems=(error.message,))
    if key and key != report.fingerprint and not (report.standing == "known" and key == report.signer):
        problem = f"it is signed with {report.fingerprint}, not with the key that was asked for"
        return report.model_copy(update={"ok": False, "problems": (*report.problems, problem)})
    return report


class _Member(NamedTuple):
    name: str
    size: int


def header(name: str, size: int) -> bytes:
    """What stands before a file's bytes: readable by all, of nobody, from no time."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)


class _Archive:
    """The members of a ustar archive, strictly in order. Raises IntegrityError on anything else."""

    def __init__(self, stream: BinaryIO, what: str) -> None:
        self._stream, self._what = stream, what

    def member(self) -> _Member:
        """The next header, which says no more than name and size, since no more is signed."""
        block = self.read(BLOCK)
        name = block[:100].rstrip(b"\0").decode("ascii", "replace").replace("\ufffd", "?")
        member = _Member(name, _octal(block[124:136]))
        if block != header(*member):
            raise IntegrityError(f"{self._what} holds something that is no ordinary file.", place=self._what)
        return member

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        parts, left = [], size
        while left:
            part = self._part(min(left, _CHUNK))
            if not part:
                raise IntegrityError(f"{self._what} was cut.", place=self._what)
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def skip_padding(self, size: int) -> None:
        if self.read(-size % BLOCK).strip(b"\0"):
            raise IntegrityError(f"{self._what} hides bytes between its files.", place=self._what)

    def end(self) -> None:
        """Two empty blocks, and nothing after them."""
        if self.read(2 * BLOCK).strip(b"\0"):
            raise IntegrityError(f"{self._what} holds more than its index says.", place=self._what)
        if self._part(1):
            raise IntegrityError(f"{self._what} goes on after its end.", place=self._what)

    def _part(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except zstandard.ZstdError as error:
            raise IntegrityError(f"{self._what} is damaged: {error}.", place=self._what) from error


@contextmanager
def _unpacked(path: Path, out: Path) -> Iterator[tuple[RunLayout, BundleIndex, Signer]]:
    """The bundle's files below a hidden folder of `out`, which is removed unless it was renamed meanwhile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Name the bundle's own file.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is not a regular file.", "Name the bundle's own file.")
    partial = RunLayout(out / f".opening-{secrets.token_hex(8)}")
    with os.fdopen(descriptor, "rb") as file:
        if file.read(4) != _MAGIC:
            raise UsageError(f"{path} is no bundle.", f"Bundles are made by `belljar seal` and end in {SUFFIX}.")
        if frame_end(file) != os.fstat(file.fileno()).st_size:
            raise IntegrityError(f"{path} was cut, or goes on after its end.", place=str(path))
        file.seek(0)
        decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        with decompressor.stream_reader(file, read_across_frames=False) as stream:
            archive = _Archive(stream, str(path))
            index, who = _read_index(archive, path)
            try:
                partial.root.mkdir(parents=True)
                room = _Room(partial.root)
                room.take(sum(file.size for file in index.files))
                _write_files(archive, index, partial, room)
                archive.end()
                yield partial, index, who
            except OSError as error:
                raise NotReadyError(f"{path} cannot be unpacked below {out}: {error.strerror}.") from error
            finally:
                shutil.rmtree(partial.root, ignore_errors=True)


def frame_end(file: BinaryIO) -> int:
    """Where the zstandard frame that a file begins with ends, by the sizes of its blocks (RFC 8878, 3.1.1); 0 if it is cut.

    Unpacking alone would not tell: frames that hold nothing, and those to be skipped, hide any bytes behind it.
    """
    file.seek(0)
    start = file.read(_FRAME_HEADER)
    try:
        place = zstandard.frame_header_size(start)
        checked = zstandard.get_frame_parameters(start).has_checksum
    except zstandard.ZstdError:
        return 0
    last = False
    while not last:
        file.seek(place)
        block = int.from_bytes(file.read(3), "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if file.tell() != place + 3:
            return 0
        place += 3 + (1 if kind == _REPEATED else size)
    return place + (4 if checked else 0)


def _read_index(archive: _Archive, path: Path) -> tuple[BundleIndex, Signer]:
    """The index, once its signature holds. Raises IntegrityError; UsageError for a newer format."""
    first = archive.member()
    if first.name != "bundle.json" or first.size > MAX_INDEX:
        raise IntegrityError(f"{path} does not begin with an index.", place=str(path))
    data = archive.read(first.size)
    archive.skip_padding(first.size)
    second = archive.member()
    if second.name != "signature.json" or second.size > 10_000:
        raise IntegrityError(f"{path} is not signed.", place=str(path))
    sealed = archive.read(second.size)
    archive.skip_padding(second.size)
    try:
        signature = BundleSignature.model_validate_json(sealed)
    except ValidationError as error:
        raise IntegrityError(f"{path} has no signature that can be read.", place=str(path)) from error
    public = bytes.fromhex(signature.public_key)
    if not holds(public, bytes.fromhex(signature.signature), data):
        raise IntegrityError(f"{path} was changed: the signature is not that of its index.", place=str(path))
    try:
        index = BundleIndex.model_validate_json(data)
    except ValidationError as error:
        if b'"belljar_bundle":1,' not in data[:100]:
            raise UsageError(f"{path} is of another bundle format than {FORMAT}.", "Update Belljar.") from error
        raise IntegrityError(
            f"{path} has an index that cannot be read: {error.errors()[0]['msg']}.", place=str(path)
        ) from error
    _check_index(index, path)
    return index, signer(public)


def _check_index(index: BundleIndex, path: Path) -> None:
    """Names that stay inside, once each; trials that can be folders; nothing missing that an attempt needs."""
    names = [file.name for file in index.files]
    stems = {Path(name).name.removesuffix(".zst") for name in names if name.startswith("blobs/")}
    attempts = [(attempt.trial.casefold(), attempt.attempt) for attempt in index.attempts]
    wrong = ""
    if not all(NAMES.fullmatch(name) for name in names):
        wrong = "a file name that is not allowed"
    elif len(set(names)) != len(names) or len(set(attempts)) != len(attempts):
        wrong = "a name twice"
    elif sum(file.size for file in index.files) > MAX_TOTAL:
        wrong = f"more than {MAX_TOTAL:,} bytes"
    elif sorted(a.ledger for a in index.attempts) != sorted(name for name in names if name.startswith("ledgers/")):
        wrong = "ledgers and attempts that do not belong together"
    elif any(digest not in stems for attempt in index.attempts for digest in attempt.blobs):
        wrong = "a trial whose blobs are not there"
    try:
        for name in {index.run, *(attempt.trial for attempt in index.attempts)}:
            safe_name(name)
    except UsageError as error:
        wrong = error.message
    if wrong:
        raise IntegrityError(f"{path} has an index with {wrong}.", place=str(path))


class _Room:
    """A stranger's bundle may claim much in few bytes; it never takes more than half of what was free."""

    def __init__(self, folder: Path) -> None:
        self.left = shutil.disk_usage(folder).free // 2

    def take(self, size: int) -> None:
        """Raises NotReadyError."""
        if size > self.left:
            raise NotReadyError(
                f"The bundle takes {size:,} bytes where {self.left:,} are left for it.", "Unpack it where more is free."
            )
        self.left -= size


def _write_files(archive: _Archive, index: BundleIndex, run: RunLayout, room: _Room) -> None:
    attempts = {attempt.ledger: run.trial(attempt.trial).attempt(attempt.attempt) for attempt in index.attempts}
    users: dict[str, list[Path]] = {}
    for attempt in index.attempts:
        for digest in attempt.blobs:
            users.setdefault(digest, []).append(attempts[attempt.ledger].blobs)
    for file in index.files:
        member = archive.member()
        if member != (file.name, file.size):
            raise IntegrityError(f"It holds {member.name[:200]!r} where its index says {file.name!r}.", place=file.name)
        if file.name in attempts:
            places = [attempts[file.name].ledger]
        elif file.name.startswith("blobs/"):
            relative = file.name.removeprefix("blobs/")
            places = [blobs / relative for blobs in users.get(Path(relative).name.removesuffix(".zst"), [])]
        else:
            places = [run.root / file.name]
        _write_file(archive, file, places, room)


def _write_file(archive: _Archive, file: BundledFile, places: list[Path], room: _Room) -> None:
    """One member into each of its places: written once, linked to the others as long as the file system does that."""
    digest, left = hashlib.sha256(), file.size
    first = places[0] if places else Path(os.devnull)
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    with first.open("xb" if places else "wb") as target:
        while left:
            part = archive.read(min(left, _CHUNK))
            digest.update(part)
            target.write(part)
            left -= len(part)
    archive.skip_padding(file.size)
    if digest.hexdigest() != file.sha256:
        raise IntegrityError(f"{file.name} was changed: it is not what the index says.", place=file.name)
    for place in places[1:]:
        try:
            os.link(first, place)
        except OSError:
            room.take(file.size)
            first = Path(shutil.copyfile(first, place))


def _judge(run: RunLayout, index: BundleIndex, who: Signer) -> BundleReport:
    """What the unpacked files prove."""
    proven: dict[str, int] = {}
    trials = tuple(_judge_attempt(run, attempt, proven) for attempt in index.attempts)
    problems = tuple(f"{t.trial}, attempt {t.attempt}: {p}" for t in trials for p in t.problems if not t.ok)
    withheld: dict[str, int] = {}
    for attempt in index.attempts:
        for name, count in attempt.withheld.items():
            withheld[name] = withheld.get(name, 0) + count
    return BundleReport(
        ok=not problems,
        run=index.run,
        fingerprint=who.fingerprint,
        standing=who.standing,
        signer=who.name,
        events=sum(trial.events for trial in trials),
        trials=trials,
        proven=_proven(index, who) if not problems else (),
        not_proven=_not_proven(index, who),
        withheld=withheld,
        withheld_blobs=index.withheld_blobs,
        withheld_files=tuple(file.path for file in index.withheld_files),
        problems=problems,
    )


def _judge_attempt(run: RunLayout, attempt: BundledAttempt, proven: dict[str, int]) -> BundledTrial:
    layout = run.trial(attempt.trial).attempt(attempt.attempt)
    report = verify(layout.ledger, proven=proven)
    problems = [] if report.first_bad is None else list(report.problems)
    if not problems and (report.events, report.head) != (attempt.events, attempt.head):
        problems = [f"it ends with event {report.events}, {report.head[:16]}…, not as it was sealed"]
    found: dict[str, int] = {}
    for gone in report.withheld:
        found[gone.field] = found.get(gone.field, 0) + 1
    sealed: dict[str, int] = {}
    for path, count in attempt.withheld.items():
        name = path.rpartition(".")[2]
        sealed[name] = sealed.get(name, 0) + count
    if not problems and found != sealed:
        problems = ["the fields that are missing are not those that the seal says were withheld"]
    if not problems and set(BlobStore(layout.blobs)) != set(attempt.blobs):
        problems = ["its blobs are not those that were sealed"]
    return BundledTrial(
        trial=attempt.trial,
        attempt=attempt.attempt,
        ok=not problems,
        events=report.events,
        head=report.head,
        sealed_as=attempt.status,
        problems=tuple(problems),
    )


def _proven(index: BundleIndex, who: Signer) -> tuple[str, ...]:
    events = sum(attempt.events for attempt in index.attempts)
    by = {
        "own": "this machine's own key",
        "known": f"the key of {who.name or 'somebody known'}",
        "unknown": "a key not known here",
    }
    lines = [
        f"nothing was changed, added or removed since it was sealed with {by[who.standing]}",
        f"{len(index.attempts)} ledgers with {events:,} events hold, every event chained to the one before",
        "every field that is shown is what was recorded, also beside fields that were withheld",
    ]
    anchored = sum(attempt.status in ("ok", "unanchored_tail") for attempt in index.attempts)
    if anchored:
        lines.append(f"{anchored} of them agreed with the sealing machine's anchors, by its own word")
    return tuple(lines)


def _not_proven(index: BundleIndex, who: Signer) -> tuple[str, ...]:
    lines = []
    if who.standing == "unknown":
        lines.append("who sealed it: the key is not known here, so this is integrity only")
    loose = sum(attempt.status == "unanchored" for attempt in index.attempts)
    if loose:
        lines.append(f"that {loose} ledgers were whole when they were sealed: that machine had no anchor for them")
    if any(attempt.withheld for attempt in index.attempts) or index.withheld_files:
        lines.append("what the withheld fields and files said")
    return tuple(lines)


def _octal(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    if not re.fullmatch(rb"[0-7]{1,11}", digits):
        raise IntegrityError("It has a damaged archive header.")
    return int(digits, 8)
