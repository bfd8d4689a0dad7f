"""What a trial needs of the place it runs in: hosts, a shell for the agent, files, probes from outside.

Two implementations exist, the in-memory one (`sandbox/memory/environment.py`) and Docker (`sandbox/docker.py`); one contract
suite (`tests/sandbox/test_environment_contract.py`) holds both. It is entered with `async with` and leaves nothing behind.

What the errors mean, for every method: `EnvironmentDied` - the host or the daemon is gone, nothing more can be done and
nothing about the failure may be shown to the agent as command output; `InfrastructureError` - this one operation failed
for a reason that is the machine's; `FileError` - the answer is the agent's to see (no such file, permission denied).
A command that fails, hangs or kills its shell is not an error: it is a `ShellResult`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from sandbox.events import ContainmentCertificate, Draft, ProbeResult


class FileError(Exception):
    """A file operation that failed as it would for the agent itself; `reason` is the usual errno text."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class ShellResult:
    """What one command in the agent's persistent shell gave.

    `stdout` and `stderr` hold at most the environment's capture limit of bytes, `stdout_size` and `stderr_size` what was
    really written. `status`: `ok` - it returned, with `exit_code`; `timeout` - its deadline passed, it was interrupted,
    `session_kept` says whether the shell survived that; `shell_died` - the command ended the shell itself (`exit`, `exec`,
    `kill $$`), a new one has been started and directory, variables and functions are lost. `background` is what jobs
    left by earlier calls had printed since.
    """

    status: Literal["ok", "timeout", "shell_died"]
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int | None = None
    duration_us: int = 0
    cwd: str = ""
    session_kept: bool = True
    stdout_size: int = 0
    stderr_size: int = 0
    background: bytes = b""


