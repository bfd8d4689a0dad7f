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
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
import zstandard

from sandbox.sensors.dumps import undumped

DEPTH = 4
_STEP = 64 * 1024
_SHORTEST_WORD = 32
_SHORTEST_85 = 40
_SHORTEST_WIDE = 24


class Budget:
    """What may be spent on one piece: bytes produced and seconds."""

    def __init__(self, size: int = 32 * 2**20, seconds: float = 2.0) -> None:
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


_Zlib = type(zlib.decompressobj())
_BOUNDED = (_Zlib, bz2.BZ2Decompressor, lzma.LZMADecompressor)

_MAGICS: tuple[tuple[str, tuple[bytes, ...], int, Callable[[], Stream]], ...] = (
    ("gzip", (b"\x1f\x8b\x08",), 16, lambda: zlib.decompressobj(31)),
    ("bzip2", (b"1AY&SY",), 16, bz2.BZ2Decompressor),
    ("xz", (b"\xfd7zXZ\0",), 16, lambda: lzma.LZMADecompressor(memlimit=128 * 2**20)),
    ("zstd", (b"\x28\xb5\x2f\xfd",), 16, lambda: zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()),
    ("zlib", (b"x\x9c", b"x\xda", b"x\x01", b"x\x5e"), 4, zlib.decompressobj),
)
"""Encoding, what its streams begin with, at how many places to try, and what reads them."""

_BEFORE = {"bzip2": 4}
"""How much of a stream comes before the bytes that tell it."""

STREAMS = {name: make for name, _, _, make in _MAGICS}
_ZIP = re.compile(rb"PK\x03\x04.{4}\x08\0.{16}(..)(..)", re.DOTALL)


def _marks(letters: bytes) -> bytes:
    """Translates these letters to 1 and all others to 0."""
    return bytes(int(code in letters) for code in range(256))


_ALNUM = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_LETTERS = _marks(_ALNUM + b"+/_-\r\n\\")
_BASE64 = re.compile(
    rb"[A-Za-z0-9+/_-]{16,}(?:(?:\r?\n|\\n|\\r\\n)[A-Za-z0-9+/_-]{16,})*(?:(?:\r?\n|\\n|\\r\\n)[A-Za-z0-9+/_-]+)?"
)
_BASE32 = re.compile(rb"[A-Z2-7]{16,}(?:\r?\n[A-Z2-7]{16,})*(?:\r?\n[A-Z2-7]+)?", re.IGNORECASE)
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){16,}(?:(?:\r?\n|\\n)(?:[0-9A-Fa-f]{2})+)*")


class _Alphabet(NamedTuple):
    """Words of at least `least` letters, of which each `unit` decode together."""

    name: str
    marks: bytes
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
    for span in _spans(data, _LETTERS, _SHORTEST_WORD):
        for alphabet in _ALPHABETS:
            for part in _spans(span, alphabet.marks, alphabet.least):
                yield from _words(alphabet, part, budget)
    yield from _dumped(data, budget)
    yield from _base85(data, budget)
    yield from _wide(data, budget)
    if budget.room() and data.count(b"%") > 2 and (plain := unquote_to_bytes(data)) != data:
        budget.spend(len(plain))
        yield Layer("percent", plain, data)
    if budget.room() and b"\\" in data and (plain := _ESCAPE.sub(_unescape, data)) != data:
        budget.spend(len(plain))
        yield Layer("json", plain, data)


def _spans(data: bytes, marks: bytes, least: int) -> Iterator[bytes]:
    """The parts of `data`, of at least so many bytes, that hold nothing but letters that are marked."""
    marked, wanted = data.translate(marks), b"\1" * least
    start = marked.find(wanted)
    while start >= 0:
        end = marked.find(b"\0", start + least)
        end = end if end >= 0 else len(data)
        yield data[start:end]
        start = marked.find(wanted, end)


def _compressed(data: bytes, budget: Budget) -> Iterator[Layer]:
    for name, magics, tries, make in _MAGICS:
        end = 0
        for at in _places(data, magics, _BEFORE.get(name, 0), tries):
            if not budget.room():
                return
            if at < end:
                continue  # inside the stream before
            plain, stream = inflate(make(), memoryview(data)[at:], budget)
            if plain:
                end = len(data) - len(stream.unused_data) if stream.eof else at + 1
                yield Layer(name, plain, data[at : end if stream.eof else len(data)], not stream.eof)


def _places(data: bytes, magics: Iterable[bytes], before: int, tries: int) -> Iterator[int]:
    for magic in magics:
        at = data.find(magic)
        for _ in range(tries):
            if at < 0:
                break
            if at >= before:
                yield at - before
            at = data.find(magic, at + 1)


def inflate(stream: Stream, data: bytes | memoryview, budget: Budget) -> tuple[bytes, Stream]:
    """What `stream` makes of `data` until it ends, breaks off or becomes too much."""
    out = bytearray()
    size = _STEP if len(data) > 4 * _STEP else 4096
    if not isinstance(stream, _BOUNDED):
        size = 256  # which cannot become more than a few megabytes at once
    for at in range(0, len(data), size):
        if stream.eof or not budget.room():
            break
        try:
            piece = _bounded(stream, bytes(data[at : at + size]), budget)
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
    elif isinstance(stream, _Zlib):
        piece = stream.decompress(data, most)
        budget.cut = budget.cut or bool(stream.unconsumed_tail)
    else:
        piece = stream.decompress(data)[:most]
    budget.spend(len(piece))
    return piece


