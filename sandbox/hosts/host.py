"""One host of a trial in Docker: its container, trees, processes and sensor, from start to removal.

Files in the trees are reached through the engine's own mount, all else through a process in the container, so that each
answer is the one that the host's ordinary user would get.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import tempfile
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
from sandbox.hosts.entering import MARK, entering
from sandbox.hosts.guests import Guests
from sandbox.hosts.gvisor import Sentry, sentry_of
from sandbox.hosts.host_files import own_files, trusted
from sandbox.hosts.idmap import Ids, ids_of, require_ids
from sandbox.hosts.images import PREFIX
from sandbox.hosts.outside import seen_from_outside
from sandbox.hosts.processes import Process, Processes, process
from sandbox.hosts.runtimes import is_gvisor
from sandbox.hosts.sandboxed import QUESTION, Answers, answered, seen_in_sandbox
from sandbox.hosts.shell import ARGV, Stopper
from sandbox.hosts.trees import LinkedError, Trees, as_agent
from sandbox.isolation import AGENT_UID, create_request, environment_of, home_of
from sandbox.sensors.changes import Keep
from sandbox.sensors.looks import TreeSensor
from sandbox.sensors.sentrytrace import SentryTrace
from sandbox.sensors.syslog import LINE_BYTES, hand_on
from sandbox.world.netns import apart, inside, open_namespace

T = TypeVar("T")

USER = f"{AGENT_UID}:{AGENT_UID}"

_OUTPUT_BYTES = 4 * 2**20
_SERVE = "/usr/local/sbin/start-sshd"
_SERVICE_SECONDS = 30.0
_SETTLING_SECONDS = 3.0
_ENTERING_LOOKS = 1000
_ASKING_SECONDS = 20.0
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

    processes: Processes | Guests
    facts: HostFacts
    _request: Mapping[str, Any]

    def __init__(self, engine: Daemon, spec: HostSpec, folder: Path, keep: Keep) -> None:
        self.spec = spec
        self.trees = Trees(spec, folder)
        self.sensor = TreeSensor(folder, self.trees.paths, keep)
        self.container = ""
        self.init = 0
        self.ids: Ids | None = None
        self.trace: SentryTrace | None = None
        self.paused = False
        self._engine = engine
        self._guests: Guests | None = None
        self._tokens: dict[str, str] = {}
        self._log: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
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
        if is_gvisor(engine.runtimes().get(runtime, {})):
            self._request = {**self._request, "Entrypoint": ["/usr/bin/env", "-i", *self._request["Entrypoint"]]}
        self.container = await engine.create(self._request, f"Creating host {name}")
        self.init = await start_as_asked(engine, self.container, self._request, f"host {name}")
        require_ids(self.init, ids, name)
        self.processes = await self._watched()
        self.sensor.processes = self.processes.ids
        self.facts = HostFacts(self.spec.hostname, image, runtime, self.spec.address, engine.versions)

    async def _watched(self) -> Processes | Guests:
        if (sentry := sentry_of(self.init, self.container)) is None:
            return Processes(self.init)
        settings = self._request["HostConfig"]["Sysctls"]
        await apart(lambda: _set_network(sentry.init, settings))
        self.trace = trace = SentryTrace(MARK)
        await in_thread(as_engine, lambda: _traced(sentry, trace))
        if self.spec.ssh:
            self._log = hand_on(self.spec.id, self.init)
        self._guests = Guests(sentry, trace)
        return self._guests

    async def seen(self) -> list[ProbeResult]:
        """What the kernel says of the container, for the certificate."""
        name, init, request, trace = self.spec.id, self.init, self._request, self.trace
        if trace is None:
            return await in_thread(as_engine, lambda: seen_from_outside(name, init, request))
        inside = answered((await self.run(QUESTION, timeout=_ASKING_SECONDS)).stdout)
        freely = await self._run_freely(("cat", "/proc/self/status"))
        answers = Answers(inside, freely, frozenset(trace.guests()))
        return await in_thread(as_engine, lambda: seen_in_sandbox(name, init, request, answers))

    async def _run_freely(self, argv: Sequence[str]) -> str:
        """What a process says that came into the sandbox with every right there and no filter: a control, never the agent's."""
        engine, doing = self._engine, f"Asking host {self.spec.id} as a control"
        made = await engine.exec_create(
            self.container, argv, user="0", env={}, cwd="/", stdin=False, attach=True, doing=doing, privileged=True
        )
        stream, kept = await engine.attach(made, doing), {STDOUT: Bounded(_OUTPUT_BYTES), STDERR: Bounded(_OUTPUT_BYTES)}
        try:
            async with asyncio.timeout(_ASKING_SECONDS):
                await collect(stream, b"", kept)
        finally:
            stream.close()
        return kept[STDOUT].value().decode(errors="replace")

    async def furnish(self) -> None:
        """Start what runs on the host; effects count from the state just before its services."""
        if self.spec.ssh and self._log is not None:
            await self._serve_held(self._log)
        elif self.spec.ssh:
            ran = await self.run((_SERVE,), timeout=30)
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

    async def _serve_held(self, log: socket.socket) -> None:
        """Start the SSH server in the foreground, and hand on what it says of logins."""
        doing = f"Starting the SSH server of host {self.spec.id}"
        argv = ("sh", "-c", f"exec sh -c \"$(sed '$s/$/ -D -e/' {_SERVE})\"")
        made = await self._exec(argv, user=USER, cwd="/", attach=True, doing=doing)
        stream = await self._engine.attach(made, doing)
        self._serving = asyncio.create_task(_handing_on(stream, log))
        await self._listening("ssh", 22)
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
            if self._serving is not None:
                self._serving.cancel()
            if self.trace is not None:
                self.trace.close()
            if self._guests is not None:
                await in_thread(as_engine, self._guests.end)
            if self.container:
                await self._engine.remove(self.container)
        finally:
            self.container, self.init = "", 0
            await in_thread(as_engine, self.trees.unmount)

    @property
    def stopper(self) -> Stopper:
        """Holds the host still while its processes are signalled; under gVisor a process inside does that, so it must run."""
        return self if self.trace is None else _Unstopped()

    async def pause(self) -> None:
        await (self._guests.pause() if self._guests is not None else self._engine.pause(self.container))
        self.paused = True

    async def resume(self) -> None:
        await (self._guests.resume() if self._guests is not None else self._engine.unpause(self.container))
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
        return HostLine(self, stream, made, await self._own_id(made, state.pid), state.pid)

    async def _exec(self, argv: Sequence[str], *, user: str, cwd: str, attach: bool, doing: str) -> str:
        token = secrets.token_hex(8) if self.trace is not None else ""
        argv = entering(argv, token) if token else argv
        made = await self._engine.exec_create(
            self.container, argv, user=user, env=self._env, cwd=cwd, stdin=attach, attach=attach, doing=doing
        )
        if token:
            self._tokens[made] = token
        return made

    async def _own_id(self, exec_id: str, pid: int) -> int:
        """What `processes` calls the process of an exec that the daemon calls `pid`; 0 if it was never told of."""
        if (trace := self.trace) is None:
            return pid
        for _ in range(_ENTERING_LOOKS):
            if own := trace.entered(self._tokens[exec_id]):
                return own
            await asyncio.sleep(0.01)
        return 0

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
            await self._kill(await self._own_id(made, (await self.exec_state(made)).pid), before)
        finally:
            stream.close()
            self._tokens.pop(made, None)
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
        if not pid or (root := self.processes.find(pid)) is None:
            return
        await self.stopper.pause()
        try:
            await self.processes.send((*self.processes.born_of(pid, before), root), signal.SIGKILL)
        finally:
            await self.stopper.resume()

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


