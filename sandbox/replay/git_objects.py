"""Which git object of one trial is which of the other: the ids of commits made in a trial depend on its clock.

Nothing is taken for the same by its place. An object is read only if the SHA-1 of what it holds is its name, and two objects
are paired only if they are of one kind and hold the same: blobs and the words of commits and tags up to the declared classes,
trees entry by entry, ids within them equal or paired themselves. Objects in packs are not read, so they stay different.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sandbox.events import FileEffect
from sandbox.trajectory import Trajectory

LOOSE = re.compile(r"/objects/([0-9a-f]{2})/([0-9a-f]{38})$")
MOST_BYTES = 8 * 2**20
MOST_OBJECTS = 2000
"""What is larger is not read; of more objects none are paired."""

_ID = 20
_LINKS = ("tree ", "parent ", "object ")

Same = Callable[[str, str], bool]
"""Whether two texts are the same up to declared classes."""


class GitObject(NamedTuple):
    """`kind` is blob, tree, commit or tag."""

    kind: bytes
    body: bytes


class _Outline(NamedTuple):
    """An object's ids of others, and what it holds beside them."""

    links: tuple[str, ...]
    rest: object
    words: str = ""


def unpack(data: bytes) -> tuple[str, GitObject] | None:
    """Id and content of a loose object's file; None for anything else."""
    reader = zlib.decompressobj()
    try:
        whole = reader.decompress(data, MOST_BYTES)
    except zlib.error:
        return None
    head, _, body = whole.partition(b"\0")
    match = re.fullmatch(rb"(blob|tree|commit|tag) (\d{1,10})", head)
    if not reader.eof or reader.unused_data or match is None or int(match[2]) != len(body):
        return None
    return hashlib.sha1(whole, usedforsecurity=False).hexdigest(), GitObject(match[1], body)


def loose_objects(trial: Trajectory) -> dict[str, GitObject]:
    """The objects that came to lie in the trial, by id."""
    found: dict[str, GitObject] = {}
    for _, body in trial.of(FileEffect):
        match = LOOSE.search(body.path)
        if match is None or body.content is None or body.content.size > MOST_BYTES or match[1] + match[2] in found:
            continue
        data = trial.bytes_of(body.content)
        read = None if data is None else unpack(data)
        if read is not None and read[0] == match[1] + match[2]:
            found[read[0]] = read[1]
    return found


def paired(first: Mapping[str, GitObject], second: Mapping[str, GitObject], same: Same) -> dict[str, str]:
    """The id in the second trial of each object that is another's in the first only by what it is computed from."""
    left = {name: _outline(found) for name, found in first.items() if name not in second}
    right = {name: _outline(found) for name, found in second.items() if name not in first}
    pairs: dict[str, str] = {}
    if max(len(left), len(right)) > MOST_OBJECTS:
        return pairs
    while True:
        waiting: dict[object, list[str]] = {}
        for name in right.keys() - set(pairs.values()):
            waiting.setdefault((second[name].kind, right[name].links, right[name].rest), []).append(name)
        fresh: dict[str, str] = {}
        for name in left.keys() - pairs.keys():
            links = tuple(pairs.get(link, link) for link in left[name].links)
            others = sorted(waiting.get((first[name].kind, links, left[name].rest), ()))
            other = next((o for o in others if o not in fresh.values() and same(left[name].words, right[o].words)), None)
            if other is not None:
                fresh[name] = other
        if not fresh:
            return pairs
        pairs |= fresh


def _outline(found: GitObject) -> _Outline:
    if found.kind == b"tree":
        entries = list(_entries(found.body))
        return _Outline(tuple(link for _, link in entries), tuple(name for name, _ in entries))
    try:
        text = found.body.decode()
    except UnicodeDecodeError:
        return _Outline((), found.body)
    if found.kind == b"blob":
        return _Outline((), len(text.splitlines()), text)
    head, gap, message = text.partition("\n\n")
    lines = head.split("\n")
    named = [line.split(" ", 1) for line in lines if line.startswith(_LINKS)]
    others = [line for line in lines if not line.startswith(_LINKS)]
    return _Outline(tuple(link for _, link in named), tuple(name for name, _ in named), "\n".join(others) + gap + message)


def _entries(body: bytes) -> Iterator[tuple[bytes, str]]:
    """Mode and name, and id, of each entry of a tree."""
    while body:
        name, _, rest = body.partition(b"\0")
        yield name, rest[:_ID].hex()
        body = rest[_ID:]


class IndexEntry(NamedTuple):
    """A file as an index has it, without what was read from its inode; or a folder of the tree that the index caches."""

    what: bytes
    id: str


def index_entries(data: bytes) -> list[IndexEntry] | None:
    """What an index of version 2 says apart from times, inodes, owners and sizes; None for anything else."""
    if data[:8] != b"DIRC\0\0\0\2" or hashlib.sha1(data[:-_ID], usedforsecurity=False).digest() != data[-_ID:]:
        return None
    found: list[IndexEntry] = []
    at = 12
    for _ in range(int.from_bytes(data[8:12])):
        flags = data[at + 60 : at + 62]
        end = data.find(b"\0", at + 62)
        if len(flags) < 2 or end < 0:
            return None
        found.append(IndexEntry(data[at + 24 : at + 28] + flags + data[at + 62 : end], data[at + 40 : at + 60].hex()))
        at += (end - at) // 8 * 8 + 8
    return found + extensions if (extensions := _extensions(data[at:-_ID])) is not None else None


def _extensions(data: bytes) -> list[IndexEntry] | None:
    found: list[IndexEntry] = []
    while data:
        name, size = data[:4], int.from_bytes(data[4:8])
        body, data = data[8 : 8 + size], data[8 + size :]
        if len(body) != size:
            return None
        found += _cached_trees(body) if name == b"TREE" else [IndexEntry(name + body, "")]
    return found


def _cached_trees(body: bytes) -> Iterator[IndexEntry]:
    while match := re.match(rb"([^\0]*)\0(-?\d{1,10}) (\d{1,10})\n", body):
        size = _ID if int(match[2]) >= 0 else 0
        yield IndexEntry(match[0], body[match.end() : match.end() + size].hex())
        body = body[match.end() + size :]
    if body:
        yield IndexEntry(body, "")


def same_index(a: bytes, b: bytes, ids: Mapping[str, str]) -> bool | None:
    """Whether two indexes differ in paired ids beside what inodes say; None if they differ in anything else."""
    first, second = index_entries(a), index_entries(b)
    if first is None or second is None or [e.what for e in first] != [e.what for e in second]:
        return None
    two: Sequence[tuple[str, str]] = [(x.id, y.id) for x, y in zip(first, second, strict=True) if x.id != y.id]
    return bool(two) if all(ids.get(x) == y for x, y in two) else None
