"""Opening files below a folder without ever leaving it, and as a user with fewer rights: openat2(2) and file-system ids.

What an agent left behind may be a symlink to the engine's own files; a path is therefore resolved by the kernel with the
folder as its root. Permission is the kernel's too: a thread that took on the agent's ids gets the answer that the agent would.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from sandbox.errors import InfrastructureError, NotReadyError

_libc = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437
_SETGROUPS, _SETFSUID, _SETFSGID = 116, 122, 123  # x86_64; the C library's setgroups would change every thread

_NO_MAGICLINKS, _NO_SYMLINKS, _IN_ROOT = 0x02, 0x04, 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_below(root: int, path: str, flags: int, mode: int = 0, *, links: bool = False) -> int:
    """Open `path` with the directory descriptor `root` as its "/". Returns a descriptor that is closed on exec.

    Symlinks fail with ELOOP unless `links`; then they are followed, absolute ones from `root`. Raises OSError.
    """
    resolve = _IN_ROOT | _NO_MAGICLINKS | (0 if links else _NO_SYMLINKS)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(32):
        fd = int(_libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number != errno.EAGAIN:  # a rename elsewhere raced with the look-up: the kernel asks for another try
            break
    raise OSError(number, os.strerror(number), path)


@contextmanager
def opened(root: int, path: str, flags: int, mode: int = 0, *, links: bool = False) -> Iterator[int]:
    fd = open_below(root, path, flags, mode, links=links)
    try:
        yield fd
    finally:
        os.close(fd)


def take_on(uid: int, gid: int) -> None:
    """Give the calling thread, and no other, the file rights of `uid` and `gid` for the rest of its life."""
    if platform.machine() != "x86_64":
        raise NotReadyError("The engine knows the system calls of x86_64 only.", f"This machine is {platform.machine()}.")
    _libc.syscall(_SETGROUPS, 0, None)
    _libc.syscall(_SETFSGID, gid)
    _libc.syscall(_SETFSUID, uid)
    if _libc.syscall(_SETFSUID, -1) != uid:
        raise InfrastructureError(f"A thread of the engine could not take on the file rights of user {uid}.")
