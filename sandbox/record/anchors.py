"""Head and count of each ledger, kept outside the run's folder, so that a cut tail shows.

A hash chain alone cannot tell a whole ledger from one that lost its last lines. An anchor is one file of 117 bytes at
`$BELLJAR_STATE/anchors/<run>/<trial>.<attempt>` (`~/.local/state/belljar` without the variable), rewritten in place
after every write to the ledger, never flushed to the platter: it is to outlive a killed process, not a power failure.

    belljar-anchor-1 <20 digits: lines> <64 hex: hash of the last line> <open|done> <8 hex: check>\\n

`check` is the start of the SHA-256 of all that stands before it. After `done` the ledger was closed in order and nothing
may follow. Run, trial and attempt are the manifest's; parts that cannot be file names stand as their SHA-256.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from sandbox.errors import NotReadyError
from sandbox.record.layout import is_safe_name

_RECORD = re.compile(rb"(belljar-anchor-1 ([0-9]{20}) ([0-9a-f]{64}) (open|done) )([0-9a-f]{8})\n")
_DIGESTED = re.compile(r"[0-9a-f]{64}\.[0-9]+")


class Anchor(NamedTuple):
    """A ledger had `lines` lines, the last with hash `head`; `closed` says that it was closed in order."""

    lines: int
    head: str
    closed: bool


class AnchorKey(NamedTuple):
    """Which attempt at which trial of which run."""

    run: str
    trial: str
    attempt: int

    @property
    def place(self) -> Path:
        """Its file, inside this machine's state folder."""
        return run_anchors(self.run) / f"{_name(self.trial)}.{self.attempt}"


def state_folder() -> Path:
    """`$BELLJAR_STATE`, else `~/.local/state/belljar`."""
    named = os.environ.get("BELLJAR_STATE")
    return Path(named) if named else Path.home() / ".local" / "state" / "belljar"


def run_anchors(run: str) -> Path:
    """The folder of one run's anchors; it need not exist."""
    return state_folder() / "anchors" / _name(run or "none")


def make_state_folder() -> None:
    """Make the folder of all anchors. Raises NotReadyError where it cannot be written."""
    folder = state_folder() / "anchors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise NotReadyError(
            f"Ledgers cannot be anchored in {folder}: {error.strerror}.", "Set BELLJAR_STATE to a folder you can write."
        ) from error


def look_up(key: AnchorKey) -> Anchor | None:
    """The anchor of a ledger, None where this machine has none, or none that can be read."""
    try:
        found = _RECORD.fullmatch(key.place.read_bytes())
    except OSError:
        return None
    if found is None or _check(found[1]) != found[5]:
        return None
    return Anchor(int(found[2]), found[3].decode(), found[4] == b"done")


class AnchorFile:
    """The anchor of a ledger that is being written."""

    def __init__(self, key: AnchorKey) -> None:
        """Open or create it. Raises OSError."""
        place = key.place
        place.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def write(self, anchor: Anchor) -> None:
        """One write of fixed length: a kill leaves the old record or the new one. Raises OSError."""
        text = f"belljar-anchor-1 {anchor.lines:020d} {anchor.head} {'done' if anchor.closed else 'open'} ".encode()
        os.pwrite(self._descriptor, text + _check(text) + b"\n", 0)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:8].encode()


def is_digest(name: str) -> bool:
    """Whether an anchor's file name stands for a trial whose id cannot be a file name."""
    return _DIGESTED.fullmatch(name) is not None


def _name(part: str) -> str:
    return part if is_safe_name(part) else hashlib.sha256(part.encode("utf-8", "replace")).hexdigest()
