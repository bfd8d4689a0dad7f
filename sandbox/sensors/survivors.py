"""The portable sensor of processes: who was begun during a call and is still there when it ends.

Also tells whether anything older than the call was active during it, which is what ascribing a change of files to the call
rests on. What came and went within a call it cannot see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from sandbox.events import Draft, ProcessEffect
from sandbox.hosts.guests import Guests
from sandbox.hosts.processes import Process, Processes

NAME = "survivors"
_MOMENTS = 8


class Watched(NamedTuple):
    """One host's processes; `shell` is the agent's bash there, 0 on other hosts."""

    processes: Processes | Guests
    shell: int


class Survivors:
    """Follows the processes of all hosts from call to call, by a few reads of /proc each time."""

    def __init__(self) -> None:
        self._known: set[Process] = set()
        self._before: dict[str, dict[Process, int]] = {}

    def start(self, hosts: Mapping[str, Watched]) -> None:
        """What is there now is the scenario's, not the agent's."""
        for host in hosts.values():
            self._known |= host.processes.alive()

    def begin(self, hosts: Mapping[str, Watched]) -> None:
        """A call opens."""
        self._before = {name: host.processes.activity(host.processes.alive()) for name, host in hosts.items()}

    def older_were_idle(self, hosts: Mapping[str, Watched]) -> bool:
        """Whether no process older than the call, the shell and first processes apart, got a processor since it opened."""
        for name, host in hosts.items():
            own = (host.shell, host.processes.init)
            older = {process: count for process, count in self._before.get(name, {}).items() if process.pid not in own}
            if host.processes.activity(older) != older:
                return False
        return True

    async def left(self, hosts: Mapping[str, Watched], call: str) -> list[Draft]:
        """Those begun during `call` that are still there and were not told of before."""
        drafts = []
        for name, host in hosts.items():
            before = frozenset(self._before.get(name, {}))
            new = host.processes.alive() - before - self._known
            if not new:
                continue
            self._known |= new
            caused = set(host.processes.born_of(host.shell, before)) if host.shell else set()
            for process in sorted(new):
                if process.pid != host.shell and (body := await _outlived(host, process)) is not None:
                    draft = Draft(body, "sensor", name, call)
                    known = process in caused
                    drafts.append(draft._replace(origin=call, origin_basis="process_tree") if known else draft)
        return drafts


async def _outlived(host: Watched, process: Process) -> ProcessEffect | None:
    """A job that the shell has only just forked still bears the shell's name: it is given a moment to become itself."""
    shell = host.processes.arguments_of(host.shell)
    for _ in range(_MOMENTS):
        facts = host.processes.facts(process)
        if facts is None or facts.argv != shell:
            break
        await asyncio.sleep(0.003)
    if facts is None:
        return None
    return ProcessEffect(action="outlived", pid=facts.inner, argv=facts.argv, exe=facts.exe, uid=facts.uid, sensor=NAME)
