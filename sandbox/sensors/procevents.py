"""The second choice where the kernel takes no programs: forks, execs and exits from its process connector.

The connector (https://docs.kernel.org/driver-api/connector.html) tells of every process of the machine; which container one
belongs to is followed from parent to child, and read from /proc where a parent stands outside. Arguments are read from /proc
after the fact, so those of a process that has ended by then are missing (two thirds of `/bin/true`). Needs root.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sandbox.sensors.exectrace import Exec, Exit, Fork, Record

NAME = "procevents"

_CONNECTOR, _PROCESSES = 11, 1
_LISTEN, _IGNORE = 1, 2
_FORK, _EXEC, _EXIT = 1, 2, 0x80000000
_NETLINK = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=IIIIHH")
_EVENT = struct.Struct("=IIQ")
_QUEUE_BYTES = 8 * 2**20
_FORCED_BUFFER = 33
_KNOWN = 100_000


class ProcessEvents:
    """Listens from its making until `close`; stands in for `exectrace.ExecTrace`. Raises OSError where this machine cannot."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, _CONNECTOR)
        try:
            self._socket.bind((0, _PROCESSES))
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, _FORCED_BUFFER, _QUEUE_BYTES)
            self._ask(_LISTEN)
        except BaseException:
            self._socket.close()
            raise
        self._watched: set[int] = set()
        self._spaces: dict[int, int] = {}
        self._missed = 0

    def watch(self, space: int) -> None:
        """Tell of this pid namespace from now on; what runs there already is found in /proc."""
        self._watched.add(space)
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and _space(int(folder.name)) == space:
                self._spaces[int(folder.name)] = space

    def forget(self, space: int) -> None:
        self._watched.discard(space)
        self._spaces = {pid: each for pid, each in self._spaces.items() if each != space}

    def take(self, most: int) -> Iterator[Record]:
        """What waits, in order, of at most `most` events of the whole machine."""
        for _ in range(most):
            try:
                data, (sender, _) = self._socket.recvfrom(4096)
            except BlockingIOError:
                return
            except OSError:  # the queue ran over: how many are gone nobody knows
                self._missed += 1
                continue
            if sender == 0 and (record := self._record(data)) is not None:
                yield record

    @property
    def empty(self) -> bool:
        return False

    def lost(self) -> int:
        """How often the kernel's queue ran over since this was last asked."""
        missed, self._missed = self._missed, 0
        return missed

    def close(self) -> None:
        with suppress(OSError):
            self._ask(_IGNORE)
        self._socket.close()

    def _ask(self, what: int) -> None:
        body = _MESSAGE.pack(_PROCESSES, 1, 0, 0, 4, 0) + struct.pack("=I", what)
        self._socket.send(_NETLINK.pack(_NETLINK.size + len(body), 3, 0, 0, os.getpid()) + body)

    def _record(self, data: bytes) -> Record | None:
        start = _NETLINK.size + _MESSAGE.size
        if len(data) < start + _EVENT.size + 8:
            return None
        what, _, at = _EVENT.unpack_from(data, start)
        numbers = struct.unpack_from("=4I", data.ljust(start + _EVENT.size + 16, b"\0"), start + _EVENT.size)
        if what == _FORK:
            return self._fork(at, numbers[1], *numbers[2:])
        if numbers[0] != numbers[1] or (space := self._spaces.get(numbers[0])) not in self._watched:
            return None
        if what == _EXEC:
            return _exec(space, at, numbers[0])
        if what == _EXIT:
            del self._spaces[numbers[0]]
            killed = numbers[2] & 0x7F
            return Exit(space, at, numbers[0], numbers[0], 128 + killed if killed else numbers[2] >> 8 & 0xFF)
        return None

    def _fork(self, at: int, parent: int, thread: int, child: int) -> Fork | None:
        if thread != child:
            return None
        inherited = self._spaces.get(parent)
        space = inherited if inherited is not None else _space(child)
        if space not in self._watched:
            return None
        if len(self._spaces) < _KNOWN:
            self._spaces[child] = space
        return Fork(space, at, child, _inner(child), parent, inherited is None)


def _space(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/ns/pid").stat().st_ino
    except OSError:
        return 0


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _inner(pid: int) -> int:
    return int(_status(pid).get("NSpid", str(pid)).split()[-1])


def _exec(space: int, at: int, pid: int) -> Exec:
    """What /proc still says of a process; if it has gone, only that there was one."""
    words: tuple[str, ...] = ()
    exe, status = "", _status(pid)
    with suppress(OSError):
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        words = tuple(word.decode("utf-8", "backslashreplace") for word in raw.split(b"\0")[:-1])
        exe = str(Path(f"/proc/{pid}/exe").readlink())
    uid = int(status["Uid"].split()[0]) if "Uid" in status else -1
    inner = int(status.get("NSpid", str(pid)).split()[-1])
    return Exec(space, at, pid, inner, uid, exe, words, cut=not words)
