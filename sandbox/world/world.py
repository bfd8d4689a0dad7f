"""The engine's side of a trial's world: lays it out, starts its container, joins the hosts to it and hears what it saw.

`World` is the `Network` of an environment (`sandbox/environment.py`). The world's program runs in a container of its own,
unprivileged and without any network but the wires made here; it knows its configuration and one socket, and no key that
signs. When it dies the wires go with it: hosts are left with no link at all, and the environment is told so.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sandbox.environment import EnvironmentSpec, HostSpec
from sandbox.errors import ContainmentError, EnvironmentDied, InfrastructureError, ScenarioError
from sandbox.events import Content, Draft, ErrorRaised, NetworkEffect, ObservedAt, ProbeResult, SensorState
from sandbox.hosts.confined import start_as_asked
from sandbox.hosts.daemon import LABELS, daemon
from sandbox.hosts.images import PREFIX
from sandbox.hosts.outside import seen_from_outside
from sandbox.hosts.sweep import engine_mark
from sandbox.hosts.tmpfs import mount_tmpfs
from sandbox.hosts.trees import MOUNT_ROOT, claim, release
from sandbox.isolation import hardened
from sandbox.sensors.syslog import HostLog, open_log
from sandbox.sensors.syslog import effect as login_effect
from sandbox.sensors.taps import SENSOR as WIRE
from sandbox.sensors.taps import Tap, Taps, open_tap
from sandbox.world import authority, instances
from sandbox.world.closure import prove
from sandbox.world.link import Seen, WorldLink
from sandbox.world.netns import apart, inside, open_namespace
from sandbox.world.network import Seat, attach, leaks, port_name, set_port, survey, wire
from sandbox.world.plan import WorldPlan, plan, public_address
from sandbox.world.spec import check

SENSOR = "world"
COVERS = ("network", "services")
IMAGE = PREFIX + "world"
USER = "980:980"
MEMORY_MB = 384
SCRATCH_MB = 192
SHARE_MB = 32
READY_SECONDS = 60.0
SSH_PORT = 22
INSIDE = "/run/world"


class _Started(NamedTuple):
    """The world's first process, as the machine numbers it, and what its container was asked for."""

    pid: int
    request: Mapping[str, Any]


