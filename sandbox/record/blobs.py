"""A content-addressed store for bodies too large, or too odd, to stand in an event.

A blob lies at `<first two hex digits>/<sha256>`, as it is, or with the suffix `.zst` as one zstandard frame where that is
smaller. The name is the SHA-256 of the *uncompressed* bytes, so a blob can be read with `zstdcat` and checked with
`sha256sum`. Writing is atomic and never replaces; reading verifies. Names are checked to be digests and symbolic links
are not followed, since stores from elsewhere are hostile.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import zstandard

from sandbox.errors import InfrastructureError, IntegrityError
from sandbox.events import Content

MAX_BLOB = 256 * 1024 * 1024
"""Bytes of the largest body that is stored, and that reading unpacks to unless told otherwise."""

KEEP_LIMIT = 16_384
_WORTH_COMPRESSING = 512
_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_WINDOW = 128 * 1024 * 1024


class BlobStore:
    """The blobs below one folder, which is created with the first of them. Methods block; safe from several threads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Keep `data`; returns its SHA-256 in hex.

        Raises InfrastructureError when it cannot be written, or has more than `MAX_BLOB` bytes and could not be read again.
        """
        if len(data) > MAX_BLOB:
            raise InfrastructureError(f"A body of {len(data):,} bytes is too large to be stored; {MAX_BLOB:,} is the most.")
        digest = hashlib.sha256(data).hexdigest()
        if self._find(digest) is not None:
            return digest
        packed = zstandard.compress(data, 3) if len(data) >= _WORTH_COMPRESSING else data
        shrunk = len(packed) < len(data)
        place = self._place(digest, ".zst" if shrunk else "")
        try:
            _write_atomically(place, packed if shrunk else data)
        except OSError as error:
            raise InfrastructureError(f"A body of {len(data):,} bytes could not be stored in {self.root}: {error}.") from error
        return digest

    def get(self, digest: str, *, limit: int = MAX_BLOB) -> bytes:
        """The bytes whose SHA-256 is `digest`.

        Raises IntegrityError, `place` naming the file, where the blob is missing, is not what its name says, or would
        be more than `limit` bytes.
        """
        data = b"".join(self._chunks(digest, limit))
        self._check(digest, hashlib.sha256(data))
        return data

    def size(self, digest: str, *, limit: int = MAX_BLOB) -> int:
        """How many bytes the blob has, proven as `get` proves them and without holding them. Raises IntegrityError."""
        size, found = 0, hashlib.sha256()
        for chunk in self._chunks(digest, limit):
            size += len(chunk)
            found.update(chunk)
        self._check(digest, found)
        return size

    def _chunks(self, digest: str, limit: int) -> Iterator[bytes]:
        """Raises IntegrityError where the blob is missing, cannot be read or has more than `limit` bytes."""
        place = self._find(digest) if _DIGEST.fullmatch(digest) else None
        if place is None:
            raise IntegrityError(f"Blob {digest[:64]!r} is missing.", place=str(self.root / digest[:2] / digest[:64]))
        left = limit
        try:
            for chunk in _unpacked(place):
                left -= len(chunk)
                if left < 0:
                    raise IntegrityError(f"Blob {digest} is larger than {limit:,} bytes.", place=str(place))
                yield chunk
        except (OSError, zstandard.ZstdError) as error:
            raise IntegrityError(f"Blob {digest} cannot be read: {error}.", place=str(place)) from error

    def _check(self, digest: str, found: hashlib._Hash) -> None:
        if found.hexdigest() != digest:
            place = str(self._find(digest))
            raise IntegrityError(f"Blob {digest} was altered: its content is not what its name says.", place=place)

    def __contains__(self, digest: object) -> bool:
        """Whether there is a file of that name; its content is not looked at."""
        return isinstance(digest, str) and _DIGEST.fullmatch(digest) is not None and self._find(digest) is not None

    def __iter__(self) -> Iterator[str]:
        """All digests in the store, sorted."""
        names = {file.name.removesuffix(".zst") for file in self.root.glob("[0-9a-f][0-9a-f]/*")}
        yield from sorted(name for name in names if _DIGEST.fullmatch(name))

    def keep(self, data: bytes, limit: int = KEEP_LIMIT) -> Content:
        """`data` as an event shows it: at most about `limit` bytes of text, the whole put into the store where that is not all.

        Head and tail are kept, with the cut stated between them; bytes that are not UTF-8 read as U+FFFD and are
        stored whatever their size. Raises InfrastructureError.
        """
        text = None if len(data) > limit else _decoded(data)
        if text is not None:
            return Content(text=text, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        return Content(text=_excerpt(data, limit), size=len(data), sha256=self.put(data), complete=False, stored=True)

    def _place(self, digest: str, suffix: str) -> Path:
        return self.root / digest[:2] / (digest + suffix)

    def _find(self, digest: str) -> Path | None:
        return next((p for p in (self._place(digest, ""), self._place(digest, ".zst")) if p.is_file()), None)


def _decoded(data: bytes) -> str | None:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _excerpt(data: bytes, limit: int) -> str:
    if len(data) <= limit:
        return data.decode("utf-8", "replace")
    head, tail = _back_to_character(data, limit // 2), _on_to_character(data, len(data) - limit // 2)
    cut = f"\n[… {tail - head:,} bytes cut …]\n"
    return data[:head].decode("utf-8", "replace") + cut + data[tail:].decode("utf-8", "replace")


def _back_to_character(data: bytes, at: int) -> int:
    """The start of the UTF-8 character that position `at` lies in; `at` itself where there is none within reach."""
    return next((k for k in range(at, max(at - 4, -1), -1) if k == len(data) or data[k] & 0xC0 != 0x80), at)


def _on_to_character(data: bytes, at: int) -> int:
    return next((k for k in range(at, min(at + 4, len(data) + 1)) if k == len(data) or data[k] & 0xC0 != 0x80), at)


def _write_atomically(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with unfinished.open("xb") as file:
            file.write(data)
        unfinished.rename(place)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _unpacked(place: Path) -> Iterator[bytes]:
    """What a blob's file holds, whatever a frame claims of itself."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a symbolic link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if place.suffix != ".zst":
            yield from iter(lambda: file.read(_CHUNK), b"")
            return
        with zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(file, read_across_frames=False) as frame:
            yield from iter(lambda: frame.read(_CHUNK), b"")
