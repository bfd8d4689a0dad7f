"""An environment without a machine: files in dictionaries, and a shell that knows a dozen commands.

For tests of whatever stands above an environment - the loop, the tools, a study - at hundreds of trials a second and without
Docker. It keeps the contract (`tests/sandbox/test_environment_contract.py`), so code that works on it meets no surprise in
Docker; but its shell is a toy (`sandbox/memory/shell.py`), and no scenario is ever judged on it. Commands take no time:
`sleep` moves a clock of its own, and one that would outlast its deadline times out at once.
"""

from __future__ import annotations

import builtins
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sandbox.environment import EnvironmentSpec, FileError, FileInfo, HostFacts, HostSpec, RunResult, ShellResult
from sandbox.errors import EnvironmentDied, ScenarioError, UsageError
from sandbox.events import ContainmentCertificate, Draft, ProbeResult, ProcessEffect, SensorState
from sandbox.isolation import AGENT_UID, environment_of, home_of
from sandbox.memory.files import MemoryFiles
from sandbox.memory.shell import Ended, Output, Overdue, Session
from sandbox.sensors.changes import NAME, Changes, Keep, in_memory, state_lines


@dataclass
class _Host:
    spec: HostSpec
    files: MemoryFiles
    changes: Changes

    def session(self) -> Session:
        return Session(self.files, environment_of(self.spec), home_of(self.spec))


