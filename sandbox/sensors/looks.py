"""The portable sensor of files: what changed in a host's trees between two looks, from outside, with content.

It walks the trees with descriptors only and never follows a symlink, so nothing an agent leaves behind leads it elsewhere.
A file is read again only if its inode, size, mode or one of its times differs, change time included, which no user can set -
or if those may tell nothing: it had changed so shortly before the last look that the clock's next tick was yet to come, or some
process holds it mapped, or did when the last look ended.

What it cannot see, and says by what it covers: files that came and went between two looks, who did it, and in which order.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sandbox.events import FileEffect, FileState
from sandbox.hosts.rooted import open_below
from sandbox.hosts.trees import file_type
from sandbox.replay.moments import without_moments
from sandbox.sensors.changes import NAME, WHOLE_BYTES, Changes, Entry, Keep, Snapshot, in_memory, shown
from sandbox.sensors.mappings import held

_DEEPEST = 128
_TIMELESS_BYTES = 256 * 1024
_EARLIER = 60.0
"""Seconds before the sensor was made that still count as the trial's own time."""

_TICK_NS = 20_000_000
"""Longer than the clock by which files are stamped stands still."""


class TreeSensor:
    """Looks at the trees below one root. Methods block; they must not overlap.

    Args:
        root: the folder that stands for the host's "/".
        trees: absolute paths inside the host.
        keep: where contents go.
        processes: the ids of those that may hold files mapped.
    """

    def __init__(
        self,
        root: Path,
        trees: Sequence[str],
        keep: Keep = in_memory,
        processes: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self._root = root
        self._trees = tuple(os.fsencode(tree) for tree in trees)
        self._changes = Changes(keep, self._content)
        self.processes = processes
        self._known: dict[bytes, Entry] = {}
        self._began = 0
        self._unsure: frozenset[tuple[int, int]] = frozenset()
        self._fresh: set[tuple[int, int]] = set()
        self._devices: set[int] = set()
        self._since = time.time() - _EARLIER
        self.gaps: list[str] = []
        """Why part of the last look is missing, one sentence each; empty when it was whole."""

    def start(self) -> None:
        """Take the state from which the first look counts."""
        self._changes.start(self.snapshot())

    def look(self) -> list[FileEffect]:
        """What is different from the last look."""
        return self._changes.since(self.snapshot())

    def found(self, path: bytes) -> FileState | None:
        """In which state the last look found `path`; None if it did not."""
        entry = self._known.get(path)
        return None if entry is None else entry.state

    def snapshot(self) -> Snapshot:
        """Everything that lies there now, without counting as a look."""
        found: dict[bytes, Entry] = {}
        self.gaps = []
        self._began, self._fresh = time.time_ns(), set()
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._unsure |= self._held()
            for tree in self._trees:
                self._enter(root, tree, found)
            self._unsure = self._held() | self._fresh
        finally:
            os.close(root)
        self._known = found
        return found

    def _held(self) -> frozenset[tuple[int, int]]:
        try:
            return held(self.processes(), self._devices)
        except TimeoutError as error:
            self.gaps.append(str(error.strerror))
            return frozenset()

    def _enter(self, root: int, tree: bytes, found: dict[bytes, Entry]) -> None:
        try:
            fd = open_below(root, os.fsdecode(tree), os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            self._missed(tree, error, found)
            return
        status = os.fstat(fd)
        self._devices.add(status.st_dev)
        found[tree] = self._entry(tree, status, -1, b"")
        self._walk(fd, tree, found, 1)

    def _walk(self, folder: int, path: bytes, found: dict[bytes, Entry], depth: int) -> None:
        """Consumes the descriptor `folder`."""
        try:
            with os.scandir(folder) as entries:
                names = [(os.fsencode(entry.name), entry) for entry in entries]
                for name, entry in names:
                    below = path + b"/" + name
                    try:
                        status = entry.stat(follow_symlinks=False)
                        found[below] = self._entry(below, status, folder, name)
                        if stat.S_ISDIR(status.st_mode):
                            self._descend(folder, name, below, found, depth)
                    except FileNotFoundError:
                        continue  # gone since it was listed
                    except OSError as error:
                        self._missed(below, error, found)
        finally:
            os.close(folder)

    def _missed(self, path: bytes, error: OSError, found: dict[bytes, Entry]) -> None:
        """What cannot be looked at is taken to be as it was: that nobody could look is no deed of anybody's."""
        self.gaps.append(f"{shown(path)}: {error.strerror}")
        for known, entry in self._known.items():
            if known == path or known.startswith(path + b"/"):
                found.setdefault(known, entry)

    def _descend(self, folder: int, name: bytes, below: bytes, found: dict[bytes, Entry], depth: int) -> None:
        if depth >= _DEEPEST:
            self.gaps.append(f"{shown(below)[:200]}: deeper than {_DEEPEST} folders")
            return
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        self._walk(fd, below, found, depth + 1)

    def _entry(self, path: bytes, status: os.stat_result, folder: int, name: bytes) -> Entry:
        kind = file_type(status.st_mode)
        own = (status.st_mode, status.st_uid, status.st_gid)
        stamp = own if kind == "directory" else (*own, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._known.get(path)
        same = known is not None and known.inode == status.st_ino and known.stamp == stamp
        if known is not None and same and (kind != "file" or (status.st_dev, status.st_ino) not in self._unsure):
            return known
        if status.st_ctime_ns > self._began - _TICK_NS:
            self._fresh.add((status.st_dev, status.st_ino))
        sha256, timeless = self._digests(folder, name, status.st_size) if kind == "file" else (None, None)
        state = FileState(
            type=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=0 if kind == "directory" else status.st_size,
            sha256=sha256,
            target=shown(os.readlink(name, dir_fd=folder)) if kind == "symlink" else None,
        )
        return Entry(status.st_ino, stamp, state, timeless)

    def _digests(self, folder: int, name: bytes, size: int) -> tuple[str, str | None]:
        """Of a file's bytes, and of the same without clock readings if there are any and the file is short. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(fd, "rb") as file:
            if size > _TIMELESS_BYTES:
                return hashlib.file_digest(file, "sha256").hexdigest(), None
            data = file.read(_TIMELESS_BYTES + 1)
            whole = hashlib.sha256(data)
            while more := file.read(1 << 20):  # it has grown since it was looked at
                whole.update(more)
        plain = without_moments(data, self._since, time.time() + 1)
        return whole.hexdigest(), hashlib.sha256(plain).hexdigest() if plain != data else None

    def _content(self, path: bytes) -> bytes | None:
        try:
            root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fd = open_below(root, os.fsdecode(path), os.O_RDONLY | os.O_NONBLOCK)
            finally:
                os.close(root)
            with os.fdopen(fd, "rb") as file:
                return file.read(WHOLE_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        except OSError:
            return None


__all__ = ["NAME", "TreeSensor"]
