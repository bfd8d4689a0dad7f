"""Files that somebody holds mapped so as to write to them: such a write may change none of a file's times.

The first write to a mapped page counts as a change of the file; on a file system in memory all later ones do not. A mapping
that permits no writing just now is one too if it may be made to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

SECONDS = 1.0
"""How long the processes of one host may take to be looked through."""

_SHARED = re.compile(rb"^([0-9a-f]+-[0-9a-f]+) [r-]([w-])[x-]s [0-9a-f]+ ([0-9a-f]+):([0-9a-f]+) (\d+)", re.MULTILINE)
_FLAGS = re.compile(rb"^(?:([0-9a-f]+-[0-9a-f]+) |VmFlags: (.*)$)", re.MULTILINE)


def held(processes: Iterable[int], devices: Collection[int]) -> frozenset[tuple[int, int]]:
    """Device and inode of each file on `devices` that any of the processes could write to in its memory.

    Raises TimeoutError if they have too many mappings.
    """
    found: set[tuple[int, int]] = set()
    end = time.monotonic() + SECONDS
    for pid in processes:
        for folder, maps in _maps(pid):
            if time.monotonic() > end:
                raise TimeoutError(0, "too many memory mappings to look through")
            found.update(_held(folder, maps, devices))
    return frozenset(found)


def _held(folder: Path, maps: bytes, devices: Collection[int]) -> Iterator[tuple[int, int]]:
    shared = [
        (span, writable, (os.makedev(int(major, 16), int(minor, 16)), int(inode)))
        for span, writable, major, minor, inode in _SHARED.findall(maps)
    ]
    ours = [(span, writable, file) for span, writable, file in shared if file[0] in devices]
    sealed = _sealed(folder) if any(writable == b"-" for _, writable, _ in ours) else frozenset()
    return (file for span, writable, file in ours if writable == b"w" or span not in sealed)


def _maps(pid: int) -> Iterator[tuple[Path, bytes]]:
    """A process's mappings, and where they stand; if its first thread has ended and others have not, theirs."""
    base = Path(f"/proc/{pid}")
    with suppress(OSError):
        if maps := (base / "maps").read_bytes():
            yield base, maps
            return
    with suppress(OSError):
        for task in (base / "task").iterdir():
            with suppress(OSError):
                yield task, (task / "maps").read_bytes()


def _sealed(folder: Path) -> frozenset[bytes]:
    """The mappings that can never be written to, since their file was opened for reading alone."""
    found, span = set(), b""
    with suppress(OSError):
        for begun, flags in _FLAGS.findall((folder / "smaps").read_bytes()):
            span = begun or span
            if flags and b"mw" not in flags.split():
                found.add(span)
    return frozenset(found)
