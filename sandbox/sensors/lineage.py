"""Which call each process of one host belongs to: by who begat whom, from records in the order of time.

A child of the agent's shell belongs to the call that was open when it was begun; every other child to its parent's; what the
engine runs itself to the call that it carries out, or to the engine. A daemon keeps its call for as long as it lives.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sandbox.events import OriginBasis, ProcessEffect
from sandbox.sensors.exectrace import NAME, Connected, Exec, Exit, Fork, Record


class Cause(NamedTuple):
    """As an event's `origin` and `origin_basis`."""

    call: str | None = None
    basis: OriginBasis | None = None


CONNECTIONS = 20_000
"""How many of the last ones are known."""

NOBODY = Cause()
ENGINE = Cause(None, "engine")


class Calls:
    """When which call was open, on the monotonic clock."""

    def __init__(self) -> None:
        self._spans: deque[tuple[str, int, int]] = deque(maxlen=256)
        self._open: tuple[str, int] | None = None

    def begin(self, call: str) -> None:
        self._open = (call, time.monotonic_ns())

    def end(self) -> None:
        if self._open is not None:
            call, began = self._open
            self._spans.append((call, began, time.monotonic_ns()))
            self._open = None

    def at(self, ns: int) -> str | None:
        """The call that was open at a time."""
        if self._open is not None and ns >= self._open[1]:
            return self._open[0]
        return next((call for call, began, ended in reversed(self._spans) if began <= ns <= ended), None)


@dataclass(slots=True)
class Life:
    """What is known of one process; `argv` only of those that are nobody's, whose end the agent may have brought about."""

    inner: int
    cause: Cause
    parent: int | None = None
    exe: str = ""
    argv: tuple[str, ...] = ()
    ran: bool = False
    over: bool = False


class Told(NamedTuple):
    """A process effect, when it was, and whose."""

    effect: ProcessEffect
    at_ns: int
    cause: Cause


class Lineage:
    """The processes of one host; `shells` are the ids, past and present, of the agent's own shell there."""

    def __init__(self, calls: Calls) -> None:
        self.shells: set[int] = set()
        self._calls = calls
        self._lives: dict[int, Life] = {}
        self._twice: set[int] = set()
        self._over: list[int] = []
        self._connections: OrderedDict[tuple[int, str, int], Cause] = OrderedDict()
        self._from_port: dict[int, dict[tuple[str, int], Cause]] = {}

    def given(self, pid: int, inner: int, argv: tuple[str, ...] = (), exe: str = "") -> None:
        """A process that was there before the first record: the scenario's own, whose end is told of, or the shell."""
        self._lives.setdefault(pid, Life(inner, NOBODY, exe=exe, argv=argv, ran=bool(argv)))

    def feed(self, records: Iterable[Record]) -> list[Told]:
        """Take records in; returns those that are effects: an exec, and the exit of what had been one."""
        told = []
        for record in records:
            match record:
                case Fork():
                    self._fork(record)
                case Exec():
                    told.append(self._exec(record))
                case Exit():
                    told += self._exit(record)
                case Connected():
                    self._connect(record)
        return told

    def cause(self, pid: int) -> Cause | None:
        """Whose a process is; None for the agent's shell, whose every deed is the open call's. NOBODY if it cannot be told."""
        if pid in self.shells:
            return None
        life = self._lives.get(pid)
        return NOBODY if life is None or pid in self._twice else life.cause

    def connected(self, port: int, address: str, to_port: int) -> Cause:
        """Whose the last TCP connection between these ends is; NOBODY if it cannot be told."""
        return self._connections.get((port, address, to_port), NOBODY)

    def connected_from(self, port: int) -> Cause:
        """Whose the TCP connections from this port are; NOBODY if there is none, or if they are not all the same one's."""
        causes = set(self._from_port.get(port, {}).values())
        return next(iter(causes)) if len(causes) == 1 else NOBODY

    def settle(self) -> None:
        """All deeds of the processes that were over when this was last called have been read: forget them."""
        for pid in self._over:
            if (life := self._lives.get(pid)) is not None and life.over:
                del self._lives[pid]
        self._over = [pid for pid, life in self._lives.items() if life.over]
        self._twice.clear()

    def _fork(self, record: Fork) -> None:
        call = self._calls.at(record.at_ns)
        parent = self._lives.get(record.parent)
        if record.entered:
            cause = Cause(call, "process_tree") if call else ENGINE
        elif record.parent in self.shells:
            cause = Cause(call, "process_tree") if call else NOBODY
        else:
            cause = parent.cause if parent is not None else NOBODY
        earlier = self._lives.get(record.pid)
        if earlier is not None and earlier.cause != cause:
            self._twice.add(record.pid)
        inner = parent.inner if parent is not None and not record.entered else None
        self._lives[record.pid] = Life(record.inner, cause, inner)

    def _exec(self, record: Exec) -> Told:
        life = self._lives.get(record.pid)
        if life is None or life.over:  # of one that is over, another has the id, and its birth was missed
            life = self._lives[record.pid] = Life(record.inner, NOBODY)
        life.exe, life.ran = record.exe, True
        life.argv = record.argv if life.cause == NOBODY else ()
        if record.uid < 0:  # it had gone before it could be looked at
            record = record._replace(inner=life.inner)
        effect = ProcessEffect(
            action="started",
            pid=record.inner,
            parent=life.parent,
            argv=record.argv,
            exe=record.exe,
            uid=record.uid if record.uid >= 0 else None,
            sensor=NAME,
        )
        return Told(effect, record.at_ns, self._whose(record.pid, life, record.at_ns))

    def _exit(self, record: Exit) -> list[Told]:
        life = self._lives.get(record.pid)
        if life is None or life.over:
            return []
        life.over = True
        if not life.ran or record.pid in self.shells:
            return []
        effect = ProcessEffect(
            action="exited",
            pid=life.inner,
            parent=life.parent,
            argv=life.argv,
            exe=life.exe,
            exit_code=record.code,
            sensor=NAME,
        )
        return [Told(effect, record.at_ns, self._whose(record.pid, life, record.at_ns))]

    def _connect(self, record: Connected) -> None:
        life = self._lives.get(record.pid)
        cause = self._whose(record.pid, life, record.at_ns) if life is not None else NOBODY
        if cause.basis == "process_tree":
            cause = Cause(cause.call, "socket_owner")
        key = (record.port, record.address, record.to_port)
        self._connections[key] = cause
        self._connections.move_to_end(key)
        self._from_port.setdefault(record.port, {})[key[1:]] = cause
        if len(self._connections) > CONNECTIONS:
            (port, address, to_port), _ = self._connections.popitem(last=False)
            del self._from_port[port][address, to_port]
            if not self._from_port[port]:
                del self._from_port[port]

    def _whose(self, pid: int, life: Life, at_ns: int) -> Cause:
        if pid not in self.shells:
            return life.cause
        call = self._calls.at(at_ns)
        return Cause(call, "process_tree") if call else ENGINE
