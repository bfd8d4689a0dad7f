"""The environment in Docker: hosts as hardened containers on writable trees of the engine's, one shell, sensors outside.

    __aenter__   mount trees, create + start every host at once, compare each with what was asked, join the network,
                 start SSH servers and services, take the sensors' first look, open the agent's shell
    __aexit__    close the shell, take the network down, remove the containers, unmount the trees - whatever went wrong

The agent's commands go through the held shell (`sandbox/shell.py`), files in the trees through the engine's own mount
(`sandbox/trees.py`), all else through a process in the container, so each answer is the one that the host's user would get.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, TypeVar

from sandbox import processes as proc
from sandbox import shell as shells
from sandbox.capture import Piece
from sandbox.certificate import certificate
from sandbox.daemon import LABELS, Daemon, Stream, collect, daemon
from sandbox.environment import (
    EnvironmentSpec,
    FileError,
    FileInfo,
    HostFacts,
    HostSpec,
    Network,
    RunResult,
    ShellResult,
)
from sandbox.errors import ContainmentError, EnvironmentDied, InfrastructureError, ScenarioError, UsageError
from sandbox.events import ContainmentCertificate, Draft, ProbeResult, ProcessEffect, SensorState
from sandbox.images import PREFIX
from sandbox.isolation import AGENT_UID, create_request, differences, environment_of, home_of
from sandbox.sensors import NAME, Keep, TreeSensor, in_memory, state_lines
from sandbox.trees import MOUNT_ROOT, Linked, Trees, as_agent

T = TypeVar("T")

_OUTPUT_BYTES = 4 * 2**20
_engine_files = ThreadPoolExecutor(4, "engine-files")
_VOLATILE = ("/run/sshd/",)
"""Host keys and pid files: new in every trial, so no part of the state digest."""


@dataclass
class _Host:
    """One host while the trial lasts."""

    spec: HostSpec
    trees: Trees
    own_files: dict[str, bytes]
    sensor: TreeSensor
    container: str = ""
    init: int = 0
    facts: HostFacts | None = None
    processes: proc.Processes | None = None

    @property
    def user(self) -> str:
        return f"{AGENT_UID}:{AGENT_UID}"


class DockerEnvironment:
    """See `environment.Environment`, which this implements.

    Args:
        spec: hosts and world.
        trial: names the trial in labels and folders; need not be unique.
        labels: further labels of the containers, e.g. {"belljar.run": "..."}.
        network: what joins the hosts; None leaves each without any network.
        keep: where contents that effects cite are stored.
        runtime: the OCI runtime of all hosts, as the daemon knows it.

    Entering raises NotReadyError (no daemon, image or right to mount), ScenarioError (a host that cannot be),
    ContainmentError (a container differs from what was asked) or InfrastructureError, and leaves nothing behind then.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        *,
        trial: str,
        labels: Mapping[str, str] | None = None,
        network: Network | None = None,
        keep: Keep = in_memory,
        runtime: str = "runc",
    ) -> None:
        if not spec.hosts or len({host.id for host in spec.hosts}) != len(spec.hosts):
            raise ScenarioError("An environment needs hosts with different ids.", "Name at least one.")
        self._spec = spec
        self._network = network
        self._runtime = runtime
        self._labels = {**(labels or {}), LABELS.own: "1", LABELS.trial: trial, LABELS.engine: engine_mark()}
        self._folder = MOUNT_ROOT / f"{_safe(trial)}-{secrets.token_hex(4)}"
        self._hosts = {host.id: self._prepared(host, keep) for host in spec.hosts}
        self._agent = self._hosts[spec.hosts[0].id]
        self._shell: shells.Shell | None = None
        self._calls: list[str] = []
        self._open: str | None = None
        self._before: dict[str, Mapping[proc.Process, int]] = {}
        self._quiet = True
        self._known: set[proc.Process] = set()
        self._pending: list[Draft] = []

    def _prepared(self, host: HostSpec, keep: Keep) -> _Host:
        trees = Trees(host, self._folder / host.id)
        return _Host(host, trees, {}, TreeSensor(trees.root, trees.paths, keep))

    @property
    def hosts(self) -> Mapping[str, HostFacts]:
        """All hosts by id, the agent's first."""
        return {name: host.facts for name, host in self._hosts.items() if host.facts is not None}

    @property
    def pids(self) -> Mapping[str, int]:
        """Host id of each container's first process."""
        return {name: host.init for name, host in self._hosts.items()}

    async def __aenter__(self) -> DockerEnvironment:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stop()

    async def _start(self) -> None:
        engine = daemon()
        if self._network is not None:
            self._network.begin()
        async with _together() as group:
            for host in self._hosts.values():
                group.create_task(self._start_host(engine, host))
        if self._network is not None:
            await self._network.join(self.pids)
        async with _together() as group:
            for host in self._hosts.values():
                group.create_task(self._furnish(engine, host))
            shell = group.create_task(self._open_shell())
        self._shell = shell.result()
        for host in self._hosts.values():
            self._known |= host_processes(host).alive()
        covers = SensorState(sensor=NAME, state="started", covers=("files",), hosts=tuple(self._hosts))
        self._pending.append(Draft(covers, source="sensor"))

    async def _start_host(self, engine: Daemon, host: _Host) -> None:
        image = await engine.call("Looking for an image", lambda: engine.image_id(PREFIX + host.spec.image))
        host.own_files.update(_own_files(host.spec, self._network, await _bundle(engine, image, self._network)))
        await _in(_engine_files, lambda: host.trees.mount(host.own_files))
        request = create_request(
            host.spec,
            image=image,
            binds=host.trees.binds(host.own_files),
            labels={**self._labels, LABELS.host: host.spec.id},
            runtime=self._runtime,
        )
        host.container = await engine.create(request, f"Creating host {host.spec.id}")
        inspected = await engine.start(host.container, f"Starting host {host.spec.id}")
        if different := differences(request, inspected):
            raise ContainmentError(f"Host {host.spec.id} is not what was asked for: {'; '.join(different)}.")
        host.init = int(inspected["State"]["Pid"])
        if not host.init:
            raise EnvironmentDied(
                f"Host {host.spec.id} ended as it was started: {inspected['State'].get('Error') or 'no reason given'}."
            )
        host.processes = proc.Processes(host.init)
        host.facts = HostFacts(host.spec.hostname, image, self._runtime, host.spec.address, engine.versions)

    async def _furnish(self, engine: Daemon, host: _Host) -> None:
        """Start what runs on the host, then take the state that effects count from."""
        if host.spec.ssh:
            ran = await self._run(host, ("/usr/local/sbin/start-sshd",), timeout=30, user=None)
            if ran.exit_code != 0:
                raise InfrastructureError(
                    f"The SSH server of host {host.spec.id} did not start: {ran.stderr.decode(errors='replace')[:300]}"
                )
        await _in(_engine_files, host.sensor.start)
        for service in host.spec.services:
            doing = f"Starting service {service.id} on host {host.spec.id}"
            made = await engine.exec_create(
                host.container,
                service.argv,
                user=host.user,
                env=environment_of(host.spec),
                cwd=service.cwd,
                attach=False,
                doing=doing,
            )
            await engine.exec_detached(made, doing)

    async def _open_shell(self) -> shells.Shell:
        agent = self._agent
        shell = shells.Shell(
            lambda: _open_line(agent), host_processes(agent), _Stopper(agent.container), capture_bytes=self._spec.capture_bytes
        )
        await shell.start()
        return shell

    async def _stop(self) -> None:
        """Take everything down; each part also when another fails, and a second interrupt waits for it."""
        task = asyncio.ensure_future(self._take_down())
        interrupted: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                interrupted = error
        task.result()
        if interrupted is not None:
            raise interrupted

    async def _take_down(self) -> None:
        shell, self._shell = self._shell, None
        steps = [shell.close()] if shell is not None else []
        if self._network is not None:
            steps.append(self._network.leave())
        results = await asyncio.gather(*steps, return_exceptions=True)
        results += await asyncio.gather(*(self._remove(host) for host in self._hosts.values()), return_exceptions=True)
        with suppress(OSError):
            self._folder.rmdir()
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed and not isinstance(failed[0], EnvironmentDied):
            raise failed[0]

    async def _remove(self, host: _Host) -> None:
        try:
            if host.container:
                await daemon().remove(host.container)
        finally:
            host.container, host.init, host.facts = "", 0, None
            await _in(_engine_files, host.trees.unmount)

    async def certify(self) -> ContainmentCertificate:
        """The quick probes in the agent's own host, and the network's proof that it is closed."""
        closure: Sequence[ProbeResult] = await self._network.closure() if self._network is not None else ()
        return await certificate(self, self.pids, closure, joined=self._network is not None)

    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        if self._shell is None:
            raise UsageError("The environment has not been entered.")
        return await self._shell.run(command, timeout=timeout)

    async def run(
        self, argv: Sequence[str], *, host: str = "", timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        return await self._run(self._host(host), argv, timeout=timeout, stdin=stdin, user=user)

    async def _run(
        self, host: _Host, argv: Sequence[str], *, timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        engine, doing = daemon(), f"Running {argv[0]} on host {host.spec.id}"
        started = time.monotonic()
        before = host_processes(host).alive()
        made = await engine.exec_create(
            host.container,
            argv,
            user=user or host.user,
            env=environment_of(host.spec),
            cwd=home_of(host.spec),
            stdin=True,
            doing=doing,
        )
        stream = await engine.attach(made, doing)
        try:
            async with asyncio.timeout(timeout):
                out, err = await collect(stream, stdin, _OUTPUT_BYTES)
            state = await engine.exec_state(made, doing)
        except TimeoutError:
            await self._kill(host, (await engine.exec_state(made, doing)).pid, before)
            return RunResult(None, b"", b"", int((time.monotonic() - started) * 1e6))
        finally:
            stream.close()
        if state.exit_code is None:
            await self._still_there(host)
        return RunResult(state.exit_code, out, err, int((time.monotonic() - started) * 1e6))

    async def _kill(self, host: _Host, pid: int, before: frozenset[proc.Process]) -> None:
        if not pid or (root := proc.process(pid)) is None:
            return
        stopper = _Stopper(host.container)
        await stopper.pause()
        try:
            for each in (root, *host_processes(host).born_of(pid, before)):
                proc.send(each, signal.SIGKILL)
        finally:
            await stopper.resume()

    async def _still_there(self, host: _Host) -> None:
        inspected = await daemon().inspect(host.container, f"Looking at host {host.spec.id}")
        if not inspected["State"]["Running"]:
            raise EnvironmentDied(f"Host {host.spec.id} has stopped (out of memory: {inspected['State'].get('OOMKilled')}).")

    async def read(self, path: str, *, host: str = "", limit: int) -> bytes:
        where, path = self._host(host), self._path(path)
        if where.trees.holds(path):
            with suppress(Linked):
                return await _in(as_agent, lambda: where.trees.read(path, limit))
        script = 'test -p "$2" && echo "$2: Not a regular file" >&2 && exit 1; exec head -c "$1" -- "$2"'
        return await self._inside(where, path, script, str(limit), path)

    async def write(self, path: str, data: bytes, *, host: str = "", mode: int = 0o644) -> None:
        where, path = self._host(host), self._path(path)
        if where.trees.holds(path):
            with suppress(Linked):
                return await _in(as_agent, lambda: where.trees.write(path, data, mode))
        script = 'mkdir -p -- "$(dirname -- "$2")" && { test -e "$2" || { : > "$2" && chmod "$1" -- "$2"; }; } && cat > "$2"'
        await self._inside(where, path, script, f"{mode:o}", path, stdin=data)
        return None

    async def list(self, path: str, *, host: str = "") -> Sequence[FileInfo]:
        where, path = self._host(host), self._path(path)
        if where.trees.holds(path):
            with suppress(Linked):
                return await _in(as_agent, lambda: where.trees.list(path))
        script = r"""cd -- "$1" && exec find . -mindepth 1 -maxdepth 1 -printf '%f\0%y\0%s\0%m\0%T@\0'"""
        return _listing(await self._inside(where, path, script, path))

    async def _inside(self, host: _Host, path: str, script: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """Let the host's own user do it, in the container; what it complains of becomes a FileError."""
        ran = await self._run(host, ("env", "LC_ALL=C", "sh", "-c", script, "sh", *arguments), timeout=30, stdin=stdin)
        if ran.exit_code != 0:
            words = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            raise FileError(path, words[-1].rpartition(": ")[2] if words else "Input/output error")
        return ran.stdout

    async def effects(self) -> Sequence[Draft]:
        self._note_survivors()
        drafts, self._pending = self._pending, []
        looks = await asyncio.gather(
            *(_in(_engine_files, host.sensor.look) for host in self._hosts.values()), return_exceptions=True
        )
        during = self._calls[-1] if len(self._calls) == 1 else None
        origin = during if self._quiet else None
        for (name, host), look in zip(self._hosts.items(), looks, strict=True):
            for reason in [str(look)] if isinstance(look, BaseException) else host.sensor.gaps[:1]:
                gap = SensorState(sensor=NAME, state="gap", covers=("files",), hosts=(name,), detail=reason)
                drafts.append(Draft(gap, source="sensor", host=name))
            for body in () if isinstance(look, BaseException) else look:
                basis = "only_call_open" if origin else None
                drafts.append(Draft(body, "sensor", name, during, origin, basis))
        if self._network is not None:
            drafts += await self._network.drain()
        self._calls = [self._open] if self._open else []
        self._quiet = True if not self._open else self._quiet
        return drafts

    async def begin_call(self, call: str, step: int) -> None:
        self._open = call
        self._calls.append(call)
        self._before = {name: host_processes(host).activity(host_processes(host).alive()) for name, host in self._hosts.items()}
        if self._network is not None:
            await self._network.begin_call(call, step)

    async def end_call(self, call: str) -> None:
        self._note_survivors()
        self._quiet = self._quiet and self._nothing_older_ran()
        self._open = None
        if self._network is not None:
            await self._network.end_call(call)

    def _nothing_older_ran(self) -> bool:
        """Whether every process older than the open call, the shell apart, was never given a processor during it."""
        shell = self._shell.pid if self._shell else 0
        for name, before in self._before.items():
            older = {process: count for process, count in before.items() if process.pid not in (shell, self._hosts[name].init)}
            if host_processes(self._hosts[name]).activity(older) != older:
                return False
        return True

    def _note_survivors(self) -> None:
        """Processes begun during the open call that are still there."""
        if self._open is None:
            return
        shell = self._shell.pid if self._shell else 0
        for name, host in self._hosts.items():
            view = host_processes(host)
            new = view.alive() - set(self._before.get(name, {})) - self._known
            born = set(view.born_of(shell, frozenset(self._before.get(name, {})))) if host is self._agent else set()
            for process in sorted(new):
                self._known.add(process)
                facts = view.facts(process) if process.pid != shell else None
                if facts is None:
                    continue
                body = ProcessEffect(
                    action="outlived",
                    pid=facts.inner,
                    parent=None,
                    argv=facts.argv,
                    exe=facts.exe,
                    uid=facts.uid,
                    sensor="processes",
                )
                caused = process in born
                self._pending.append(
                    Draft(body, "sensor", name, self._open, self._open if caused else None, "process_tree" if caused else None)
                )

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        if action == "run":
            argv = arguments.get("argv")
            if not isinstance(argv, (list, tuple)) or not argv:
                raise ScenarioError("The action `run` needs `argv`, a list of words.")
            ran = await self.run([str(a) for a in argv], host=str(arguments.get("host", "")), timeout=60)
            return {
                "exit_code": ran.exit_code,
                "stdout": ran.stdout[:4096].decode("utf-8", "replace"),
                "stderr": ran.stderr[:4096].decode("utf-8", "replace"),
            }
        if self._network is None:
            raise ScenarioError(f"Nothing carries out the action {action!r}: the environment has no world.")
        return await self._network.fire(action, arguments)

    async def digest(self) -> tuple[str, Mapping[str, str]]:
        parts = {}
        for name, host in self._hosts.items():
            snapshot = await _in(_engine_files, host.sensor.snapshot)
            parts[f"files:{name}"] = _hash(state_lines(snapshot, _VOLATILE))
            parts[f"processes:{name}"] = _hash(self._arguments(host))
        if self._network is not None:
            state = await self._network.state()
            parts["world"] = _hash([json.dumps(state, sort_keys=True, default=str)])
        return _hash([f"{name}={value}" for name, value in sorted(parts.items())]), parts

    def _arguments(self, host: _Host) -> list[str]:
        view = host_processes(host)
        facts = [view.facts(process) for process in view.alive() if process.pid != host.init]
        return sorted("\0".join(known.argv) for known in facts if known is not None)

    async def freeze(self) -> None:
        await daemon().pause(self._agent.container)

    def _host(self, name: str) -> _Host:
        host = self._agent if name == "" else self._hosts.get(name)
        if host is None:
            raise ScenarioError(f"There is no host {name!r}.", f"Hosts: {', '.join(self._hosts)}.")
        if not host.container:
            raise UsageError("The environment has not been entered.")
        return host

    def _path(self, path: str) -> str:
        """Absolute, a relative one from the user's home, and without `.` or doubled slashes."""
        if "\0" in path or not path:
            raise FileError(path, os.strerror(22))
        return str(PurePosixPath(home_of(self._agent.spec)) / path)


class _Line:
    """The shell's channel in Docker."""

    def __init__(self, stream: Stream, exec_id: str, pid: int, host: _Host) -> None:
        self._stream = stream
        self._exec_id = exec_id
        self._host = host
        self.pid = pid

    async def send(self, data: bytes) -> None:
        await self._stream.send(data)

    async def receive(self) -> list[Piece]:
        return await self._stream.receive()

    async def exit_code(self) -> int | None:
        doing = f"Looking at the shell on host {self._host.spec.id}"
        inspected = await daemon().inspect(self._host.container, doing)
        if not inspected["State"]["Running"]:
            raise EnvironmentDied(
                f"Host {self._host.spec.id} has stopped (out of memory: {inspected['State'].get('OOMKilled')})."
            )
        for _ in range(20):
            state = await daemon().exec_state(self._exec_id, doing)
            if state.exit_code is not None or proc.process(self.pid) is not None:
                break
            await asyncio.sleep(0.02)  # the daemon learns of the end a little later than we do
        return state.exit_code

    def close(self) -> None:
        self._stream.close()


async def _open_line(host: _Host) -> _Line:
    engine, doing = daemon(), f"Opening a shell on host {host.spec.id}"
    made = await engine.exec_create(
        host.container,
        shells.ARGV,
        user=host.user,
        env=environment_of(host.spec),
        cwd=home_of(host.spec),
        stdin=True,
        doing=doing,
    )
    stream = await engine.attach(made, doing)
    for _ in range(100):
        state = await engine.exec_state(made, doing)
        if state.pid or state.exit_code is not None:
            break
        await asyncio.sleep(0.01)
    return _Line(stream, made, state.pid, host)


class _Stopper:
    """Holds a container still by Docker's own freezer."""

    def __init__(self, container: str) -> None:
        self._container = container

    async def pause(self) -> None:
        await daemon().pause(self._container)

    async def resume(self) -> None:
        await daemon().unpause(self._container)


def host_processes(host: _Host) -> proc.Processes:
    if host.processes is None:
        raise UsageError("The environment has not been entered.")
    return host.processes


def _own_files(host: HostSpec, network: Network | None, bundle: bytes | None) -> dict[str, bytes]:
    """The engine's files that a host sees in place of those that Docker would write, which name the machine below."""
    resolver = network.resolver if network is not None else ""
    files = {
        "/etc/hostname": f"{host.hostname}\n".encode(),
        "/etc/hosts": f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.hostname}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n".encode(),
        "/etc/resolv.conf": f"nameserver {resolver}\n".encode() if resolver else b"",
    }
    if bundle is not None:
        files["/etc/ssl/certs/ca-certificates.crt"] = bundle
    if host.user != "agent":
        files["/etc/passwd"], files["/etc/group"] = _accounts(host.user)
    return files


def _accounts(user: str) -> tuple[bytes, bytes]:
    system = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    sshd = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    passwd = f"{system}{nobody}{sshd}{user}:x:{AGENT_UID}:{AGENT_UID}::/home/{user}:/bin/bash\n"
    return passwd.encode(), f"root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n{user}:x:{AGENT_UID}:\n".encode()


_bundles: dict[str, bytes] = {}


async def _bundle(engine: Daemon, image: str, network: Network | None) -> bytes | None:
    """The image's certificates with the world's authority added; None without one."""
    if network is None or not network.authority:
        return None
    if image not in _bundles:
        read: Callable[[], bytes] = lambda: engine.file_of_image(image, "/etc/ssl/certs/ca-certificates.crt")  # noqa: E731
        _bundles[image] = await engine.call("Reading an image's certificates", read)
    return _bundles[image] + b"\n" + network.authority


_FIND_TYPES = {"f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "b": "device", "c": "device"}


def _listing(raw: bytes) -> list[FileInfo]:
    fields = [os.fsdecode(field) for field in raw.split(b"\0")[:-1]]
    rows = zip(*[iter(fields)] * 5, strict=True)
    return sorted(
        FileInfo(name, _FIND_TYPES.get(kind, "device"), int(size), int(mode, 8) & 0o7777, int(float(mtime)))
        for name, kind, size, mode, mtime in rows
    )


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)[:80]


async def _in(executor: ThreadPoolExecutor, function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(executor, function)


class _together:  # noqa: N801 - reads as a phrase: `async with _together() as group`
    """A task group whose first error is raised as itself."""

    def __init__(self) -> None:
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> asyncio.TaskGroup:
        return await self._group.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            first = next((e for e in group.exceptions if not isinstance(e, asyncio.CancelledError)), group.exceptions[0])
            raise first from None


def engine_mark() -> str:
    """Names this process among all that ever ran on this machine: id, and start in clock ticks."""
    own = proc.process(os.getpid())
    return f"{os.getpid()}:{own.started if own else 0}"
