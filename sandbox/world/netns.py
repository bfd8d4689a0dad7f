"""Network namespaces of other processes: work inside one and come back, without a process of its own.

A thread enters, does its work and returns to where it was; sockets opened inside keep belonging to that namespace. Each
visit runs in a thread made for it, so that a thread that could not return is never used again.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sandbox.errors import InfrastructureError

CLONE_NEWNET = 0x40000000
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def open_namespace(pid: int) -> int:
    """A file descriptor of the network namespace of process `pid`; it keeps the namespace alive until closed."""
    try:
        return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InfrastructureError(f"The network namespace of process {pid} cannot be opened: {error.strerror}.") from None


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Be in `namespace` for the time of the block, in this thread only."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(namespace)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


@contextmanager
def fresh_namespace() -> Iterator[int]:
    """A new, empty namespace that lives for the block, as a file descriptor."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.unshare(CLONE_NEWNET) != 0:
            raise InfrastructureError(f"A network namespace cannot be made: {os.strerror(ctypes.get_errno())}.")
        try:
            made = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _setns(own)
        try:
            yield made
        finally:
            os.close(made)
    finally:
        os.close(own)


async def apart(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own."""
    with ThreadPoolExecutor(1, "belljar-net") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


def _setns(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise InfrastructureError(f"A network namespace cannot be entered: {os.strerror(ctypes.get_errno())}.")
