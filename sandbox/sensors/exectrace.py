"""Every fork, exec, exit and TCP connection inside the trials' containers, told by the kernel as it happens.

Four small programs (`sandbox/sensors/bpf.py`) at the kernel's own tracepoints write one record each into a ring, for the
process-id namespaces that were asked for and no others. The arguments are read where the kernel has just put them, so that no
process is too short-lived and nothing it does later changes them; records have lengths, so no argument can forge another.
Needs root and a kernel with BTF and ring buffers (5.8 or later); no files, no compiler, no other program.

Only the first `ARGS_BYTES` of a process's arguments are kept; `Exec.cut` says so.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from socket import inet_ntoa, ntohs
from typing import NamedTuple, TypeVar

from sandbox.sensors.bpf import CTX, FP, Map, Program, Ring, attach
from sandbox.sensors.btf import Layout

NAME = "exectrace"
ARGS_BYTES = 8192
RING_BYTES = 8 * 2**20
SPACES = 4096

_EXE_BYTES = 256
_HEAD = struct.Struct("<IIQIIIIiIII")
_EXE = _HEAD.size
_ARGS = _EXE + _EXE_BYTES

_LOOKUP, _UPDATE, _DELETE, _KTIME, _UID, _CURRENT = 1, 2, 3, 5, 15, 35
_READ_USER, _READ, _READ_STRING, _OUTPUT = 112, 113, 115, 130
_SYN_SENT = 2
_NO_WAKEUP = 1

_WANTED = {
    "task_struct": ("pid", "tgid", "mm", "exit_code", "thread_pid", "group_leader"),
    "mm_struct": ("arg_start", "arg_end"),
    "pid": ("level", "numbers"),
    "upid": ("nr", "ns"),
    "pid_namespace": ("ns",),
    "ns_common": ("inum",),
    "linux_binprm": ("interp",),
    "sock_common": ("skc_daddr", "skc_dport", "skc_family"),
    "inet_sock": ("inet_sport",),
}
_UPID_BYTES = 16
_M = TypeVar("_M", bound=Map)


class Fork(NamedTuple):
    """`space` is the inode number of the child's pid namespace, `at_ns` of the monotonic clock; ids are this machine's, `inner`
    the one inside the container. `entered` says that the parent stands outside any container: an exec of the engine's."""

    space: int
    at_ns: int
    pid: int
    inner: int
    parent: int
    entered: bool


class Exec(NamedTuple):
    space: int
    at_ns: int
    pid: int
    inner: int
    uid: int
    exe: str
    argv: tuple[str, ...]
    cut: bool


class Exit(NamedTuple):
    """`code` as a shell would give it: 128 and the signal's number for a process that was killed."""

    space: int
    at_ns: int
    pid: int
    inner: int
    code: int


class Connected(NamedTuple):
    """A TCP connection that process `pid` asked for was answered or refused; `address` and ports as they stand on the wire."""

    space: int
    at_ns: int
    pid: int
    port: int
    address: str
    to_port: int


Record = Fork | Exec | Exit | Connected


def space_of(pid: int) -> int:
    """The inode number of a process's pid namespace. Raises OSError when it has gone."""
    return Path(f"/proc/{pid}/ns/pid").stat().st_ino


class ExecTrace:
    """Listens from its making until `close`. Raises OSError or ValueError where this machine cannot."""

    def __init__(self, ring_bytes: int = RING_BYTES) -> None:
        layout, self._level = _layout(), _own_level()
        self._fds: list[int] = []
        self._maps: list[Map] = []
        try:
            self._ring = self._own(Ring(ring_bytes))
            self._spaces = self._own(Map.table(4, SPACES))
            self._lost = self._own(Map.array(8, 1))
            scratch = self._own(Map.scratch(_ARGS + ARGS_BYTES, len(_PROGRAMS)))
            asking = self._own(Map.latest(8, 16384))
            for number, (tracepoint, write) in enumerate(_PROGRAMS):
                parts = _Parts(layout, self._level, self._ring, self._spaces, self._lost, scratch, asking, number)
                program = write(parts).load_into_kernel()
                self._fds += [program, attach(tracepoint, program)]
        except BaseException:
            self.close()
            raise
        self._lost_before = 0

    def _own(self, table: _M) -> _M:
        self._maps.append(table)
        return table

    def watch(self, space: int) -> None:
        """Tell of this pid namespace from now on. Raises OSError when there are too many."""
        self._spaces[space] = struct.pack("<I", 1)

    def forget(self, space: int) -> None:
        del self._spaces[space]

    def take(self, most: int) -> Iterator[Record]:
        """What lies in the ring now, in order, at most `most` records."""
        for raw in self._ring.take(most):
            yield _record(raw, self._level)

    @property
    def empty(self) -> bool:
        return self._ring.empty

    def lost(self) -> int:
        """How many records found no room since this was last asked."""
        (total,) = struct.unpack("<Q", self._lost[0])
        lost, self._lost_before = total - self._lost_before, total
        return int(lost)

    def close(self) -> None:
        for fd in reversed(self._fds):
            os.close(fd)
        for table in self._maps:
            table.close()
        self._fds, self._maps = [], []


