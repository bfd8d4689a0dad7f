"""Where the running kernel keeps what: offsets of structure members, read from the type information that it carries (BTF).

Format: https://docs.kernel.org/bpf/btf.html. Only structures are read; members of anonymous inner ones count as the outer's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

KERNEL = Path("/sys/kernel/btf/vmlinux")

_STRUCT, _UNION = 4, 5
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MAGIC = 0xEB9F


class Layout:
    """Offsets in bytes by (structure, member). Raises OSError where the kernel has no BTF, ValueError for what is none."""

    def __init__(self, wanted: Mapping[str, tuple[str, ...]], blob: bytes | None = None) -> None:
        self._blob = KERNEL.read_bytes() if blob is None else blob
        try:
            self._places = self._index()
            self._offsets = self._find(wanted)
        except (struct.error, IndexError) as error:
            raise ValueError(f"the kernel's type information cannot be read: {error}") from error
        self._blob, self._places = b"", []

    def __getitem__(self, place: tuple[str, str]) -> int:
        try:
            return self._offsets[place]
        except KeyError:
            raise ValueError(f"the kernel has no {place[0]}.{place[1]}") from None

    def _index(self) -> list[int]:
        """Where each type's record begins, by type id."""
        magic, _, _, header, types, types_size, self._strings, _ = _HEADER.unpack_from(self._blob)
        if magic != _MAGIC:
            raise ValueError("not BTF")
        self._strings += header
        places, at, end = [0], header + types, header + types + types_size
        while at < end:
            places.append(at)
            info = _TYPE.unpack_from(self._blob, at)[1]
            kind = info >> 24 & 31
            at += _TYPE.size + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)
        return places

    def _find(self, wanted: Mapping[str, tuple[str, ...]]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for at in self._places[1:]:
            name, info, _ = _TYPE.unpack_from(self._blob, at)
            if info >> 24 & 31 == _STRUCT and name and (outer := self._name(name)) in wanted:
                for member, offset in self._members(at, 0):
                    if member in wanted[outer]:
                        found.setdefault((outer, member), offset)
        return found

    def _members(self, at: int, base: int, depth: int = 0) -> Iterator[tuple[str, int]]:
        info = _TYPE.unpack_from(self._blob, at)[1]
        for number in range(info & 0xFFFF):
            name, kind, bits = _TYPE.unpack_from(self._blob, at + _TYPE.size + 12 * number)
            offset = base + (bits & 0xFFFFFF if info >> 31 else bits) // 8
            if name:
                yield self._name(name), offset
            elif depth < 8 and _TYPE.unpack_from(self._blob, self._places[kind])[1] >> 24 & 31 in (_STRUCT, _UNION):
                yield from self._members(self._places[kind], offset, depth + 1)

    def _name(self, offset: int) -> str:
        start = self._strings + offset
        return self._blob[start : self._blob.index(b"\0", start)].decode("ascii", "replace")
