"""Memory as a bounded good: whoever holds bytes takes room first, and gives it back, so that no client fills the world.

A world has 384 MB in all, its scratch space included. Of these `STORED` are for all that its parties keep together (packs of
git in the scratch space too) and `IN_FLIGHT` for requests and answers under way; the rest is Python, git, and the moment in
which one body is taken apart. What finds no room is refused as a full disk is.
"""

from __future__ import annotations

import sys

STORED = 128 * 1024 * 1024
IN_FLIGHT = 96 * 1024 * 1024
TEXTS = 4 * 1024 * 1024
"""What one party keeps of texts that it also lists, so that no list is longer than can be sent."""

ITEM = 1024
"""Bytes that a stored item costs besides its values: the objects around them, and the places where it is noted."""


class Refused(Exception):  # noqa: N818 - it is an answer, not a failure
    """A request cannot be taken; `status` and `headers` are what the client is told."""

    def __init__(self, status: int, why: str, *headers: tuple[str, str]) -> None:
        super().__init__(why)
        self.status = status
        self.headers = list(headers)


class Budget:
    """Room for so many bytes; what a part of it takes is taken from the whole as well."""

    def __init__(self, limit: int, *, status: int = 507, whole: Budget | None = None) -> None:
        self._limit = limit
        self._status = status
        self._whole = whole
        self.taken = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes. Refused, with nothing taken, when there is no room."""
        if self.taken + size > self._limit:
            raise Refused(self._status, "there is no room left")
        if self._whole:
            self._whole.take(size)
        self.taken += size

    def release(self, size: int) -> None:
        self.taken -= size
        if self._whole:
            self._whole.release(size)

    def keep(self, *values: str | bytes | bytearray) -> None:
        """Take room for one item made of `values`. Refused as `take` is."""
        self.take(weight(*values))

    def forget(self, *values: str | bytes | bytearray) -> None:
        """Give back what `keep` took for the same values."""
        self.release(weight(*values))


def weight(*values: str | bytes | bytearray) -> int:
    """What an item made of `values` costs in memory."""
    return ITEM + sum(map(sys.getsizeof, values))