def _record(raw: bytes, level: int) -> Record:
    kind, space, at, pid, inner, parent, uid, code, size, length, exe_size = _HEAD.unpack_from(raw)
    if kind == 0:
        return Fork(space, at, pid, inner, parent, uid <= level)
    if kind == 3:
        return Connected(space, at, pid, ntohs(parent), inet_ntoa(struct.pack("<I", inner)), ntohs(uid))
    if kind == 2:
        number = code & 0x7F
        return Exit(space, at, pid, inner, 128 + number if number else code >> 8 & 0xFF)
    exe = raw[_EXE : _EXE + max(exe_size - 1, 0)].decode("utf-8", "backslashreplace")
    arguments = raw[_ARGS : _ARGS + length]
    words = arguments.removesuffix(b"\0").split(b"\0") if arguments else []
    return Exec(space, at, pid, inner, uid, exe, tuple(w.decode("utf-8", "backslashreplace") for w in words), size > length)


@lru_cache(maxsize=1)
def _layout() -> Layout:
    return Layout(_WANTED)


def _own_level() -> int:
    """How deep in pid namespaces this process itself is, as far as it can see: its own names for itself, less one."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("NSpid:"))
    return len(line.split()) - 2


class _Parts(NamedTuple):
    layout: Layout
    level: int
    ring: Ring
    spaces: Map
    lost: Map
    scratch: Map
    asking: Map
    number: int


TASK, RECORD, PID, SIZE = 6, 7, 8, 9
"""Registers: the process told of; its record in the scratch room; then its `struct pid`, later the record's size."""


def _fork(parts: _Parts) -> Program:
    program = Program()
    program.load(TASK, CTX, 8)
    _begin(program, parts)
    layout = parts.layout
    program.call(_CURRENT)
    _follow(program, 0, layout["task_struct", "group_leader"])
    _follow(program, 3, layout["task_struct", "thread_pid"])
    program.move(PID, 3)
    _number(program, parts, 3)
    program.store(RECORD, 24, 3, 4)
    _follow(program, PID, layout["pid", "level"], 4)
    program.store(RECORD, 28, 3, 4)
    _finish(program, parts)
    return program


def _exit(parts: _Parts) -> Program:
    program = Program()
    program.load(TASK, CTX, 0)
    _begin(program, parts)
    _follow(program, TASK, parts.layout["task_struct", "exit_code"], 4)
    program.store(RECORD, 32, 3, 4)
    _finish(program, parts)
    return program


def _exec(parts: _Parts) -> Program:
    program, layout = Program(), parts.layout
    program.load(TASK, CTX, 0)
    program.load(3, CTX, 16)
    program.store(FP, -64, 3)
    _begin(program, parts)
    program.load(3, FP, -64)
    _follow(program, 3, layout["linux_binprm", "interp"])
    program.move(1, RECORD)
    program.add(1, _EXE)
    program.set(2, _EXE_BYTES)
    program.call(_READ_STRING)
    program.store(RECORD, 44, 0, 4)
    _follow(program, TASK, layout["task_struct", "mm"])
    program.store(FP, -64, 3)
    _follow(program, 3, layout["mm_struct", "arg_end"])
    program.store(FP, -56, 3)
    program.load(3, FP, -64)
    _follow(program, 3, layout["mm_struct", "arg_start"])
    program.load(SIZE, FP, -56)
    program.subtract(SIZE, 3)
    program.store(RECORD, 36, SIZE, 4)
    program.jump_up_to(SIZE, ARGS_BYTES, "fits")
    program.set(SIZE, ARGS_BYTES)
    program.label("fits")
    program.move(1, RECORD)
    program.add(1, _ARGS)
    program.move(2, SIZE)
    program.call(_READ_USER)
    program.jump_equal(0, 0, "read")
    program.set(SIZE, 0)
    program.label("read")
    program.store(RECORD, 40, SIZE, 4)
    program.add(SIZE, _ARGS)
    _finish(program, parts, whole=True)
    return program


def _connect(parts: _Parts) -> Program:
    """A socket remembers who asked when it begins to connect, and is told of when that has ended one way or the other."""
    program, layout = Program(), parts.layout
    program.load(3, CTX, 0)
    program.store(FP, -48, 3)
    program.load(4, CTX, 16)
    program.jump_equal(4, _SYN_SENT, "asks")
    program.load(4, CTX, 8)
    program.jump_equal(4, _SYN_SENT, "ended")
    program.jump("out")
    program.label("asks")
    program.call(_CURRENT)
    _follow(program, 0, layout["task_struct", "group_leader"])
    program.move(TASK, 3)
    _begin(program, parts)
    program.load(3, RECORD, 4, 4)
    program.store(FP, -40, 3, 4)
    program.load(3, RECORD, 16, 4)
    program.store(FP, -36, 3, 4)
    _keyed(program, parts.asking)
    program.move(3, FP)
    program.add(3, -40)
    program.set(4, 0)
    program.call(_UPDATE)
    program.jump("out")
    program.label("ended")
    _keyed(program, parts.asking)
    program.call(_LOOKUP)
    program.jump_equal(0, 0, "out")
    program.load(3, 0, 0)
    program.store(FP, -40, 3)
    _keyed(program, parts.asking)
    program.call(_DELETE)
    _record_room(program, parts)
    program.load(3, FP, -40, 4)
    program.store(RECORD, 4, 3, 4)
    program.load(3, FP, -36, 4)
    program.store(RECORD, 16, 3, 4)
    program.load(TASK, FP, -48)
    fields = (("sock_common", "skc_daddr", 20, 4), ("inet_sock", "inet_sport", 24, 2), ("sock_common", "skc_dport", 28, 2))
    for outer, member, place, size in fields:
        _follow(program, TASK, layout[outer, member], size)
        program.store(RECORD, place, 3, 4)
    _finish(program, parts)
    return program