class World:
    """One trial's world and network.

    Args:
        spec: the environment's hosts, the agent's first, and its world as plain data.
        trial: names the trial in labels; need not be unique.
        labels: further labels of the container, e.g. {"belljar.run": "..."}.
        keep: puts a body into the trial's blob store and describes it for an event.

    Raises ScenarioError when the world or its addresses are wrong; nothing has been started then.
    """

    def __init__(
        self,
        spec: EnvironmentSpec,
        *,
        trial: str,
        labels: Mapping[str, str] | None = None,
        keep: Callable[[bytes], Content],
    ) -> None:
        if spec.world is None:
            raise ScenarioError("This environment has no world to join.", "Give the scenario a `world`.")
        declared = check(spec.world)
        self._hosts: tuple[HostSpec, ...] = spec.hosts
        self._plan: WorldPlan = plan(declared, spec.hosts)
        self._seats = dict(self._plan.seats)
        self._folder = MOUNT_ROOT / f"world-{secrets.token_hex(8)}"
        self._labels = {
            **(labels or {}),
            LABELS.own: "1",
            LABELS.trial: trial,
            LABELS.host: "world",
            LABELS.engine: engine_mark(),
        }
        self._instances: list[str] = []
        self._instance_limit = instances.bound(declared)
        self.machines: instances.Machines | None = None
        """Who starts the instances of the world's cloud; without it there are none to be had."""
        self._keep = keep
        self._starting: asyncio.Task[_Started] | None = None
        self.container = ""
        self._link: WorldLink | None = None
        self._taps = Taps(())
        self._namespaces: dict[str, int] = {}
        self._logs: list[HostLog] = []
        self._pids: dict[str, int] = {}
        self._call: str | None = None
        self._pending: list[Draft] = []
        self._told_of_death = False

    @property
    def resolver(self) -> str:
        return str(self._plan.network.resolver)

    @property
    def authority(self) -> bytes:
        return _root().pem

    @property
    def addresses(self) -> Mapping[str, str]:
        """Every host's address, by host id."""
        return {host: str(address) for host, address in self._seats.items()}

    def begin(self) -> None:
        """Start the world's container in the background, so that it comes up while the hosts do. `join` does it otherwise."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())

    async def join(self, pids: Mapping[str, int]) -> None:
        """Wire the hosts whose first processes are `pids` (by host id) to the world, once its doors are open."""
        self.begin()
        assert self._starting is not None
        started = await asyncio.shield(self._starting)
        self._pids = dict(pids)
        await apart(lambda: self._wire(started.pid))
        await self._ready()
        self._taps.start()
        for host in self._hosts:
            self._hear(host, pids[host.id])
        self._pending += self._sensors("started")

    async def _ready(self) -> None:
        """Wait for the world's doors. An InfrastructureError says what the world itself complained of."""
        assert self._link is not None
        try:
            await self._link.ready(READY_SECONDS)
        except InfrastructureError as error:
            logs = await daemon().call("Reading the world's log", lambda: daemon().api.logs(self.container, tail=3))
            last = bytes(logs).decode("utf-8", "replace").strip().splitlines()[-1:]
            raise InfrastructureError(f"{error.message} {' '.join(last)[:300]}") from None

    async def leave(self) -> None:
        """Take the world, its wires and its folder away."""
        self._let_go()
        if self._link:
            await self._link.close()
        if self._starting:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self.container:
            await daemon().remove(self.container)
        await asyncio.to_thread(release, self._folder)
        self._starting, self._link, self.container = None, None, ""

    async def begin_call(self, call: str, step: int) -> None:
        """Effects from here on are seen `during` the call; the world's own time moves to `step`.

        Neither this nor `end_call` raises when the world has just died: `drain`, which follows, must first tell of the gap.
        """
        try:
            self._pending += await self._collect()
            self._call = call
            await self._alive().command("advance", step=step)
        except EnvironmentDied:
            if self._told_of_death:
                raise

    async def end_call(self, call: str) -> None:
        try:
            self._pending += await self._collect()
        except EnvironmentDied:
            if self._told_of_death:
                raise
        self._call = None

    async def drain(self) -> Sequence[Draft]:
        """Everything seen up to now. A world that died yields its last events and a gap, then EnvironmentDied."""
        try:
            self._pending += await self._collect()
        except EnvironmentDied as error:
            if self._told_of_death:
                raise
            self._told_of_death = True
            self._pending += self._gap(str(error))
        drafts, self._pending = self._pending, []
        return drafts

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        """Have the service `arguments["service"]` carry out `action`. InfrastructureError if it cannot."""
        result = await self._alive().command("fire", arguments={**arguments, "action": action})
        if "error" in result:
            raise InfrastructureError(f"The world could not carry out {action}: {result['error']}.")
        return result

    async def state(self) -> Mapping[str, object]:
        return await self._alive().command("state")

    async def closure(self) -> Sequence[ProbeResult]:
        """One result for each way out that was tried, and what the world's own container is confined by; `control` says that
        the same check sees a way out where there is one."""
        assert self._starting is not None
        world = await self._starting

        def tried() -> list[ProbeResult]:
            ways_out = prove(self._namespaces, self._ids, self.resolver)
            return [*ways_out, *seen_from_outside("world", world.pid, world.request)]

        results = await apart(tried)
        self._taps.drain()
        return results

    async def _start(self) -> _Started:
        share = self._folder / "share"
        await asyncio.to_thread(_make_share, share, self._plan)
        self._link = WorldLink(share / "control.sock", keep=self._keep, answer=self._answer, on_lost=self._let_go)
        await self._link.listen()
        engine = daemon()
        image = await engine.call("Looking for an image", lambda: engine.image_id(IMAGE))
        request = container_request(image, share, self._labels)
        self.container = await engine.create(request, "Creating the world")
        return _Started(await start_as_asked(engine, self.container, request, "the world"), request)

    def _wire(self, pid: int) -> None:
        sixes = self._plan.seats6
        seats = [Seat(host.id, self._pids[host.id], self._seats[host.id], sixes.get(host.id)) for host in self._hosts]
        wire(self._plan.network, pid, seats)
        self._namespaces = {"world": open_namespace(pid)} | {s.host: open_namespace(s.pid) for s in seats}
        own = {seat.host: frozenset(str(a) for a in (seat.address, seat.address6) if a) for seat in seats}
        taps = []
        with inside(self._namespaces["world"]):
            for index, seat in enumerate(seats):
                peers = frozenset(address for host, addresses in own.items() if host != seat.host for address in addresses)
                taps.append(Tap(seat.host, own[seat.host], peers, open_tap(port_name(index))))
        self._taps = Taps(taps)

    def _let_go(self) -> None:
        """Close every hold on the namespaces, so that they end with their processes."""
        self._pending += self._stamped(self._taps.drain(last=True))
        self._taps.close()
        self._taps = Taps(())
        for log in self._logs:
            asyncio.get_running_loop().remove_reader(log.socket)
            log.socket.close()
        self._logs = []
        for descriptor in self._namespaces.values():
            os.close(descriptor)
        self._namespaces = {}

    def _alive(self) -> WorldLink:
        if self._link is None or self._link.lost:
            raise EnvironmentDied(f"The world is gone: {self._link.lost if self._link else 'it was never started'}.")
        return self._link

    async def _collect(self) -> list[Draft]:
        """What world and wires saw since the last look, in the order of time."""
        seen = await self._alive().sync()
        return self._stamped(self._taps.drain() + self._logins() + self._drafts(seen))

    def _drafts(self, seen: Seen) -> list[tuple[int, Draft]]:
        hosts = self._by_address()
        drafts = []
        for at, client, effect in seen.effects:
            whose = effect.source if isinstance(effect, NetworkEffect) else client
            draft = Draft(effect, source="world", host=hosts.get(whose.rpartition(":")[0]), client=client)
            drafts.append((at, draft))
        if seen.dropped or seen.misfits:
            detail = "; ".join(seen.misfits)[:2000] or "more events than are kept between two looks"
            count = seen.dropped + len(seen.misfits)
            lost = SensorState(sensor=SENSOR, state="dropped", covers=COVERS, hosts=self._ids, count=count, detail=detail)
            drafts.append((time.time_ns() // 1000, Draft(lost, source="sensor")))
        return drafts

    def _by_address(self) -> dict[str, str]:
        pairs = (*self._seats.items(), *self._plan.seats6.items())
        return {str(address): host for host, address in pairs}

    def _logins(self) -> list[tuple[int, Draft]]:
        """What the hosts' SSH servers logged of connections that were seen on the wire."""
        hosts = self._by_address()
        drafts = []
        for log in self._logs:
            own = {str(address) for address in (self._seats[log.host], self._plan.seats6.get(log.host)) if address}
            logins, dropped = log.taken()
            for at, login in logins:
                if login.address in hosts and any(self._taps.opened((login.address, login.port, a, SSH_PORT)) for a in own):
                    client = hosts[login.address]
                    effect = login_effect(login, host=log.host, client=client)
                    whose = f"{login.address}:{login.port}"
                    drafts.append((at, Draft(effect, source="sensor", host=client, client=whose)))
            if dropped:
                lost = SensorState(sensor=SENSOR, state="dropped", covers=("services",), hosts=(log.host,), count=dropped)
                drafts.append((time.time_ns() // 1000, Draft(lost, source="sensor")))
        return drafts

    def _stamped(self, drafts: Sequence[tuple[int, Draft]]) -> list[Draft]:
        """In the order of their times, each said to have happened during the open call."""
        offset = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        ordered = sorted(drafts, key=lambda pair: pair[0])
        return [draft._replace(during=self._call, observed_at=ObservedAt(at, at - offset)) for at, draft in ordered]

    @property
    def _ids(self) -> tuple[str, ...]:
        return tuple(host.id for host in self._hosts)

    def _sensors(self, state: Literal["started"], hosts: tuple[str, ...] = ()) -> list[Draft]:
        return [
            Draft(SensorState(sensor=SENSOR, state=state, covers=COVERS, hosts=hosts or self._ids), source="sensor"),
            Draft(SensorState(sensor=WIRE, state=state, covers=("connections",), hosts=hosts or self._ids), source="sensor"),
        ]

    def _gap(self, why: str) -> list[Draft]:
        """What is left of a dead world: its last words, the gap from now on, and whose fault it is."""
        seen = self._link.taken() if self._link else Seen()
        gap = SensorState(sensor=SENSOR, state="gap", covers=COVERS, hosts=self._ids, detail=why)
        error = ErrorRaised(fault="infrastructure", type="EnvironmentDied", message=why)
        return [*self._stamped(self._drafts(seen)), Draft(gap, source="sensor"), Draft(error)]

    def _hear(self, host: HostSpec, pid: int) -> None:
        """Open the log of a host with an SSH server, and read it as it comes."""
        if host.ssh:
            log = open_log(host.id, pid)
            asyncio.get_running_loop().add_reader(log.socket, log.read)
            self._logs.append(log)

    async def _answer(self, what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A request of the world, which is not trusted: what it names must be its own, and is refused in words else."""
        if self.machines is None:
            return {"error": "this environment starts no instances"}
        if what == "instance.create":
            return await self._create_instance(self.machines, instances.read(arguments, self._instances, self._instance_limit))
        host = str(arguments.get("id", "")).replace("-", "_")
        if host not in self._instances or what not in ("instance.stop", "instance.start"):
            return {"error": f"{what} is not available"}
        up = what == "instance.start"
        number = [h.id for h in self._hosts].index(host)
        await (self.machines.resume_host(host) if up else self.machines.pause_host(host))
        center, seat = self._namespaces["world"], self._seats[host]
        await apart(lambda: set_port(self._plan.network, center, seat, number, up=up))
        return {"host": host}

    async def _create_instance(self, machines: instances.Machines, order: instances.Order) -> dict[str, Any]:
        """Start a blank machine, wired and proven to be closed in before anything runs on it."""
        self._instances.append(order.host)
        taken = {*self._seats.values(), *self._plan.network.declared}
        address = public_address(f"{self._plan.config['seed']}/{order.host}", taken)
        spec = instances.host_spec(order, str(address))
        self._seats[order.host] = address

        async def join(pid: int) -> None:
            self._taps.add(await apart(lambda: self._wire_more(spec, Seat(spec.id, pid, address))))
            self._hear(spec, pid)

        await machines.add_host(spec, join)
        self._pending += self._sensors("started", hosts=(spec.id,))
        return {"host": spec.id, "address": str(address)}

    def _wire_more(self, spec: HostSpec, seat: Seat) -> Tap:
        """Blocking, in a thread of its own. Raises ContainmentError when the network is not closed with the new host."""
        number = len(self._hosts)
        center = self._namespaces["world"]
        attach(self._plan.network, center, seat, number)
        self._namespaces[seat.host] = open_namespace(seat.pid)
        self._pids[seat.host] = seat.pid
        self._hosts = (*self._hosts, spec)
        if found := leaks(survey(self._namespaces)):
            raise ContainmentError(f"A started instance is not closed in: {'; '.join(found)}.")
        others = frozenset(str(a) for host, a in self._seats.items() if host != seat.host)
        with inside(center):
            return Tap(seat.host, frozenset({str(seat.address)}), others, open_tap(port_name(number)))


def container_request(image: str, share: Path, labels: Mapping[str, str]) -> dict[str, Any]:
    """The body of the Engine API's `POST /containers/create` for a world: no rights, a read-only root, one folder shared."""
    memory = MEMORY_MB * 2**20
    return {
        "Image": image,
        "Hostname": "gateway",
        "User": USER,
        "Entrypoint": ["/usr/bin/python3", "-I", "-S", "/opt/world/start.py", INSIDE],
        "Cmd": None,
        "WorkingDir": "/",
        "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp"],
        "Labels": dict(labels),
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            **hardened(),
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": 10**9,
            "PidsLimit": 64,
            "Ulimits": [{"Name": "nofile", "Soft": 4096, "Hard": 4096}, {"Name": "core", "Soft": 0, "Hard": 0}],
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
            "Mounts": [{"Type": "bind", "Source": str(share), "Target": INSIDE, "ReadOnly": True}],
            "Tmpfs": {"/tmp": f"size={SCRATCH_MB}m,mode=1777,nosuid,nodev,noexec"},  # noqa: S108 - the container's own
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
        },
    }


def _make_share(share: Path, world: WorldPlan) -> None:
    """The folder that the world is shown: its configuration and its certificates, on a small tmpfs that `release` (or a later
    `belljar clean`) takes away whole. Its parent is the engine's alone."""
    claim(share.parent, engine_mark())
    share.parent.chmod(0o700)
    mount_tmpfs(share, megabytes=SHARE_MB)
    mint = authority.Mint(authority.intermediate(_root()))
    names: dict[str, str] = {}
    for file, hosts in world.certificates.items():
        (share / file).write_bytes(mint.leaf(hosts))
        names.update(dict.fromkeys(hosts, file))
    (share / "config.json").write_text(json.dumps({**world.config, "certificates": names}))
    for path in share.iterdir():
        path.chmod(0o444)


@lru_cache(maxsize=1)
def _root() -> authority.Issuer:
    return authority.root()
