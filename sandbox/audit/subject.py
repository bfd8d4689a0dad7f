"""What an audit is done on: one host under a profile, and beside it things of the machine's that must stay out of reach.

The `default` profile is every trial's own. The `weak` one is what the audit must fail: the same host from a daemon that gives
it a super-user, capabilities, no filter, a writable root and a writable /proc and /sys, and says nothing of it. It keeps every
namespace, and bounds of twice what was asked for, so that what is tried there stays there.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.errors import InfrastructureError
from sandbox.hosts.daemon import Daemon
from sandbox.hosts.host import Host
from sandbox.sensors.changes import in_memory
from sandbox.world.world import World

Profile = Literal["default", "weak"]
LIMITS = HostLimits(memory_mb=192, cpus=1.0, pids=96, disk_mb=16)
NAMES = 16_384
"""Files that the trees of a host this small may hold (`sandbox/hosts/trees.py`)."""

_HOST = HostSpec("agent", "amber-07", limits=LIMITS)
_LABELS = {"belljar.run": "audit"}
_SPEC = EnvironmentSpec((_HOST,), capture_bytes=2**20)
_WORLD = {"sites": [{"host": "status.quillmere.example", "address": "198.51.100.20", "routes": [{"path": "/", "text": "ok"}]}]}
_GIVEN_BACK = ("SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH", "SYS_NICE", "MKNOD")


@dataclass(frozen=True)
class Bait:
    """Things of the machine's that an audit owns: a secret in a file, and listeners on loopback that answer."""

    folder: Path
    secret: str
    tcp: int
    udp: int
    abstract: str

    @property
    def file(self) -> Path:
        return self.folder / "secret"

    def context(self) -> dict[str, str]:
        """As the probes inside are told; see their modules."""
        limits = {"pids": LIMITS.pids, "memory_mb": LIMITS.memory_mb, "disk_mb": LIMITS.disk_mb, "names": NAMES}
        reach = {"tcp": self.tcp, "udp": self.udp, "abstract": self.abstract, "path": self.folder / "listener"}
        return {name: str(value) for name, value in {**limits, **reach, "secret": self.file}.items()}


@dataclass(frozen=True)
class Subject:
    """A started environment, its profile and the bait laid for it."""

    environment: DockerEnvironment
    profile: Profile
    bait: Bait


@contextmanager
def laid_bait() -> Iterator[Bait]:
    """Lay bait on this machine; each listener has been reached once from here. Raises InfrastructureError otherwise."""
    with tempfile.TemporaryDirectory(prefix="audit-") as name:
        folder, abstract = Path(name), f"audit-{secrets.token_hex(8)}"
        tcp, tcp6 = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET6)
        udp, unix, nameless = (socket.socket(f, k) for f, k in ((2, 2), (1, 1), (1, 1)))
        listeners = (tcp, tcp6, udp, unix, nameless)
        try:
            port = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", 0))
            for listener, address in ((unix, str(folder / "listener")), (nameless, f"\0{abstract}")):
                listener.bind(address)
                listener.listen(64)
            _listen_on_six(tcp6, port)
            bait = Bait(folder, secrets.token_hex(16), port, udp.getsockname()[1], abstract)
            bait.file.write_text(bait.secret)
            folder.chmod(0o755)  # the way is open to anybody who is on the machine
            (folder / "listener").chmod(0o666)
            _reach(bait)
            yield bait
        finally:
            for listener in listeners:
                listener.close()


def _listen_on_six(listener: socket.socket, port: int) -> None:
    try:
        listener.bind(("::1", port))
        listener.listen()
    except OSError:
        return  # a machine without IPv6 has nothing there to be reached


def _reach(bait: Bait) -> None:
    try:
        socket.create_connection(("127.0.0.1", bait.tcp), timeout=5).close()
        for address in (str(bait.folder / "listener"), f"\0{bait.abstract}"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)
    except OSError as error:
        raise InfrastructureError(f"The audit cannot reach its own listeners from the machine: {error}.") from error


@asynccontextmanager
async def opened(profile: Profile, bait: Bait, *, runtime: str = "runc", joined: bool = False) -> AsyncIterator[Subject]:
    """A fresh host, gone afterwards whatever it did; `joined` to a world. Raises as `DockerEnvironment` does."""
    made = WeakEnvironment if profile == "weak" else DockerEnvironment
    spec, trial = replace(_SPEC, world=_WORLD) if joined else _SPEC, f"audit-{profile}"
    network = World(spec, trial=trial, labels=_LABELS, keep=in_memory) if joined else None
    async with made(spec, trial=trial, labels=_LABELS, runtime=runtime, network=network) as environment:
        yield Subject(environment, profile, bait)


def weakened(request: Mapping[str, Any]) -> dict[str, Any]:
    """A hardened create request with most of the hardening taken out; network, process ids and bounds stay."""
    host = dict(request["HostConfig"])
    host |= {"SecurityOpt": ["seccomp=unconfined"], "CapDrop": None, "CapAdd": list(_GIVEN_BACK), "ReadonlyRootfs": False}
    host |= {"PidsLimit": 2 * host["PidsLimit"], "Memory": 2 * host["Memory"], "MemorySwap": 2 * host["MemorySwap"]}
    host |= {"NanoCpus": 2 * host["NanoCpus"], "Ulimits": None, "MaskedPaths": [], "ReadonlyPaths": []}
    return {**request, "HostConfig": host, "User": "0:0"}


class LaxDaemon(Daemon):
    """Gives containers more than they were asked for, answers as if it had not, and lets everybody in as the super-user."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[str, Mapping[str, Any]] = {}

    async def create(self, request: Mapping[str, Any], doing: str) -> str:
        container = await super().create(weakened(request), doing)
        self._asked[container] = request
        return container

    async def start(self, container: str, doing: str) -> dict[str, Any]:
        inspected = await super().start(container, doing)
        asked = self._asked[container]
        told = {"HostConfig": asked["HostConfig"], "Config": {**inspected["Config"], "User": asked["User"]}}
        return {**inspected, **told}

    async def exec_create(self, container: str, argv: Any, **options: Any) -> str:
        return await super().exec_create(container, argv, **{**options, "user": "0:0"})


class WeakEnvironment(DockerEnvironment):
    """A Docker environment whose hosts are weak."""

    def __init__(self, spec: EnvironmentSpec, **options: Any) -> None:
        super().__init__(spec, **options)
        lax = LaxDaemon()
        self._hosts = {host.id: Host(lax, host, self._folder / host.id, in_memory) for host in spec.hosts}
        self._agent = self._hosts[spec.hosts[0].id]