def _keyed(program: Program, table: Map) -> None:
    """r1, r2: a table, and the socket that is looked at as its key."""
    program.map(1, table)
    program.move(2, FP)
    program.add(2, -48)


def _begin(program: Program, parts: _Parts) -> None:
    """Leave at `out` unless TASK leads its threads and lives in a watched namespace; else fill RECORD's first fields."""
    layout = parts.layout
    _follow(program, TASK, layout["task_struct", "tgid"], 4)
    program.store(FP, -24, 3)
    _follow(program, TASK, layout["task_struct", "pid"], 4)
    program.load(4, FP, -24)
    program.jump_different(3, 4, "out")
    _follow(program, TASK, layout["task_struct", "thread_pid"])
    program.move(PID, 3)
    _follow(program, PID, layout["pid", "level"], 4)
    program.jump_up_to(3, parts.level, "out")
    numbers = layout["pid", "numbers"] + _UPID_BYTES * (parts.level + 1)
    _follow(program, PID, numbers + layout["upid", "ns"])
    _follow(program, 3, layout["pid_namespace", "ns"] + layout["ns_common", "inum"], 4)
    program.store(FP, -24, 3)
    program.map(1, parts.spaces)
    program.move(2, FP)
    program.add(2, -24)
    program.call(_LOOKUP)
    program.jump_equal(0, 0, "out")
    _record_room(program, parts)
    program.load(3, FP, -24, 4)
    program.store(RECORD, 4, 3, 4)
    program.move(3, PID)
    _number(program, parts, 3)
    program.store(RECORD, 16, 3, 4)
    _follow(program, PID, numbers + layout["upid", "nr"], 4)
    program.store(RECORD, 20, 3, 4)
    program.call(_UID)
    program.store(RECORD, 28, 0, 4)


def _record_room(program: Program, parts: _Parts) -> None:
    """RECORD: room for one, with its kind and time."""
    program.store_number(FP, -32, parts.number)
    program.map(1, parts.scratch)
    program.move(2, FP)
    program.add(2, -32)
    program.call(_LOOKUP)
    program.jump_equal(0, 0, "out")
    program.move(RECORD, 0)
    program.store_number(RECORD, 0, parts.number)
    program.call(_KTIME)
    program.store(RECORD, 8, 0)


def _number(program: Program, parts: _Parts, pid: int) -> None:
    """r3: the number of a `struct pid` as this process sees it."""
    _follow(program, pid, parts.layout["pid", "numbers"] + _UPID_BYTES * parts.level + parts.layout["upid", "nr"], 4)


def _follow(program: Program, base: int, offset: int, size: int = 8) -> None:
    """r3 = the `size` bytes at a kernel address, zero where it cannot be read. Uses the stack's first 8 bytes."""
    if base != 3:
        program.move(3, base)
    program.add(3, offset)
    program.set(1, 0)
    program.store(FP, -8, 1)
    program.move(1, FP)
    program.add(1, -8)
    program.set(2, size)
    program.call(_READ)
    program.load(3, FP, -8)


def _finish(program: Program, parts: _Parts, *, whole: bool = False) -> None:
    """Put RECORD into the ring, SIZE bytes of it if `whole` and else its head, or count it as lost."""
    program.map(1, parts.ring)
    program.move(2, RECORD)
    if whole:
        program.move(3, SIZE)
    else:
        program.set(3, _HEAD.size)
    program.set(4, _NO_WAKEUP)
    program.call(_OUTPUT)
    program.jump_equal(0, 0, "out")
    program.store_number(FP, -32, 0)
    program.map(1, parts.lost)
    program.move(2, FP)
    program.add(2, -32)
    program.call(_LOOKUP)
    program.jump_equal(0, 0, "out")
    program.set(1, 1)
    program.increment(0, 1)
    program.label("out")
    program.set(0, 0)
    program.exit()


_PROGRAMS: tuple[tuple[str, Callable[[_Parts], Program]], ...] = (
    ("sched_process_fork", _fork),
    ("sched_process_exec", _exec),
    ("sched_process_exit", _exit),
    ("inet_sock_set_state", _connect),
)
