"""Bytes written out as numbers, as xxd, od and hexdump print them, and as lists and escapes in programs.

A line of a dump also holds offsets and letters: only groups of digits of one width, with one and the same thing between them,
are taken, of all lines together.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np


class _Rows(NamedTuple):
    """Groups of digits of one width. `signs`: how a line of them looks at least, h for a digit, s for what may separate two."""

    signs: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    decode: Callable[[bytes], Iterable[bytes]]


def undumped(data: bytes) -> Iterator[bytes]:
    """What the dumps in `data` are dumps of, once for each width of groups and order of bytes that they may have."""
    shape = data.translate(_SHAPES)
    for rows in _ROWS:
        if any(sign in shape for sign in rows.signs):
            digits = b" ".join(match[0] for match in rows.pattern.finditer(data))
            yield from rows.decode(digits) if digits else ()


def _bytewise(digits: bytes) -> Iterable[bytes]:
    return (_unhex(_NO_DIGIT.sub(b"", digits)),)


def _wordwise(size: int) -> Callable[[bytes], Iterable[bytes]]:
    def decode(digits: bytes) -> Iterable[bytes]:
        plain = _unhex(digits.replace(b" ", b""))
        return plain, _swapped(plain, size)

    return decode


def _octal(digits: bytes) -> Iterable[bytes]:
    """Words of two bytes, the second first."""
    return (b"".join((int(word, 8) & 0xFFFF).to_bytes(2, "little") for word in digits.split()),)


def _swapped(plain: bytes, size: int) -> bytes:
    whole = plain[: len(plain) // size * size]
    return np.frombuffer(whole, dtype=f"<u{size}").byteswap().tobytes()


def _unhex(digits: bytes) -> bytes:
    return binascii.unhexlify(digits[: len(digits) // 2 * 2])


_SHAPES = bytes(
    ord("h") if code in b"0123456789ABCDEFabcdef" else ord("s") if code in b" :,-\t\r\n" else code if code in b"x\\" else 0
    for code in range(256)
)
_NO_DIGIT = re.compile(rb"0x|[^0-9A-Fa-f]+")
_ROWS = (
    _Rows(
        (b"hh" + b"shh" * 6, b"hh" + b"sshh" * 6),
        re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{2}(?:[ :,-]{1,2}[0-9A-Fa-f]{2}){6,}(?![0-9A-Za-z])"),
        _bytewise,
    ),
    _Rows(
        (b"hxhhs" * 4, b"hxhhss" * 4, b"\\xhh" * 8),
        re.compile(rb"(?:(?:0x|\\x)[0-9A-Fa-f]{2}[,\s]{0,8}){8,}"),
        _bytewise,
    ),
    _Rows(
        (b"hhhh" + b"shhhh" * 3, b"hhhh" + b"ssshhhh" * 3),
        re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{4}(?: {1,4}[0-9A-Fa-f]{4}){3,}(?: [0-9A-Fa-f]{2})?(?![0-9A-Za-z])"),
        _wordwise(2),
    ),
    _Rows(
        (b"hhhhhhhhshhhhhhhh",),
        re.compile(rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?: {1,2}[0-9A-Fa-f]{8})+(?: [0-9A-Fa-f]{2,6})?(?![0-9A-Za-z])"),
        _wordwise(4),
    ),
    _Rows(
        (b"hhhhhh" + b"shhhhhh" * 3,),
        re.compile(rb"(?<![0-9A-Za-z])[0-7]{6}(?: [0-7]{6}){3,}(?![0-9A-Za-z])"),
        _octal,
    ),
)
