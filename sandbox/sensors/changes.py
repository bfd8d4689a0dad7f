"""What differs between two looks at a file tree, as effects: created, deleted, renamed, modified, mode and owner changed.

A pure comparison of snapshots; what a file holds is asked for only where it is told of. Renames are found by inode.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sandbox.events import Content, FileEffect, FileState

NAME = "trees"
WHOLE_BYTES = 8 * 2**20
"""Files up to this size are handed on whole; of larger ones the digest is kept."""

_DIFF_BYTES = 256 * 1024
_REMEMBERED_BYTES = 32 * 2**20

Keep = Callable[[bytes], Content]
"""Puts bytes where the ledger keeps them, and returns what stands for them in an event."""


def in_memory(data: bytes) -> Content:
    """A `Keep` that stores nothing: the first 16 KiB as text."""
    text = data[:16384].decode("utf-8", "replace")
    whole = len(data) <= 16384 and text.encode() == data
    return Content(text=text, size=len(data), sha256=hashlib.sha256(data).hexdigest(), complete=whole)


@dataclass(frozen=True, slots=True)
class Entry:
    """One path as it lay; `stamp` changes whenever the file may have. `timeless` is the digest of a short file's content
    without the clock readings of the trial's own time, None where it is `state.sha256`."""

    inode: int
    stamp: tuple[int, ...]
    state: FileState
    timeless: str | None = None


Snapshot = Mapping[bytes, Entry]
"""Absolute path inside the host to what lies there."""


class Change:
    """How two snapshots differ, path by path; renames are found by inode."""

    def __init__(self, before: Snapshot, after: Snapshot) -> None:
        gone = {path for path in before if path not in after or _replaced(before[path], after[path])}
        new = {path for path in after if path not in before or _replaced(before[path], after[path])}
        by_inode = {before[path].inode: path for path in sorted(gone, reverse=True)}
        self.renamed: dict[bytes, bytes] = {}
        for path in sorted(new):
            old = by_inode.get(after[path].inode)
            if old is not None and old != path and before[old].state.type == after[path].state.type:
                self.renamed[path] = old
                del by_inode[after[path].inode]
        self.deleted = sorted(gone - set(self.renamed.values()))
        self.created = sorted(new - set(self.renamed))
        self.kept = sorted(path for path in after if path in before and path not in new and before[path] != after[path])


def _replaced(before: Entry, after: Entry) -> bool:
    return before.state.type != after.state.type


class Changes:
    """Compares each look with the one before.

    Args:
        keep: where contents go.
        read: the bytes of the file at a path, at most `WHOLE_BYTES` and one; None if it cannot be read.
    """

    def __init__(self, keep: Keep, read: Callable[[bytes], bytes | None]) -> None:
        self._keep = keep
        self._read = read
        self._reported: Snapshot = {}
        self._texts: dict[bytes, bytes] = {}
        self._texts_size = 0

    def start(self, snapshot: Snapshot) -> None:
        """The state from which the first look counts."""
        self._reported = snapshot
        for path, entry in snapshot.items():
            if entry.state.type == "file" and entry.state.size <= _DIFF_BYTES:
                self._remember(path, self._read(path))

    def since(self, snapshot: Snapshot) -> list[FileEffect]:
        """What is different from the last look."""
        before, self._reported = self._reported, snapshot
        return list(self._effects(before, snapshot))

    def _effects(self, before: Snapshot, after: Snapshot) -> Iterator[FileEffect]:
        change = Change(before, after)
        for path in change.deleted:
            self._forget(path)
            yield _effect("deleted", path, before=before[path].state)
        for path, old in change.renamed.items():
            if old in self._texts:
                self._remember(path, self._forget(old))
            effect = _effect("renamed", path, before=before[old].state, after=after[path].state)
            effect = effect.model_copy(update={"renamed_from": shown(old)})
            if before[old].state.sha256 != after[path].state.sha256:
                effect = self._with_content(effect, path, after[path].state)
            yield effect
        for path in change.created:
            yield self._with_content(_effect("created", path, after=after[path].state), path, after[path].state)
        for path in change.kept:
            yield from self._alterations(path, before[path].state, after[path].state)

    def _alterations(self, path: bytes, old: FileState, new: FileState) -> Iterator[FileEffect]:
        if (old.sha256, old.size, old.target) != (new.sha256, new.size, new.target) or (
            old.sha256 is None and old.type == "file"
        ):
            yield self._with_content(_effect("modified", path, before=old, after=new), path, new)
        if old.mode != new.mode:
            yield _effect("mode_changed", path, before=old, after=new)
        if (old.uid, old.gid) != (new.uid, new.gid):
            yield _effect("owner_changed", path, before=old, after=new)

    def _with_content(self, effect: FileEffect, path: bytes, state: FileState) -> FileEffect:
        if state.type != "file" or state.size > WHOLE_BYTES:
            self._forget(path)
            return effect
        data = self._read(path)
        if data is None:
            return effect
        old = self._forget(path)
        self._remember(path, data)
        diff = _diff(old, data, effect.path) if effect.action in ("modified", "renamed") else None
        return effect.model_copy(update={"content": self._keep(data), "diff": self._keep(diff) if diff else None})

    def _remember(self, path: bytes, data: bytes | None) -> None:
        if data is not None and len(data) <= _DIFF_BYTES and self._texts_size + len(data) <= _REMEMBERED_BYTES:
            self._texts[path] = data
            self._texts_size += len(data)

    def _forget(self, path: bytes) -> bytes | None:
        data = self._texts.pop(path, None)
        self._texts_size -= len(data or b"")
        return data


def state_lines(snapshot: Snapshot, without: Sequence[str] = ()) -> list[str]:
    """A snapshot for the state digest: path, type, mode, owner and content of each entry; no times, no inodes.

    What a small `*.pid` file holds is a process id, which no second execution shares, and is left out; so are clock
    readings of the trial's own time inside files."""
    skipped = tuple(os.fsencode(path) for path in without)
    return [
        f"{shown(path)}\t{entry.state.type}\t{entry.state.mode:o}\t{entry.state.uid}:{entry.state.gid}\t"
        f"{_content_line(path, entry)}"
        for path, entry in sorted(snapshot.items())
        if not path.startswith(skipped or (b"\0",))
    ]


def _content_line(path: bytes, entry: Entry) -> str:
    if path.endswith(b".pid") and entry.state.type == "file" and 0 < entry.state.size <= 8:
        return "pid"
    return entry.timeless or entry.state.sha256 or entry.state.target or ""


def shown(path: bytes | str) -> str:
    """A file name as events hold it: bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _effect(action: str, path: bytes, *, before: FileState | None = None, after: FileState | None = None) -> FileEffect:
    return FileEffect.model_validate({"action": action, "path": shown(path), "before": before, "after": after, "sensor": NAME})


def _diff(old: bytes | None, new: bytes, path: str) -> bytes | None:
    """A unified diff of two texts; None where one of them is not text, unknown or long."""
    if old is None or len(new) > _DIFF_BYTES or b"\0" in old or b"\0" in new:
        return None
    before, after = (data.decode("utf-8", "replace").splitlines(keepends=True) for data in (old, new))
    if max(len(before), len(after)) > 5000:
        return None
    return "".join(difflib.unified_diff(before, after, f"a{path}", f"b{path}", n=2)).encode()
