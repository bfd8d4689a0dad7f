"""The processes of a host under gVisor, as its sentry tells of them; stands in for `processes.Processes`.

On this machine only the sentry, its helper and the threads that carry the host's programs are there, and none of them is any
one process of the host. Ids are those inside.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress

from sandbox.errors import BelljarError
from sandbox.hosts.gvisor import Sentry
from sandbox.hosts.processes import Process, Processes, ProcessFacts, process, send
from sandbox.sensors.sentrytrace import INIT, Guest, SentryTrace


class Guests:
    """The processes inside the sandbox of `sentry`, which `trace` listens to."""

    init = INIT

    def __init__(self, sentry: Sentry, trace: SentryTrace) -> None:
        self._sentry = sentry
        self._trace = trace
        self._outside = Processes(sentry.init)
        self._first = process(sentry.init)
        self._asked = itertools.count()

    async def pause(self) -> None:
        await asyncio.to_thread(self._sentry.freeze, still=True)

    async def resume(self) -> None:
        await asyncio.to_thread(self._sentry.freeze, still=False)

    def end(self) -> None:
        """Kill the sandbox, one that stands still too: nothing in it runs any more, as the sentry's end comes first."""
        if self._first is not None:
            send(self._first, signal.SIGKILL)
            with suppress(OSError, BelljarError):
                self._sentry.freeze(still=False)

    def init_lives(self) -> bool:
        return self._outside.init_lives()

    def alive(self) -> frozenset[Process]:
        return frozenset(map(_named, self._trace.guests().values()))

    def ids(self) -> list[int]:
        """Of the processes on this machine that carry the host's: they are what holds a file mapped."""
        return self._outside.ids()

    def activity(self, processes: Iterable[Process]) -> dict[Process, int]:
        """The sentry does not tell who did anything, so nobody is known to have been idle: no two answers are equal."""
        return {process: next(self._asked) for process in processes}

    def asleep(self) -> bool:
        """Not known either."""
        return False

    def born_of(self, shell: int, before: Collection[Process]) -> list[Process]:
        guests = self._trace.guests()
        new = {pid for pid, guest in guests.items() if _named(guest) not in before and pid not in (shell, INIT)}
        return [_named(guests[pid]) for pid in new if self._leads_to(guests, pid, shell, new)]

    def _leads_to(self, guests: dict[int, Guest], pid: int, shell: int, new: Collection[int]) -> bool:
        for _ in range(len(new) + 1):
            parent = guests[pid].parent
            if parent in (shell, INIT):
                return True
            if parent not in new:
                return False
            pid = parent
        return False

    def arguments(self) -> list[str]:
        return sorted("\0".join(guest.argv) for pid, guest in self._trace.guests().items() if pid != INIT)

    def arguments_of(self, pid: int) -> tuple[str, ...]:
        guest = self._trace.guests().get(pid)
        return guest.argv if guest is not None else ()

    def facts(self, process: Process) -> ProcessFacts | None:
        guest = self._trace.guests().get(process.pid)
        if guest is None or guest.started != process.started:
            return None
        return ProcessFacts(process, guest.parent, guest.pid, guest.argv, guest.exe, guest.uid)

    def find(self, pid: int) -> Process | None:
        guest = self._trace.guests().get(pid)
        return _named(guest) if guest is not None else None

    def folder_of(self, pid: int) -> str:
        guest = self._trace.guests().get(pid)
        return guest.folder if guest is not None else ""

    def waits_for_input(self, pid: int) -> bool:
        """Not known: whoever asks waits for the deadline."""
        return False

    async def send(self, processes: Iterable[Process], number: signal.Signals) -> None:
        guests = self._trace.guests()
        there = [each.pid for each in processes if each.pid in guests and _named(guests[each.pid]) == each]
        await asyncio.to_thread(self._sentry.signal, there, number)


def _named(guest: Guest) -> Process:
    return Process(guest.pid, guest.started)
