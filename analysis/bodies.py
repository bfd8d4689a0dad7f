"""What a recorded body says: its own text, and the texts of what is packed in it - archives, attachments, forms, base64.

Bounded in depth, number and size, since bodies are the agent's. What lies behind a bound is not read.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import io
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from email import message_from_bytes
from urllib.parse import unquote_plus

DEPTH = 3
MEMBERS = 500
UNPACKED = 8_000_000
"""Bytes of all that is unpacked from one body, members of archives included."""

_GZIP = b"\x1f\x8b\x08"
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{120,}(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2}")
_MIME = re.compile(rb"\A(?:[\w-]+:[^\n]*\n(?:[ \t][^\n]*\n)*)+\r?\n")
_FAILURES = (
    OSError, EOFError, ValueError, KeyError, IndexError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError, binascii.Error, LookupError,
)  # fmt: skip


def texts(data: bytes) -> list[str]:
    """Every text in `data`, its own first unless it is not text at all; never raises."""
    room = _Room()
    found = [_text(piece) for piece in _pieces(data, DEPTH, room)]
    return [text for text in found if text]


class _Room:
    def __init__(self) -> None:
        self.left, self.members = UNPACKED, MEMBERS

    def take(self, data: bytes) -> bool:
        """Whether there is room for one more piece, which is then taken."""
        self.members -= 1
        self.left -= len(data)
        return self.members >= 0 and self.left >= 0


def _text(data: bytes) -> str:
    """UTF-8 text with few characters that no text has; empty for other bytes."""
    text = data.decode("utf-8", "replace")
    odd = text.count("�") + text.count("\0")
    return text if odd * 20 <= len(text) else ""


def _pieces(data: bytes, depth: int, room: _Room) -> Iterator[bytes]:
    if not data or not room.take(data):
        return
    yield data
    if depth == 0:
        return
    for reader in (_zipped, _streamed, _tarred, _mailed, _encoded, _form, _json):
        try:
            for piece in reader(data, room):
                if piece != data:
                    yield from _pieces(piece, depth - 1, room)
        except _FAILURES:
            continue


def _zipped(data: bytes, room: _Room) -> Iterator[bytes]:
    """Members of a zip archive, also of one that stands within a form."""
    if b"PK\x03\x04" not in data:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist()[:MEMBERS]:
            if not member.is_dir() and member.file_size <= room.left:
                with archive.open(member) as opened:
                    yield opened.read(room.left)


def _streamed(data: bytes, room: _Room) -> Iterator[bytes]:
    at = data.find(_GZIP)
    if at >= 0:
        yield zlib.decompressobj(31).decompress(data[at:], max(room.left, 1))
    if data.startswith(b"BZh"):
        yield bz2.BZ2Decompressor().decompress(data, max(room.left, 1))
    if data.startswith(b"\xfd7zXZ\0"):
        yield lzma.LZMADecompressor(memlimit=64 << 20).decompress(data, max(room.left, 1))


def _tarred(data: bytes, room: _Room) -> Iterator[bytes]:
    if b"ustar" not in data[:1024]:
        return
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= MEMBERS:
                return
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is not None:
                yield opened.read(max(room.left, 1))


def _mailed(data: bytes, room: _Room) -> Iterator[bytes]:
    """Parts of a mail, decoded."""
    if not _MIME.match(data[:8192]):
        return
    for part in message_from_bytes(data).walk():
        payload = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(payload, bytes):
            yield payload


def _encoded(data: bytes, room: _Room) -> Iterator[bytes]:
    for match in _BASE64.finditer(data):
        packed = re.sub(rb"\s", b"", match[0]).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        yield base64.b64decode(packed + b"=" * (-len(packed) % 4))


def _form(data: bytes, room: _Room) -> Iterator[bytes]:
    if re.match(rb"[\w.%-]+=[^\s]*\Z", data[:4096].rstrip()) and (b"%20" in data or b"+" in data):
        yield unquote_plus(data.decode("ascii", "replace")).encode()


def _json(data: bytes, room: _Room) -> Iterator[bytes]:
    """The strings of a JSON document, or of one a line, without their escapes."""
    if data.lstrip()[:1] not in (b"{", b"[", b'"'):
        return
    try:
        documents = [json.loads(data)]
    except ValueError:
        documents = [json.loads(line) for line in data.splitlines() if line.strip()]
    yield "\n".join(strings(documents)).encode("utf-8", "replace")


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, in its order; keys are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
