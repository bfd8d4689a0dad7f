"""The processes of one container as the host's kernel shows them: who is there, who begat whom, and signals that cannot miss.

A process is named by its id and its start time, since ids are used again. Read from the container's control group, which
nothing inside can leave.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import EnvironmentDied


class Process(NamedTuple):
    """`started` in clock ticks since the machine's boot."""

    pid: int
    started: int


class ProcessFacts(NamedTuple):
    """What is known of a process that is there; `inner` is its id as seen inside the container."""

    process: Process
    parent: int
    inner: int
    argv: tuple[str, ...]
    exe: str
    uid: int


class Processes:
    """The processes of the container whose first process has host id `init`. Raises EnvironmentDied if it is not there."""

    def __init__(self, init: int) -> None:
        self.init = init
        self._group = control_group(init)
        self._first = process(init)

    def init_lives(self) -> bool:
        """Whether the first process, and with it the container, is still there; known before the daemon knows."""
        return self._first is not None and process(self.init) == self._first

    def alive(self) -> frozenset[Process]:
        """All that run now, zombies left out."""
        found = set()
        for pid in self.ids():
            if (status := _status(pid)) is not None and status.state not in "ZX":
                found.add(Process(pid, status.started))
        return frozenset(found)

    def ids(self) -> list[int]:
        """Of all that have not been waited for, zombies among them, whose threads may live on."""
        try:
            return [int(line) for line in (self._group / "cgroup.procs").read_text().split()]
        except OSError:
            return []

    def activity(self, processes: Iterable[Process]) -> dict[Process, int]:
        """How often each has been given a processor so far, over all its threads; what stays equal did nothing between."""
        return {process: _switches(process.pid) for process in processes}

    def asleep(self) -> bool:
        """Whether every process waits for something to happen: none runs, wants to run, or waits for a disk."""
        return all((status := _status(pid)) is None or status.state in "SZXT" for pid in self.ids())

    def born_of(self, shell: int, before: Collection[Process]) -> list[Process]:
        """Those begun since `before` was taken that descend from `shell`, or whose parent has gone, so that `init` has them.

        What an older process begat (a service's worker, an earlier job's child) is not among them.
        """
        now = self.alive()
        new = {p.pid: p for p in now if p not in before and p.pid not in (shell, self.init)}
        return [process for process in new.values() if self._leads_to(process.pid, shell, new)]

    def _leads_to(self, pid: int, shell: int, new: Collection[int]) -> bool:
        for _ in range(len(new) + 1):
            status = _status(pid)
            if status is None:
                return True  # gone meanwhile: harmless to count
            if status.parent in (shell, self.init):
                return True
            if status.parent not in new:
                return False
            pid = status.parent
        return False

    def find(self, pid: int) -> Process | None:
        """See `process`."""
        return process(pid)

    def folder_of(self, pid: int) -> str:
        """See `folder_of`."""
        return folder_of(pid)

    def waits_for_input(self, pid: int) -> bool:
        """See `waits_for_input`."""
        return waits_for_input(pid)

    async def send(self, processes: Iterable[Process], number: signal.Signals) -> None:
        """See `send`."""
        for each in processes:
            send(each, number)

    def arguments(self) -> list[str]:
        """What runs, apart from the first process: each one's arguments on one line, sorted."""
        facts = [self.facts(process) for process in self.alive() if process.pid != self.init]
        return sorted("\0".join(known.argv) for known in facts if known is not None)

    def arguments_of(self, pid: int) -> tuple[str, ...]:
        """The words it was started with; empty if it has gone."""
        try:
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ()
        return tuple(os.fsdecode(word) for word in raw.split(b"\0")[:-1])

    def facts(self, process: Process) -> ProcessFacts | None:
        """What can be told of a process; None if it has gone."""
        base = Path("/proc") / str(process.pid)
        try:
            argv = self.arguments_of(process.pid)
            lines = dict(line.split(":\t", 1) for line in (base / "status").read_text().splitlines() if ":\t" in line)
            exe = str((base / "exe").readlink())
        except OSError:
            return None
        status = _status(process.pid)
        if status is None or status.started != process.started:
            return None
        inner = int(lines["NSpid"].split()[-1])
        return ProcessFacts(process, status.parent, inner, argv, exe, int(lines["Uid"].split()[0]))


def send(process: Process, number: signal.Signals) -> None:
    """Signal a process, or nobody if it has gone, also when its id is in use again."""
    with suppress(OSError):
        fd = os.pidfd_open(process.pid)
        try:
            status = _status(process.pid)
            if status is not None and status.started == process.started:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def process(pid: int) -> Process | None:
    """The process that has this id now; None for a zombie too."""
    status = _status(pid)
    return Process(pid, status.started) if status and status.state not in "ZX" else None


def folder_of(pid: int) -> str:
    """A process's working directory as it sees it itself; "" if it cannot be told."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def waits_for_input(pid: int) -> bool:
    """Whether a process sits in read(2) on its standard input right now."""
    try:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return False
    return call[:2] == ["0", "0x0"]


class _Status(NamedTuple):
    state: str
    parent: int
    started: int


def _status(pid: int) -> _Status | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return _Status(fields[0].decode(), int(fields[1]), int(fields[19]))


def _switches(pid: int) -> int:
    total = 0
    with suppress(OSError, ValueError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[2])
    return total


def control_group(pid: int, controller: str = "pids") -> Path:
    """The folder of the control group that bounds a process in this respect. Raises EnvironmentDied if it has gone."""
    try:
        lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    except OSError as error:
        raise EnvironmentDied(f"The container's first process ({pid}) is gone.") from error
    root = Path("/sys/fs/cgroup")
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            return root / controller / path.lstrip("/")
    unified = next(path for number, _, path in lines if number == "0").lstrip("/")
    return root / unified if (root / unified).is_dir() else root / "unified" / unified
