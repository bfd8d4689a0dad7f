"""Output that arrives in pieces, from a source that may write without end: taken apart, bounded, and cut at a marker."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

STDOUT, STDERR = 1, 2

_HEADER = struct.Struct(">BxxxL")


class Piece(NamedTuple):
    """Bytes of one of the two streams, STDOUT or STDERR."""

    stream: int
    data: bytes


class Frames:
    """Takes apart Docker's multiplexed stream: eight bytes (stream, three zeros, length, big-endian), then that many."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes or continues; a frame is handed on as it comes, not held until whole."""
        self._buffer += data
        pieces, at = [], 0
        buffer = self._buffer
        while at < len(buffer):
            if self._left == 0:
                if len(buffer) - at < _HEADER.size:
                    break
                self._stream, self._left = _HEADER.unpack_from(buffer, at)
                at += _HEADER.size
                continue
            chunk = bytes(buffer[at : at + self._left])
            pieces.append(Piece(self._stream, chunk))
            at += len(chunk)
            self._left -= len(chunk)
        del buffer[:at]
        return pieces


class Bounded:
    """Keeps the first and the last half of `limit` bytes of all that is fed, and counts the whole in `size`."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data and self._tail_limit:
            self._tail += data[-self._tail_limit :]
            if len(self._tail) > 2 * self._tail_limit:
                del self._tail[: -self._tail_limit]

    def value(self) -> bytes:
        """At most `limit` bytes; what was cut out is missing between head and tail without a sign, `size` tells."""
        tail = self._tail[-self._tail_limit :] if self._tail_limit else b""
        return bytes(self._head + tail)


class UntilMarker:
    """Keeps a stream's bytes, bounded, up to a marker `<nonce>:<digits>;` that may arrive in pieces."""

    def __init__(self, nonce: bytes, limit: int) -> None:
        self.kept = Bounded(limit)
        self.number: int | None = None
        self._nonce = nonce
        self._marker = re.compile(re.escape(nonce) + rb":(\d{1,10});\n")
        self._longest = len(nonce) + 13
        self._held = b""

    @property
    def found(self) -> bool:
        return self.number is not None

    def feed(self, data: bytes) -> bytes:
        """Returns what came after the marker; empty before it is found."""
        if self.found:
            return data
        text = self._held + data
        if (match := self._marker.search(text)) is not None:
            self.kept.feed(text[: match.start()])
            self._held = b""
            self.number = int(match[1])
            return text[match.end() :]
        keep = min(len(text), self._longest)
        self.kept.feed(text[: len(text) - keep])
        self._held = text[len(text) - keep :]
        return b""

    def close(self) -> None:
        """No more will come: what was held back in case it began a marker was output."""
        self.kept.feed(self._held)
        self._held = b""
