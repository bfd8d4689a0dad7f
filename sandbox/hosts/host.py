"""One host of a trial in Docker: its container, trees, processes and sensor, from start to removal.

Files in the trees are reached through the engine's own mount, all else through a process in the container, so that each
answer is the one that the host's ordinary user would get.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from sandbox.environment import FileError, FileInfo, HostFacts, HostSpec, Network, RunResult
from sandbox.errors import EnvironmentDied, InfrastructureError
from sandbox.events import ProbeResult
from sandbox.hosts.capture import STDERR, STDOUT, Bounded, Piece
from sandbox.hosts.confined import start_as_asked
from sandbox.hosts.daemon import Daemon, ExecState, Stream, collect
from sandbox.hosts.host_files import own_files, trusted
from sandbox.hosts.idmap import Ids, ids_of, require_ids
from sandbox.hosts.images import PREFIX
from sandbox.hosts.outside import seen_from_outside
from sandbox.hosts.processes import Process, Processes, process, send
from sandbox.hosts.shell import ARGV
from sandbox.hosts.trees import LinkedError, Trees, as_agent
from sandbox.isolation import AGENT_UID, create_request, environment_of, home_of
from sandbox.sensors.changes import Keep
from sandbox.sensors.looks import TreeSensor

T = TypeVar("T")

USER = f"{AGENT_UID}:{AGENT_UID}"

_OUTPUT_BYTES = 4 * 2**20
_SERVICE_SECONDS = 30.0
_SETTLING_SECONDS = 3.0
_FIND_TYPES = {"f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "b": "device", "c": "device"}

as_engine = ThreadPoolExecutor(4, "engine-files")
"""Threads for what the engine itself does with trees: mounting, looking, digesting."""


async def in_thread(executor: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, function)


class Host:
    """A host that is started by `start`, then `furnish`, and gone after `remove`.

    Between them `container` is its id, `init` its first process on this machine, `processes` all of them, `ids` how its users
    are mapped here, and `paused` says whether its processes stand still.
    """

    processes: Processes
    facts: HostFacts
    _request: Mapping[str, Any]

    def __init__(self, engine: Daemon, spec: HostSpec, folder: Path, keep: Keep) -> None:
        self.spec = spec
        self.trees = Trees(spec, folder)
        self.sensor = TreeSensor(folder, self.trees.paths, keep)
        self.container = ""
        self.init = 0
        self.ids: Ids | None = None
        self.paused = False
        self._engine = engine
        self._env = environment_of(spec)
        self._home = home_of(spec)

    async def start(self, network: Network | None, *, labels: Mapping[str, str], runtime: str) -> None:
        """Mount, create, start, compare. Raises as `DockerEnvironment` says; `remove` cleans up in any case."""
        name, engine = self.spec.id, self._engine
        image = await engine.call("Looking for an image", lambda: engine.image_id(PREFIX + self.spec.image))
        bundle = None
        if network is not None and (authority := network.authority):
            bundle = await engine.call("Reading an image's certificates", lambda: trusted(engine, image, authority))
        files = own_files(self.spec, network, bundle)
        self.ids = ids = await engine.call("Asking how users are mapped", lambda: ids_of(engine))
        await in_thread(as_engine, lambda: self.trees.mount(files, ids))
        self._request = create_request(self.spec, image=image, binds=self.trees.binds(files), labels=labels, runtime=runtime)
        self.container = await engine.create(self._request, f"Creating host {name}")
        self.init = await start_as_asked(engine, self.container, self._request, f"host {name}")
        require_ids(self.init, ids, name)
        self.processes = Processes(self.init)
        self.sensor.processes = self.processes.ids
        self.facts = HostFacts(self.spec.hostname, image, runtime, self.spec.address, engine.versions)

    def seen(self) -> list[ProbeResult]:
        """What the kernel says of the container, for the certificate. Blocks."""
        return seen_from_outside(self.spec.id, self.init, self._request)

    async def furnish(self) -> None:
        """Start what runs on the host; effects count from the state just before its services."""
        if self.spec.ssh:
            ran = await self.run(("/usr/local/sbin/start-sshd",), timeout=30)
            if ran.exit_code != 0:
                words = ran.stderr.decode(errors="replace")[:300]
                raise InfrastructureError(f"The SSH server of host {self.spec.id} did not start: {words}")
            await self._settled()  # it writes its id once it is in the background
        await in_thread(as_engine, self.sensor.start)
        for service in self.spec.services:
            doing = f"Starting service {service.id} on host {self.spec.id}"
            made = await self._exec(service.argv, user=USER, cwd=service.cwd, attach=False, doing=doing)
            await self._engine.exec_detached(made, doing)
            if service.port is not None:
                await self._listening(service.id, service.port)
        if self.spec.services:
            await self._settled()

    async def _listening(self, service: str, port: int) -> None:
        """Wait until something listens on `port` of this host."""
        deadline = time.monotonic() + _SERVICE_SECONDS
        while not _listens(self.init, port):
            if time.monotonic() > deadline:
                raise InfrastructureError(f"Service {service} of host {self.spec.id} does not listen on port {port}.")
            await asyncio.sleep(0.02)

    async def _settled(self) -> None:
        """Wait until what services do as they start is done, so that it is not taken for an effect of the agent's first call.

        One that is never idle is waited for a while only.
        """
        deadline = time.monotonic() + _SETTLING_SECONDS
        before = None
        while time.monotonic() < deadline:
            now = self.processes.activity(self.processes.alive())
            if now == before and self.processes.asleep():
                return
            before = now
            await asyncio.sleep(0.03)

    async def remove(self) -> None:
        """Kill, remove, unmount; safe to call whatever was reached."""
        try:
            if self.container:
                await self._engine.remove(self.container)
        finally:
            self.container, self.init = "", 0
            await in_thread(as_engine, self.trees.unmount)

    async def pause(self) -> None:
        await self._engine.pause(self.container)
        self.paused = True

    async def resume(self) -> None:
        await self._engine.unpause(self.container)
        self.paused = False

    async def open_shell(self) -> HostLine:
        """Start a bash for the held shell and take its channel."""
        doing = f"Opening a shell on host {self.spec.id}"
        made = await self._exec(ARGV, user=USER, cwd=self._home, attach=True, doing=doing)
        stream = await self._engine.attach(made, doing)
        try:
            for _ in range(200):
                state = await self._engine.exec_state(made, doing)
                if state.pid or state.exit_code is not None:
                    break
                await asyncio.sleep(0.01)
        except BaseException:
            stream.close()
            raise
        return HostLine(self, stream, made, state.pid)

    async def _exec(self, argv: Sequence[str], *, user: str, cwd: str, attach: bool, doing: str) -> str:
        return await self._engine.exec_create(
            self.container, argv, user=user, env=self._env, cwd=cwd, stdin=attach, attach=attach, doing=doing
        )

    async def exec_state(self, exec_id: str) -> ExecState:
        """Raises EnvironmentDied if the host itself has stopped, so that its end is never taken for a command's."""
        state = await self._engine.exec_state(exec_id, f"Looking at a process on host {self.spec.id}")
        inspected = await self._engine.inspect(self.container, f"Looking at host {self.spec.id}")
        if not inspected["State"]["Running"] or not self.processes.init_lives():
            memory = " for want of memory" if inspected["State"].get("OOMKilled") else ""
            raise EnvironmentDied(f"Host {self.spec.id} has stopped{memory}.")
        return state

    async def run(self, argv: Sequence[str], *, timeout: float, stdin: bytes = b"", user: str | None = None) -> RunResult:
        """See `environment.Environment.run`."""
        doing, started = f"Running {argv[0]} on host {self.spec.id}", time.monotonic()
        before = self.processes.alive()
        made = await self._exec(argv, user=user or USER, cwd=self._home, attach=True, doing=doing)
        stream = await self._engine.attach(made, doing)
        kept = {STDOUT: Bounded(_OUTPUT_BYTES), STDERR: Bounded(_OUTPUT_BYTES)}
        code: int | None = None
        try:
            async with asyncio.timeout(timeout):
                await collect(stream, stdin, kept)
                code = (await self._ended(made)).exit_code
        except TimeoutError:
            await self._kill((await self.exec_state(made)).pid, before)
        finally:
            stream.close()
        return RunResult(code, kept[STDOUT].value(), kept[STDERR].value(), int((time.monotonic() - started) * 1e6))

    async def _ended(self, exec_id: str) -> ExecState:
        """The state of an exec whose output has ended; it may close its output and live on, so this may wait."""
        pause = 0.005
        while True:
            state = await self._engine.exec_state(exec_id, f"Looking at a process on host {self.spec.id}")
            if state.exit_code is not None:
                return state if state.exit_code not in (137, 255) else await self.exec_state(exec_id)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.2)

    async def _kill(self, pid: int, before: frozenset[Process]) -> None:
        if not pid or (root := process(pid)) is None:
            return
        await self.pause()
        try:
            for each in (*self.processes.born_of(pid, before), root):
                send(each, signal.SIGKILL)
        finally:
            await self.resume()

    async def read(self, path: str, limit: int) -> bytes:
        path = self._absolute(path)
        if self.trees.holds(path):
            with suppress(LinkedError):
                return await in_thread(as_agent, lambda: self.trees.read(path, limit))
        script = 'test -p "$2" && echo "$2: Not a regular file" >&2 && exit 1; exec head -c "$1" -- "$2"'
        return await self._inside(path, script, str(limit), path)

    async def write(self, path: str, data: bytes, mode: int) -> None:
        path = self._absolute(path)
        if self.trees.holds(path):
            with suppress(LinkedError):
                return await in_thread(as_agent, lambda: self.trees.write(path, data, mode))
        script = (
            'mkdir -p -- "$(dirname -- "$2")" && { test -e "$2" || { : > "$2" && chmod "$1" -- "$2"; }; } && exec cat > "$2"'
        )
        await self._inside(path, script, f"{mode:o}", path, stdin=data)
        return None

    async def list(self, path: str) -> Sequence[FileInfo]:
        path = self._absolute(path)
        if self.trees.holds(path):
            with suppress(LinkedError):
                return await in_thread(as_agent, lambda: self.trees.list(path))
        script = r"""exec find -H "$1/" -mindepth 1 -maxdepth 1 -printf '%f\0%y\0%s\0%m\0%T@\0'"""
        return _listing(await self._inside(path, script, path))

    def _absolute(self, path: str) -> str:
        """Absolute, a relative one from the user's home, and without `.` or doubled slashes."""
        if "\0" in path or not path:
            raise FileError(path, os.strerror(22))
        return str(PurePosixPath(self._home) / path)

    async def _inside(self, path: str, script: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """Let the host's own user do it, in the container; what it complains of becomes a FileError."""
        ran = await self.run(("env", "LC_ALL=C", "sh", "-c", script, "sh", *arguments), timeout=30, stdin=stdin)
        if ran.exit_code != 0:
            words = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            raise FileError(path, words[-1].rpartition(": ")[2] if words else "Input/output error")
        return ran.stdout


class HostLine:
    """The shell's channel into a host; see `shell.Line`."""

    def __init__(self, host: Host, stream: Stream, exec_id: str, pid: int) -> None:
        self.pid = pid
        self._host = host
        self._stream = stream
        self._exec_id = exec_id

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def receive(self) -> list[Piece]:
        return await self._stream.receive()

    async def exit_code(self) -> int | None:
        for _ in range(20):
            state = await self._host.exec_state(self._exec_id)
            if state.exit_code is not None or process(self.pid) is not None:
                break
            await asyncio.sleep(0.02)  # the daemon learns of the end a little later than we do
        return state.exit_code

    def close(self) -> None:
        self._stream.close()


def _listing(raw: bytes) -> list[FileInfo]:
    fields = [os.fsdecode(field) for field in raw.split(b"\0")[:-1]]
    rows = zip(*[iter(fields)] * 5, strict=True)
    return sorted(
        FileInfo(name, _FIND_TYPES.get(kind, "device"), int(size), int(mode, 8) & 0o7777, int(float(mtime)))
        for name, kind, size, mode, mtime in rows
    )


def _listens(pid: int, port: int) -> bool:
    """Whether a TCP socket listens on `port` in the network namespace of `pid`."""
    wanted = f":{port:04X}"
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":
                    return True
    return False
