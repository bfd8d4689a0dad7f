"""What happens to files on one mounted file system, told by the kernel as it happens, with names and the process that did it.

fanotify(7) in the mode that reports directory handles and names (Linux 5.17 or later) on a whole file system: unlike a look at
the tree it also tells of what came and went. It tells neither contents nor times, and what waits unread of one process on one
object is one event. Queueing is synchronous with the deed, so reading until there is no more is a watermark.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAME = "fanotify"

MODIFY, ATTRIB, CLOSE_WRITE, OPEN = 0x2, 0x4, 0x8, 0x20
CREATE, DELETE, RENAME = 0x100, 0x200, 0x10000000
ON_DIRECTORY, OVERFLOW = 0x40000000, 0x4000

CHANGES = MODIFY | ATTRIB | CLOSE_WRITE | CREATE | DELETE | RENAME | ON_DIRECTORY

_CLASS_NOTIF, _CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE = 0, 1, 2, 0x10
_REPORT_FID, _REPORT_DIR_FID, _REPORT_NAME, _REPORT_TARGET_FID = 0x200, 0x400, 0x800, 0x1000
_MARK_ADD, _MARK_REMOVE, _MARK_FILESYSTEM = 1, 2, 0x100
_FID, _DIRECTORY_NAME, _DIRECTORY, _OLD_NAME, _NEW_NAME = 1, 2, 3, 10, 12

_EVENT = struct.Struct("<IBBHQii")
_INFO = struct.Struct("<BBH")
_HANDLE = struct.Struct("<Ii")
_FSID_BYTES = 8
_HANDLE_BYTES = 128
_READ_BYTES = 256 * 1024
_EMPTY_PATH = 0x1000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class Name(NamedTuple):
    """An entry of a directory: the directory's handle, and the name in it ("." for the directory itself)."""

    folder: bytes
    name: bytes


class FileEvent(NamedTuple):
    """`mask` may hold several deeds of process `pid` on one object, with handle `object`; `old` is a rename's former name."""

    mask: int
    pid: int
    at: Name | None
    old: Name | None
    object: bytes


class Fanotify:
    """Listens to the file system mounted at `root`. Raises OSError where that cannot be had (not root, or an older kernel).

    Args:
        root: its mount point.
        mask: what to be told of.
    """

    def __init__(self, root: Path, mask: int = CHANGES) -> None:
        flags = _CLASS_NOTIF | _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE
        flags |= _REPORT_FID | _REPORT_DIR_FID | _REPORT_NAME | _REPORT_TARGET_FID
        self.fd = _checked(_libc.fanotify_init(flags, os.O_RDONLY))
        self._mask = mask
        self._mount = -1
        self._on = False
        try:
            self._mount = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._base = os.fsencode(Path(f"/proc/self/fd/{self._mount}").readlink())
            self.resume()
        except BaseException:
            self.close()
            raise

    def suspend(self) -> None:
        """Stop being told, so that what waits unread does not grow; `resume` ends it."""
        if self._on:
            self._mark(_MARK_REMOVE)
            self._on = False

    def resume(self) -> None:
        if not self._on:
            self._mark(_MARK_ADD)
            self._on = True

    def _mark(self, action: int) -> None:
        _checked(_libc.fanotify_mark(self.fd, action | _MARK_FILESYSTEM, self._mask, self._mount, None))

    def take(self) -> list[FileEvent]:
        """A batch of what waits, in order; empty when nothing does. Raises OSError."""
        try:
            return list(parse(os.read(self.fd, _READ_BYTES)))
        except BlockingIOError:
            return []

    def folder(self, handle: bytes) -> bytes | None:
        """Where the directory of a handle lies now, from the mount point's "/"; None if it is gone."""
        size, kind = _HANDLE.unpack_from(handle)
        buffer = ctypes.create_string_buffer(_HANDLE.pack(size, kind) + handle[_HANDLE.size :], _HANDLE.size + _HANDLE_BYTES)
        fd = _libc.open_by_handle_at(self._mount, buffer, os.O_PATH | os.O_CLOEXEC)
        if fd < 0:
            return None
        try:
            path = os.fsencode(Path(f"/proc/self/fd/{fd}").readlink())
        finally:
            os.close(fd)
        if path.endswith(b" (deleted)") and not os.path.exists(path):  # noqa: PTH110 - bytes, not text
            return None
        below = path.removeprefix(self._base)
        return None if below == path else below or b"/"

    def handle(self, folder: int) -> bytes:
        """The handle of the directory that a descriptor stands for, as events give it. Raises OSError."""
        buffer = ctypes.create_string_buffer(_HANDLE.pack(_HANDLE_BYTES, 0), _HANDLE.size + _HANDLE_BYTES)
        mount = ctypes.c_int()
        _checked(_libc.name_to_handle_at(folder, b"", buffer, ctypes.byref(mount), _EMPTY_PATH))
        return buffer.raw[: _HANDLE.size + _HANDLE.unpack_from(buffer.raw)[0]]

    def close(self) -> None:
        for fd in (self.fd, self._mount):
            if fd >= 0:
                os.close(fd)
        self.fd = self._mount = -1


def parse(data: bytes) -> Iterator[FileEvent]:
    """The events of one read, as fanotify(7) lays them out. Raises ValueError for anything else."""
    at = 0
    while at < len(data):
        if len(data) - at < _EVENT.size:
            raise ValueError("a cut event")
        size, version, _, head, mask, _, pid = _EVENT.unpack_from(data, at)
        if version != 3 or size < _EVENT.size or head < _EVENT.size or at + size > len(data):
            raise ValueError("not an event")
        yield _event(mask, pid, data[at + head : at + size])
        at += size


def _event(mask: int, pid: int, infos: bytes) -> FileEvent:
    place = old = None
    target = b""
    while len(infos) >= _INFO.size:
        kind, _, size = _INFO.unpack_from(infos)
        if size < _INFO.size + _FSID_BYTES + _HANDLE.size or size > len(infos):
            raise ValueError("not an event's information")
        handle, rest = _handle(infos[_INFO.size + _FSID_BYTES : size])
        name = Name(handle, rest.split(b"\0", 1)[0])
        if kind in (_DIRECTORY_NAME, _NEW_NAME):
            place = name
        elif kind == _OLD_NAME:
            old = name
        elif kind == _DIRECTORY:
            place = Name(handle, b".")
        elif kind == _FID:
            target = handle
        infos = infos[size:]
    return FileEvent(mask, pid, place, old, target)


def _handle(data: bytes) -> tuple[bytes, bytes]:
    """A file handle with its head, and what follows it."""
    size = _HANDLE.unpack_from(data)[0]
    end = _HANDLE.size + size
    if size > _HANDLE_BYTES or end > len(data):
        raise ValueError("not a handle")
    return data[:end], data[end:]


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code) if code != errno.EINVAL else "this kernel's fanotify cannot report names")
    return int(result)