class RunResult(NamedTuple):
    """A separate process, apart from the agent's shell: exit code (None on timeout), output, bounded as above."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes
    duration_us: int


class FileInfo(NamedTuple):
    """One entry of a directory; `type` as in `events.FileState`; `mtime` in whole seconds."""

    name: str
    type: str
    size: int
    mode: int
    mtime: int


@dataclass(frozen=True)
class HostFacts:
    """What is known of a started host: `image` is the resolved image id; `running` until its cloud has stopped it."""

    name: str
    image: str
    runtime: str
    address: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    running: bool = True


@dataclass(frozen=True)
class FileSpec:
    """A file planted before the trial: absolute `path` inside one of the host's trees, dated `mtime` (Unix seconds).

    `owner` root makes it one that the host's user cannot change, as far as `mode` and its folder's owner allow."""

    path: str
    data: bytes
    mode: int = 0o644
    mtime: int | None = None
    owner: Literal["agent", "root"] = "agent"


@dataclass(frozen=True)
class ServiceSpec:
    """A long-running process that the engine starts on a host before the trial, as the host's ordinary user.

    The trial begins once it has nothing to do, or after some seconds. With `port`, it begins once something listens there; it
    is an InfrastructureError if nothing ever does."""

    id: str
    argv: tuple[str, ...]
    cwd: str = "/"
    port: int | None = None


@dataclass(frozen=True)
class HostLimits:
    """Bounds of one host. `disk_mb` is the size of the tmpfs that holds all its writable trees."""

    memory_mb: int = 512
    cpus: float = 1.0
    pids: int = 256
    disk_mb: int = 256


@dataclass(frozen=True)
class HostSpec:
    """One machine: `trees` are its writable directories (its user's home and /tmp are always among them).

    `image` is a folder of `containers/` (`base`, or `host` for one with an SSH server); `ssh` starts that server, with
    `authorized_keys` among `files`. `address` is what the other hosts reach it by.
    """

    id: str
    hostname: str
    address: str = ""
    image: str = "base"
    user: str = "agent"
    trees: tuple[str, ...] = ()
    files: tuple[FileSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    limits: HostLimits = HostLimits()
    ssh: bool = False


@dataclass(frozen=True)
class EnvironmentSpec:
    """All that an environment is built from: hosts, the agent's first, and the world's configuration, None for no network.

    Opens of `watch_paths` are told of (`path`, or `host:path`; a folder's means all below it); `canaries` are planted bytes by
    the id of their asset, to be recognised wherever they turn up."""

    hosts: tuple[HostSpec, ...]
    world: Mapping[str, object] | None = None
    watch_paths: tuple[str, ...] = ()
    canaries: Mapping[str, bytes] = field(default_factory=dict)
    capture_bytes: int = 8 * 1024 * 1024


class Network(Protocol):
    """What joins the hosts of one trial to each other and to a world, and to nothing else.

    The Docker environment starts every host without any network, then awaits `join` before the first command is run;
    `leave` is awaited while the hosts still exist, also when `join` failed. Every method raises `InfrastructureError`
    (`EnvironmentDied` once the world is gone, `ContainmentError` when the joined namespaces are not closed).
    """

    @property
    def resolver(self) -> str:
        """The address that hosts ask for names, written to their /etc/resolv.conf; "" for none. Known before `join`."""
        ...

    @property
    def authority(self) -> bytes:
        """Certificates in PEM that hosts trust beside those of their image; b"" for none. Known before `join`."""
        ...

    def begin(self) -> None:
        """Start what takes long, in the background, while the hosts come up."""
        ...

    async def join(self, pids: Mapping[str, int]) -> None:
        """Wire the network namespaces of these processes (first process of each host, by host id) to the world."""
        ...

    async def leave(self) -> None:
        """Take the world down; safe to call twice."""
        ...

    async def begin_call(self, call: str, step: int) -> None:
        """As `Environment.begin_call`."""
        ...

    async def end_call(self, call: str) -> None:
        """As `Environment.end_call`."""
        ...

    async def drain(self) -> Sequence[Draft]:
        """Every event the world has seen and not yet handed over, complete up to the moment of asking."""
        ...

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out an action that the environment does not know itself."""
        ...

    async def state(self) -> Mapping[str, object]:
        """The world's exported state as JSON values, without times and pids; it enters the state digest."""
        ...

    async def closure(self) -> Sequence[ProbeResult]:
        """Proof by kernel namespace ids that the joined hosts reach each other and the world only."""
        ...


class Environment(Protocol):
    """The place of one trial. Host "" is the agent's own."""

    @property
    def hosts(self) -> Mapping[str, HostFacts]:
        """All hosts by name, the agent's first."""
        ...

    async def __aenter__(self) -> Environment: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def certify(self) -> ContainmentCertificate:
        """Try from inside what must not work, before the agent's first turn; `passed` is false on any REACHED."""
        ...

    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        """Run `command` in the agent's one persistent shell; calls do not overlap. `timeout` in seconds."""
        ...

    async def run(
        self, argv: Sequence[str], *, host: str = "", timeout: float, stdin: bytes = b"", user: str | None = None
    ) -> RunResult:
        """Run `argv` as a process of its own inside `host`, as that host's ordinary user unless `user` says otherwise."""
        ...

    async def read(self, path: str, *, host: str = "", limit: int) -> bytes:
        """At most `limit` bytes of a file, as the agent's user could read them, without a shell. Raises FileError."""
        ...

    async def write(self, path: str, data: bytes, *, host: str = "", mode: int = 0o644) -> None:
        """Create or replace a file as the agent's user, making parent directories. Raises FileError."""
        ...

    async def list(self, path: str, *, host: str = "") -> Sequence[FileInfo]:
        """Entries of a directory by name. Raises FileError."""
        ...

    async def effects(self) -> Sequence[Draft]:
        """Everything the sensors saw since the last look, drained to a watermark: what happened before this call is in it.

        `during` and `origin` are filled where the sensor can tell; a sensor that failed yields a `gap`, never silence.
        """
        ...

    async def begin_call(self, call: str, step: int) -> None:
        """Say that tool call `call` of `step` opens: effects from here on happen during it, and logical time advances."""
        ...

    async def end_call(self, call: str) -> None:
        """Say that it has closed."""
        ...

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out one action of the scenario's own time (`sandbox/schedule.py`), from outside the agent's reach."""
        ...

    async def digest(self) -> tuple[str, Mapping[str, str]]:
        """State digest and its parts: normalised trees, world state, process arguments; no times, no pids."""
        ...

    async def freeze(self) -> None:
        """Stop every process of the agent (and its shell) where it stands, before the interview; state stays readable."""
        ...
