"""What bytes may be a disguise of: every usual encoding and compression undone, each found wherever it begins, within bounds.

Nothing is taken on trust: a stream that breaks off yields what it held until then, one that would grow without end is cut, and
what was cut is said (`Budget.cut`).
"""

from __future__ import annotations

import binascii
import bz2
import lzma
import re
import time
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

import zstandard

DEPTH = 4
_STEP = 64 * 1024
_TRIES = 16


class Budget:
    """What may be spent on one piece: bytes produced and seconds."""

    def __init__(self, size: int = 64 * 2**20, seconds: float = 2.0) -> None:
        self._left = size
        self._end = time.monotonic() + seconds
        self.cut = False

    def room(self, wanted: int = 1) -> int:
        """How many bytes may still be produced, at most `wanted`; 0 marks that something was cut."""
        if self._left <= 0 or time.monotonic() > self._end:
            self.cut = True
            return 0
        return min(wanted, self._left)

    def spend(self, size: int) -> None:
        self._left -= size


class Layer(NamedTuple):
    """`data` was made by undoing `encoding` on `source`, a part of what was looked at; `open` if a stream broke off there."""

    encoding: str
    data: bytes
    source: bytes
    open: bool = False


class Stream(Protocol):
    """The common part of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_MAGICS: tuple[tuple[str, re.Pattern[bytes], Callable[[], Stream]], ...] = (
    ("gzip", re.compile(rb"\x1f\x8b\x08"), lambda: zlib.decompressobj(31)),
    ("bzip2", re.compile(rb"BZh[1-9]1AY&SY"), bz2.BZ2Decompressor),
    ("xz", re.compile(rb"\xfd7zXZ\0"), lambda: lzma.LZMADecompressor(memlimit=128 * 2**20)),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd"), lambda: zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()),
    ("zlib", re.compile(rb"(?:\A|(?<=\r\n\r\n))x[\x01\x5e\x9c\xda]|x\x9c"), zlib.decompressobj),
)
STREAMS = {name: make for name, _, make in _MAGICS}
_ZIP = re.compile(rb"PK\x03\x04.{4}\x08\0.{16}(..)(..)", re.DOTALL)
_BASE64 = re.compile(
    rb"[A-Za-z0-9+/_-]{16,}(?:(?:\r?\n|\\n|\\r\\n)[A-Za-z0-9+/_-]{16,})*(?:(?:\r?\n|\\n|\\r\\n)[A-Za-z0-9+/_-]+)?"
)
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){16,}(?:(?:\r?\n|\\n)(?:[0-9A-Fa-f]{2})+)*")


class _Alphabet(NamedTuple):
    """Words of at least `least` letters, of which each `unit` decode together."""

    name: str
    pattern: re.Pattern[bytes]
    least: int
    unit: int
    decode: Callable[[bytes], bytes]


_BREAKS = re.compile(rb"\\r|\\n|\s")
_ESCAPE = re.compile(rb'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_PLAIN = {b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def layers(data: bytes, budget: Budget) -> Iterator[Layer]:
    """Everything that one encoding less makes of `data`."""
    yield from _compressed(data, budget)
    yield from _zipped(data, budget)
    for alphabet in _ALPHABETS:
        yield from _words(alphabet, data, budget)
    if data.count(b"%") > 2 and (plain := unquote_to_bytes(data)) != data:
        budget.spend(len(plain))
        yield Layer("percent", plain, data)
    if b"\\" in data and (plain := _ESCAPE.sub(_unescape, data)) != data:
        budget.spend(len(plain))
        yield Layer("json", plain, data)


def _compressed(data: bytes, budget: Budget) -> Iterator[Layer]:
    for name, magic, make in _MAGICS:
        end = 0
        for number, match in enumerate(magic.finditer(data)):
            if number >= _TRIES or not budget.room():
                break
            if match.start() < end:
                continue  # inside the stream before
            plain, stream = inflate(make(), data[match.start() :], budget)
            if plain:
                end = len(data) - len(stream.unused_data) if stream.eof else match.start() + 1
                yield Layer(name, plain, data[match.start() : end if stream.eof else len(data)], not stream.eof)


def inflate(stream: Stream, data: bytes, budget: Budget) -> tuple[bytes, Stream]:
    """What `stream` makes of `data` until it ends, breaks off or becomes too much."""
    out = bytearray()
    size = _STEP if len(data) > 4 * _STEP else 4096
    for at in range(0, len(data), size):
        if stream.eof or not budget.room():
            break
        try:
            piece = _bounded(stream, data[at : at + size], budget)
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, zstandard.ZstdError):
            break
        out += piece
    return bytes(out), stream


def _bounded(stream: Stream, data: bytes, budget: Budget) -> bytes:
    """One step, of which at most what there is room for comes out: a bomb's is cut."""
    most = budget.room(16 * 2**20)
    if isinstance(stream, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        piece = stream.decompress(data, most)
        budget.cut = budget.cut or not (stream.needs_input or stream.eof)
    elif hasattr(stream, "unconsumed_tail"):
        piece = stream.decompress(data, most)  # type: ignore[call-arg]
        budget.cut = budget.cut or bool(stream.unconsumed_tail)
    else:
        piece = stream.decompress(data)[:most]
    budget.spend(len(piece))
    return piece


def _zipped(data: bytes, budget: Budget) -> Iterator[Layer]:
    for number, match in enumerate(_ZIP.finditer(data)):
        if number >= 4 * _TRIES or not budget.room():
            return
        start = match.end() + int.from_bytes(match[1], "little") + int.from_bytes(match[2], "little")
        plain, stream = inflate(zlib.decompressobj(-15), data[start:], budget)
        if plain:
            end = len(data) - len(stream.unused_data) if stream.eof else len(data)
            yield Layer("zip", plain, data[start:end])


def _words(alphabet: _Alphabet, data: bytes, budget: Budget) -> Iterator[Layer]:
    """Runs of an alphabet, decoded from each place that a unit may begin at, since a part may begin in the middle of one."""
    for match in alphabet.pattern.finditer(data):
        word = _BREAKS.sub(b"", match[0])
        if len(word) < alphabet.least:
            continue
        for start in range(alphabet.unit):
            if not budget.room():
                return
            try:
                plain = alphabet.decode(word[start:])
            except (binascii.Error, ValueError):
                continue
            budget.spend(len(plain))
            yield Layer(alphabet.name, plain, word[start:])


def _unhex(word: bytes) -> bytes:
    return binascii.unhexlify(word[: len(word) // 2 * 2])


def _unbase64(word: bytes) -> bytes:
    word = word.replace(b"-", b"+").replace(b"_", b"/")
    return binascii.a2b_base64(word[: len(word) // 4 * 4] + (word[-(len(word) % 4) :] + b"==")[:4] * (len(word) % 4 > 1))


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")
    return _PLAIN[match[2]]


_ALPHABETS = (_Alphabet("hex", _HEX, 48, 2, _unhex), _Alphabet("base64", _BASE64, 32, 4, _unbase64))