class _Unstopped:
    async def pause(self) -> None: ...

    async def resume(self) -> None: ...


class HostLine:
    """The shell's channel into a host; see `shell.Line`."""

    def __init__(self, host: Host, stream: Stream, exec_id: str, pid: int, ends_with: int) -> None:
        self.pid = pid
        self.ends_with = ends_with
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
            if state.exit_code is not None or process(self.ends_with) is not None:
                break
            await asyncio.sleep(0.02)  # the daemon learns of the end a little later than we do
        return state.exit_code

    def close(self) -> None:
        self._stream.close()


async def _handing_on(stream: Stream, log: socket.socket) -> None:
    """Send each whole line of what an exec writes to `log`, until it ends."""
    rest = b""
    with suppress(OSError):
        try:
            while pieces := await stream.receive():
                *lines, rest = (rest + b"".join(piece.data for piece in pieces)).split(b"\n")
                for line in lines:
                    log.send(line.rstrip(b"\r")[:LINE_BYTES])
                rest = rest[-LINE_BYTES:]
        finally:
            stream.close()
            log.close()


def _set_network(init: int, settings: Mapping[str, str]) -> None:
    """Kernel settings of the network namespace of `init`, in a thread of its own: gVisor leaves them as they are."""
    namespace = open_namespace(init)
    try:
        with inside(namespace):
            for name, value in settings.items():
                Path("/proc/sys", *name.split(".")).write_text(value)
    finally:
        os.close(namespace)


def _traced(sentry: Sentry, trace: SentryTrace) -> None:
    with tempfile.TemporaryDirectory(prefix="belljar-") as folder:
        trace.connect(Path(folder), lambda address: sentry.trace(address, Path(folder) / "how.json"))


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
