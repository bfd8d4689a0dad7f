"""What was done to the files of one host, by name: the live sensor's events with each directory's path as it was just then.

A directory may be renamed or gone by the time an event is read, so paths are followed from event to event, not looked up; all
directories that exist at the start are known from then on. What is watched is known by its handle, whatever name it is opened
by. Nothing is opened by name, and no symlink followed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sandbox.hosts.rooted import open_below
from sandbox.sensors import fanotify
from sandbox.sensors.fanotify import CHANGES, ON_DIRECTORY, OPEN, OVERFLOW, Fanotify, FileEvent, Name

BOUND = 100_000
"""Deeds kept between two drains; beyond that the sensor is silenced until the next, and says so."""

FOLDERS = 20_000
"""Directories, and watched files, whose handles are known from the start."""


class Deed(NamedTuple):
    """`mask` as in `sandbox.sensors.fanotify`; `path` inside the host, None for an object without a name; `watched` the path at
    which the object is, or was, one of those watched, None if it never was before this deed."""

    mask: int
    pid: int
    path: bytes | None
    old: bytes | None
    watched: bytes | None = None

    @property
    def directory(self) -> bool:
        return bool(self.mask & ON_DIRECTORY)


class FileWatch:
    """Listens to the trees of one host, mounted below `root`. Raises OSError where that cannot be. Methods must not overlap.

    Args:
        trees: absolute paths inside the host; what happens elsewhere on the file system is the engine's own.
        watched: files and folders whose opens are told of too.
    """

    def __init__(self, root: Path, trees: Sequence[str], watched: Sequence[bytes] = ()) -> None:
        self._trees = tuple(os.fsencode(tree) for tree in trees)
        self._below = tuple(tree + b"/" for tree in self._trees)
        self._source = Fanotify(root, CHANGES | (OPEN if watched else 0))
        self._watched = tuple(watched)
        self._known: dict[bytes, bytes] = {}
        self._folders: dict[bytes, bytes] = {}
        self._deeds: list[Deed] = []
        self._missed: list[str] = []
        for tree in trees:
            self._learn(root, tree)

    def _learn(self, root: Path, tree: str) -> None:
        """Remember the handles of every directory of a tree, and of what is watched in it."""
        top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd = open_below(top, tree, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return  # no tree: whoever looks at it says so
        finally:
            os.close(top)
        try:
            for path, _, files, folder in os.fwalk(".", dir_fd=fd, follow_symlinks=False):
                if len(self._folders) + len(self._known) >= FOLDERS:
                    self._missed.append(f"more than {FOLDERS} folders: of what happens in the others, names may be missing")
                    return
                here = os.fsencode(tree) + os.fsencode(path)[1:]
                self._folders[self._source.handle(folder)] = here
                self._learn_watched(folder, here, files)
        except OSError as error:
            self._missed.append(f"folders could not be learnt: {error.strerror}")
        finally:
            os.close(fd)

    def _learn_watched(self, folder: int, here: bytes, files: Iterable[str]) -> None:
        if is_watched(here, self._watched):
            self._known[self._source.handle(folder)] = here
        for name in files:
            if is_watched(path := here + b"/" + os.fsencode(name), self._watched):
                with suppress(FileNotFoundError):
                    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                    try:
                        self._known[self._source.handle(fd)] = path
                    finally:
                        os.close(fd)

    def pump(self, seconds: float = 0.25, *, drain: bool = True) -> None:
        """Take in what waits, for at most about `seconds`; in a `drain`, what must wait longer is said to be missing."""
        try:
            if not self._pump(time.monotonic() + seconds) and drain:
                self._missed.append("events came faster than they could be read; the rest is told of later")
        except (OSError, ValueError) as error:
            self._missed.append(f"events could not be read: {error}")

    def _pump(self, end: float) -> bool:
        while events := self._source.take():
            for event in events:
                self._take(event)
            if len(self._deeds) > BOUND:
                self._source.suspend()
                self._missed.append(f"more than {BOUND} events between two looks")
                while self._source.take():
                    if time.monotonic() > end:
                        break
                return True
            if time.monotonic() > end:
                return False
        return True

    def taken(self) -> tuple[list[Deed], list[str]]:
        """The deeds since the last time, in order, and why some are missing, one sentence each."""
        deeds, missed = self._deeds, list(dict.fromkeys(self._missed))
        self._deeds, self._missed = [], []
        with suppress(OSError):
            self._source.resume()
        if len(self._folders) > 4 * FOLDERS:
            self._folders.clear()
            self._missed.append(f"more than {4 * FOLDERS} folders: of what goes with the others, the names may be missing")
        if len(self._known) > 4 * FOLDERS:
            self._known.clear()
            self._missed.append(f"more than {4 * FOLDERS} watched files: opens of them by other names may be missing")
        return deeds, missed

    def close(self) -> None:
        self._source.close()

    def _take(self, event: FileEvent) -> None:
        if event.mask & OVERFLOW:
            self._missed.append("the kernel's queue was full")
            return
        path, old = self._path(event.at), self._path(event.old)
        item = event.object or (event.at.folder if event.at is not None else b"")
        if event.mask & ON_DIRECTORY and path is not None:
            if old is not None:
                self._moved(old, path)
            if event.mask & (fanotify.CREATE | fanotify.RENAME) and event.object:
                self._folders[event.object] = path
        watched = self._known.get(item)
        if watched is None and path is not None and is_watched(path, self._watched):
            self._known[item] = path
        inside = path is None or path in self._trees or path.startswith(self._below)
        if inside or watched is not None or (old is not None and old.startswith(self._below)):
            self._deeds.append(Deed(event.mask, event.pid, path, old, watched))

    def _path(self, name: Name | None) -> bytes | None:
        if name is None:
            return None
        folder = self._folders.get(name.folder)
        if folder is None:
            folder = self._source.folder(name.folder)
            if folder is None:
                self._missed.append("a folder was gone before it could be told which it was")
                return None
            self._folders[name.folder] = folder
        if name.name in (b".", b""):
            return folder
        return folder.rstrip(b"/") + b"/" + name.name

    def _moved(self, old: bytes, new: bytes) -> None:
        """A directory was renamed: so were the paths of all below it."""
        for handle, path in self._folders.items():
            if path == old or path.startswith(old + b"/"):
                self._folders[handle] = new + path[len(old) :]


def is_watched(path: bytes, watched: Iterable[bytes]) -> bool:
    """Whether it is one of those watched, or lies below one."""
    return any(path == each or path.startswith(each.rstrip(b"/") + b"/") for each in watched)
