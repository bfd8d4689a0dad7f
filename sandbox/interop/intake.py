"""Reading files that others made, within bounds: what is too large, too deep, cut or not what it says ends in a UsageError.

The bounds are on bytes after decompression and on the number of JSON values, since a few compressed kilobytes can claim
gigabytes and three bytes of JSON can become sixty in memory. They are generous: a trajectory of 10,000 steps fits.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from pydantic_core import from_json

from sandbox.errors import UsageError

MAX_FILE = 256 * 1024 * 1024
MAX_UNPACKED = 4 * 1024 * 1024 * 1024
MAX_DOCUMENT = 64 * 1024 * 1024
MAX_VALUES = 6_000_000
MAX_ENTRIES = 100_000
MAX_TURNS = 50_000
_MAX_WINDOW = 128 * 1024 * 1024
_ZSTANDARD = 93
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
"""One string; an unfinished one goes to the end, so that nothing is read twice."""


class SourceFile(NamedTuple):
    """A file to be imported: its name without folders, and its bytes as they lie on disk."""

    name: str
    data: bytes


def take(path: Path) -> SourceFile:
    """Read a regular file of at most `MAX_FILE` bytes. Raises UsageError for anything else, symbolic links included."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a symbolic link.", "Name the file that it points to.") from error
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is not a regular file.", "Name one file; a folder is imported file by file.")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise UsageError(f"{path} is larger than {MAX_FILE:,} bytes.", "Split it into several files.")
    return SourceFile(path.name, data)


def gunzip(data: bytes, what: str) -> bytes:
    """One gzip stream, at most `MAX_FILE` bytes of it. Raises UsageError."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = inflate.decompress(data, MAX_FILE + 1)
    except zlib.error as error:
        raise UsageError(f"{what} is not a whole gzip file: {error}.") from error
    if len(plain) > MAX_FILE:
        raise UsageError(f"{what} unpacks to more than {MAX_FILE:,} bytes.", "Split it into several files.")
    if not inflate.eof:
        raise UsageError(f"{what} was cut: its gzip stream has no end.")
    return plain


def parse(data: bytes, what: str) -> Any:
    """One JSON document. Raises UsageError, naming `what`, where it is not JSON, or has too many bytes, values or levels."""
    check_bounds(data, what)
    try:
        return from_json(data)
    except ValueError as error:
        reason = error
    if b"\\ud" in data or b"\\uD" in data:
        return _parse_surrogates(data, what)
    raise UsageError(f"{what} is not valid JSON: {_short(reason)}.") from reason


def check_bounds(data: bytes, what: str) -> None:
    """Whether so much JSON may be held at once, as one document or as many lines. Raises UsageError."""
    if len(data) > MAX_DOCUMENT:
        raise UsageError(
            f"{what} has {len(data):,} bytes of JSON in one piece; at most {MAX_DOCUMENT:,} are read.",
            "Split it, one trajectory a file.",
        )
    if _values(data) > MAX_VALUES and (values := _values(_STRING.sub(b"", data))) > MAX_VALUES:
        raise UsageError(f"{what} holds about {values:,} values; at most {MAX_VALUES:,} are read.", "Split it.")


def _values(data: bytes) -> int:
    """How many JSON values there are at most: signs within strings count too."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _parse_surrogates(data: bytes, what: str) -> Any:
    """Python's own parser takes lone surrogates, which Python programs write; whoever builds messages of them cleans them."""
    try:
        return json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise UsageError(f"{what} is nested too deeply.") from error
    except ValueError as error:
        raise UsageError(f"{what} is not valid JSON: {_short(error)}.") from error


class Archive:
    """A zip file of JSON documents, read entry by entry; deflated, stored and zstandard entries.

    Raises UsageError, from the start or on reading, where it is cut, encrypted, holds two entries of one name or in one
    place, more than `MAX_ENTRIES`, an entry that unpacks to more than `MAX_DOCUMENT` bytes, or entries that unpack to more
    than `MAX_UNPACKED` together. Nothing is ever written.
    """

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what = data, what
        try:
            self._zip = zipfile.ZipFile(BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, EOFError) as error:
            raise UsageError(f"{what} is not a whole zip archive: {_short(error)}.") from error
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise UsageError(f"{what} has {len(entries):,} entries; at most {MAX_ENTRIES:,} are read.")
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) != len(entries):
            raise UsageError(f"{what} holds two entries of the same name.", "It was not made by the program it names.")
        self._check_places(entries)
        claimed = sum(entry.file_size for entry in entries)
        if claimed > MAX_UNPACKED:
            raise UsageError(
                f"{what} unpacks to {claimed:,} bytes; at most {MAX_UNPACKED:,} are read.", "Split it into several files."
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def read(self, name: str) -> bytes:
        """The whole entry. Raises UsageError."""
        entry = self._entries[name]
        what = f"{self._what}: entry {name[:200]!r}"
        if entry.file_size > MAX_DOCUMENT:
            raise UsageError(f"{what} claims {entry.file_size:,} bytes; at most {MAX_DOCUMENT:,} are read.")
        try:
            data = self._zstandard(entry) if entry.compress_type == _ZSTANDARD else self._ordinary(entry)
        except (zipfile.BadZipFile, zstandard.ZstdError, zlib.error, ValueError, OSError, RuntimeError, EOFError) as error:
            raise UsageError(f"{what} cannot be unpacked: {_short(error)}.") from error
        if len(data) > MAX_DOCUMENT:
            raise UsageError(f"{what} unpacks to more than {MAX_DOCUMENT:,} bytes.")
        if len(data) != entry.file_size or zlib.crc32(data) != entry.CRC:
            raise UsageError(f"{what} is not what was packed: size or checksum differ.")
        return data

    def _check_places(self, entries: list[zipfile.ZipInfo]) -> None:
        """Each entry's bytes are its own: many that share a few unpack to far more than the file could hold."""
        free = 0
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            if entry.header_offset < free:
                raise UsageError(f"{self._what} holds two entries in the same place.", "It was made to unpack to too much.")
            free = self._begin(entry) + entry.compress_size

    def _begin(self, entry: zipfile.ZipInfo) -> int:
        """Where an entry's packed bytes begin, by its local header."""
        start = entry.header_offset
        return start + 30 + sum(int.from_bytes(self._data[start + at : start + at + 2], "little") for at in (26, 28))

    def _ordinary(self, entry: zipfile.ZipInfo) -> bytes:
        with self._zip.open(entry) as file:
            return file.read(MAX_DOCUMENT + 1)

    def _zstandard(self, entry: zipfile.ZipInfo) -> bytes:
        """zipfile learns zstandard in Python 3.14 only; the local header says where the frame begins."""
        start = entry.header_offset
        header = self._data[start : start + 30]
        if len(header) < 30 or header[:4] != b"PK\x03\x04" or entry.flag_bits & 1:
            raise ValueError("its local header is damaged, or it is encrypted")
        begin = self._begin(entry)
        packed = self._data[begin : begin + entry.compress_size]
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(packed, read_across_frames=True) as frames:
            return frames.read(MAX_DOCUMENT + 1)


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