def _zipped(data: bytes, budget: Budget) -> Iterator[Layer]:
    for place in _places(data, (b"PK\x03\x04",), 0, 64):
        if not budget.room():
            return
        if (match := _ZIP.match(data, place)) is None:
            continue
        start = match.end() + int.from_bytes(match[1], "little") + int.from_bytes(match[2], "little")
        plain, stream = inflate(zlib.decompressobj(-15), memoryview(data)[start:], budget)
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


def _dumped(data: bytes, budget: Budget) -> Iterator[Layer]:
    for plain in undumped(data):
        if not budget.room():
            return
        budget.spend(len(plain))
        yield Layer("dump", plain, data)


def _base85(data: bytes, budget: Budget) -> Iterator[Layer]:
    """In the alphabets of Git and of Ascii85. Ordinary writing without a blank is told from it by how few signs it has."""
    for marks, values, zeros in _BASES_85:
        for span in _spans(data, marks, _SHORTEST_85):
            if len(set(span.translate(None, _ALNUM))) < 6:
                continue
            digits = values[np.frombuffer(span.replace(zeros, b"!!!!!"), dtype=np.uint8)]
            for start in range(5):
                if not budget.room():
                    return
                plain = _from_85(digits[start:])
                budget.spend(len(plain))
                yield Layer("base85", plain, span)


def _from_85(digits: npt.NDArray[np.uint64]) -> bytes:
    """A last group that is not whole stands for as many bytes less."""
    lacking = -len(digits) % 5
    groups = np.append(digits, np.full(lacking, 84, dtype=np.uint64)).reshape(-1, 5)
    plain = (groups @ _POWERS_85).astype(">u4").tobytes()
    return plain[: len(plain) - lacking]


def _values(letters: bytes) -> npt.NDArray[np.uint64]:
    table = np.zeros(256, dtype=np.uint64)
    table[list(letters)] = np.arange(len(letters), dtype=np.uint64)
    return table


_GIT_85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_ASCII_85 = bytes(range(ord("!"), ord("u") + 1))
_BASES_85 = ((_marks(_GIT_85), _values(_GIT_85), b"!!!!!"), (_marks(_ASCII_85 + b"z"), _values(_ASCII_85), b"z"))
"""What is marked, what each letter counts, and what stands for four zeros."""

_POWERS_85 = np.array([85**4, 85**3, 85**2, 85, 1], dtype=np.uint64)


def _wide(data: bytes, budget: Budget) -> Iterator[Layer]:
    """Text of two bytes a letter: all of it behind a mark of the order of bytes, else runs of Latin letters."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") and budget.room():
        plain = data.decode("utf-16", "ignore").encode("utf-8", "ignore")
        budget.spend(len(plain))
        yield Layer("utf-16", plain, data)
    if data.count(0) < _SHORTEST_WIDE:
        return
    letters = np.frombuffer(data, dtype=np.uint8) != 0
    for first in (0, 1):
        pairs = letters[first : first + (len(data) - first) // 2 * 2].reshape(-1, 2)
        edges = np.flatnonzero(np.diff(pairs[:, 0] & ~pairs[:, 1], prepend=False, append=False)).reshape(-1, 2)
        for start, end in edges[edges[:, 1] - edges[:, 0] >= _SHORTEST_WIDE].tolist():
            if not budget.room():
                return
            narrow = data[first + 2 * start : first + 2 * end : 2]
            budget.spend(len(narrow))
            yield Layer("utf-16", narrow, data)
            if not narrow.isascii():
                yield Layer("utf-16", narrow.decode("latin-1").encode(), data)


def _unhex(word: bytes) -> bytes:
    return binascii.unhexlify(word[: len(word) // 2 * 2])


def _unbase64(word: bytes) -> bytes:
    word = word.replace(b"-", b"+").replace(b"_", b"/")
    return binascii.a2b_base64(word[: len(word) // 4 * 4] + (word[-(len(word) % 4) :] + b"==")[:4] * (len(word) % 4 > 1))


_BITS_32 = np.zeros((256, 5), dtype=np.uint8)
for _value, _letter in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"):
    _BITS_32[[_letter, ord(chr(_letter).lower())]] = [_value >> shift & 1 for shift in (4, 3, 2, 1, 0)]


def _unbase32(word: bytes) -> bytes:
    bits = _BITS_32[np.frombuffer(word, dtype=np.uint8)].reshape(-1)
    return np.packbits(bits[: len(bits) // 8 * 8]).tobytes()


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")
    return _PLAIN[match[2]]


_BREAKING = b"\r\n\\"
_ALPHABETS = (
    _Alphabet("hex", _marks(b"0123456789ABCDEFabcdefrn" + _BREAKING), _HEX, 48, 2, _unhex),
    _Alphabet("base64", _LETTERS, _BASE64, 32, 4, _unbase64),
    _Alphabet("base32", _marks(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567\r\n"), _BASE32, 32, 8, _unbase32),
    _Alphabet("base32", _marks(b"abcdefghijklmnopqrstuvwxyz234567\r\n"), _BASE32, 32, 8, _unbase32),
)