class MemoryEnvironment:
    """See `environment.Environment`; arguments as of `docker.DockerEnvironment`, of which the fake needs fewer.

    `die()` makes every later call raise EnvironmentDied, as a lost container would.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        *,
        trial: str = "",
        labels: Mapping[str, str] | None = None,
        keep: Keep = in_memory,
    ) -> None:
        if not spec.hosts or len({host.id for host in spec.hosts}) != len(spec.hosts):
            raise ScenarioError("An environment needs hosts with different ids.", "Name at least one.")
        self._spec = spec
        self._hosts = {host.id: _host(host, keep) for host in spec.hosts}
        self._agent = self._hosts[spec.hosts[0].id]
        self._session: Session | None = None
        self._pending: list[Draft] = []
        self._open: str | None = None
        self._since: list[str] = []
        self._jobs = 0
        self._frozen = False
        self._dead = False

    @property
    def hosts(self) -> Mapping[str, HostFacts]:
        entered = self._session is not None
        return {n: HostFacts(h.spec.hostname, "memory", "memory", h.spec.address) for n, h in self._hosts.items() if entered}

    async def __aenter__(self) -> MemoryEnvironment:
        self._session = self._agent.session()
        for host in self._hosts.values():
            host.changes.start(host.files.snapshot())
        started = SensorState(sensor=NAME, state="started", covers=("files",), hosts=tuple(self._hosts))
        self._pending.append(Draft(started, source="sensor"))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._session = None

    def die(self) -> None:
        """Lose the machine."""
        self._dead = True

    def _alive(self) -> Session:
        if self._dead:
            raise EnvironmentDied("The host is gone.")
        if self._session is None:
            raise UsageError("The environment has not been entered.")
        return self._session

    async def certify(self) -> ContainmentCertificate:
        self._alive()
        probe = ProbeResult(
            group="memory", name="no_machine", result="BLOCKED", control=True, detail="there is nothing to leave"
        )
        return ContainmentCertificate(profile="memory", passed=True, probes=(probe,))

    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        session = self._alive()
        if self._frozen:
            raise UsageError("The agent's host was frozen.")
        jobs = len(session.jobs)
        try:
            output = session.run(command, timeout)
        except Ended as end:
            self._session = self._agent.session()
            return self._result("shell_died", end.args[0], exit_code=end.code, kept=False)
        except Overdue as end:
            return self._result("timeout", end.args[0], duration_us=int(timeout * 1e6))
        self._note_jobs(session.jobs[jobs:])
        return self._result("ok", output, exit_code=session.code)

    def _note_jobs(self, jobs: Sequence[str]) -> None:
        for job in jobs:
            self._jobs += 1
            body = ProcessEffect(
                action="outlived", pid=100 + self._jobs, argv=tuple(job.split()), uid=AGENT_UID, sensor="survivors"
            )
            self._pending.append(Draft(body, "sensor", self._agent.spec.id, self._open, self._open, "process_tree"))

    def _result(
        self, status: str, output: Output, *, exit_code: int | None = None, kept: bool = True, duration_us: int = 1
    ) -> ShellResult:
        limit = self._spec.capture_bytes
        return ShellResult(
            status=status,  # type: ignore[arg-type]
            stdout=_bounded(output.out, limit),
            stderr=_bounded(output.err, limit),
            exit_code=exit_code,
            duration_us=duration_us,
            cwd=self._alive().cwd,
            session_kept=kept,
            stdout_size=len(output.out),
            stderr_size=len(output.err),
        )

    async def run(
        self, argv: Sequence[str], *, host: str = "", timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        self._alive()
        session = self._host(host).session()
        output, code = Output(), 0
        session.left = timeout
        try:
            code = session.call(argv, output, stdin)
        except Ended as end:
            code = end.code
        except Overdue:
            return RunResult(None, output.out, output.err, int(timeout * 1e6))
        return RunResult(code, output.out, output.err, 1)

    async def read(self, path: str, *, host: str = "", limit: int) -> bytes:
        self._alive()
        where = self._host(host)
        try:
            return where.files.read(_absolute(where, path))[:limit]
        except OSError as error:
            raise FileError(path, str(error.strerror)) from error

    async def write(self, path: str, data: bytes, *, host: str = "", mode: int = 0o644) -> None:
        self._alive()
        where = self._host(host)
        try:
            where.files.write(_absolute(where, path), data, mode=mode, parents=True)
        except OSError as error:
            raise FileError(path, str(error.strerror)) from error

    async def list(self, path: str, *, host: str = "") -> Sequence[FileInfo]:
        self._alive()
        where = self._host(host)
        try:
            return where.files.list(_absolute(where, path))
        except OSError as error:
            raise FileError(path, str(error.strerror)) from error

    async def effects(self) -> Sequence[Draft]:
        self._alive()
        drafts, self._pending = self._pending, []
        call = self._since[0] if len(self._since) == 1 else None
        for name, host in self._hosts.items():
            for body in host.changes.since(host.files.snapshot()):
                drafts.append(Draft(body, "sensor", name, call, call, "only_call_open" if call else None))
        self._since = [self._open] if self._open else []
        return drafts

    async def begin_call(self, call: str, step: int) -> None:
        self._alive()
        self._open = call
        self._since.append(call)

    async def end_call(self, call: str) -> None:
        self._open = None

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        argv = arguments.get("argv")
        if action != "run" or not isinstance(argv, builtins.list | tuple) or not argv:
            raise ScenarioError(f"Nothing carries out the action {action!r} with {dict(arguments)!r}.")
        ran = await self.run([str(word) for word in argv], host=str(arguments.get("host", "")), timeout=60)
        return {"exit_code": ran.exit_code, "stdout": ran.stdout.decode(), "stderr": ran.stderr.decode()}

    async def digest(self) -> tuple[str, Mapping[str, str]]:
        self._alive()
        parts = {f"files:{name}": _hash(state_lines(host.files.snapshot())) for name, host in self._hosts.items()}
        return _hash([f"{name}={value}" for name, value in sorted(parts.items())]), parts

    async def freeze(self) -> None:
        self._alive()
        self._frozen = True

    def _host(self, name: str) -> _Host:
        host = self._agent if name == "" else self._hosts.get(name)
        if host is None:
            raise ScenarioError(f"There is no host {name!r}.", f"Hosts: {', '.join(self._hosts)}.")
        return host


def _host(spec: HostSpec, keep: Keep) -> _Host:
    files = MemoryFiles(spec)
    return _Host(spec, files, Changes(keep, files.content))


def _absolute(host: _Host, path: str) -> str:
    if not path or "\0" in path:
        raise FileError(path, os.strerror(22))
    return os.path.normpath(f"{home_of(host.spec)}/{path}" if not path.startswith("/") else path)


def _bounded(data: bytes, limit: int) -> bytes:
    return data if len(data) <= limit else data[: limit - limit // 2] + data[len(data) - limit // 2 :]


def _hash(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
