"""What only the Docker environment has: SSH hosts, services, other users, a network, faults on the way."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, FileSpec, HostLimits, HostSpec, ServiceSpec
from sandbox.errors import ContainmentError, InfrastructureError, NotReadyError
from sandbox.events import Draft, FileEffect, ProbeResult
from sandbox.hosts.daemon import Daemon, daemon
from sandbox.hosts.host import Host
from sandbox.hosts.processes import process
from sandbox.sensors.changes import in_memory
from sandbox.world.world import World

pytestmark = pytest.mark.docker

SMALL = HostLimits(disk_mb=16)
RUN = {"belljar.run": "tests"}


def one(**changes: object) -> EnvironmentSpec:
    return EnvironmentSpec((HostSpec("agent", "web01", **{"limits": SMALL, **changes}),))  # type: ignore[arg-type]


class Fake:
    """A network that joins nothing and remembers what it was asked."""

    resolver = "10.20.0.2"
    authority = b"-----BEGIN CERTIFICATE-----\ninvented\n-----END CERTIFICATE-----\n"

    def __init__(self, fail: bool = False) -> None:
        self.seen: list[str] = []
        self._fail = fail

    async def join(self, pids: Mapping[str, int]) -> None:
        self.seen.append(f"join {sorted(pids)} {all(process(pid) for pid in pids.values())}")
        if self._fail:
            raise InfrastructureError("The network could not be joined.")

    async def leave(self) -> None:
        self.seen.append("leave")

    async def begin_call(self, call: str, step: int) -> None:
        self.seen.append(f"begin {call} {step}")

    async def end_call(self, call: str) -> None:
        self.seen.append(f"end {call}")

    async def drain(self) -> Sequence[Draft]:
        return []

    async def fire(self, action: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return {"fired": action}

    async def state(self) -> Mapping[str, object]:
        return {"tickets": []}

    async def closure(self) -> Sequence[ProbeResult]:
        return [ProbeResult(group="network", name="closed", result="BLOCKED", control=True)]


async def test_an_ssh_host_lets_its_key_in_and_no_other(tmp_path: Path) -> None:
    await asyncio.to_thread(
        subprocess.run, ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    private, public = (tmp_path / "key").read_bytes(), (tmp_path / "key.pub").read_bytes()
    files = (FileSpec("/home/deploy/.ssh/authorized_keys", public, mode=0o600), FileSpec("/home/deploy/k", private, mode=0o600))
    spec = one(image="host", ssh=True, user="deploy", files=files)
    async with DockerEnvironment(spec, trial="ssh", labels=RUN) as environment:
        login = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no deploy@127.0.0.1"
        result = await environment.shell(
            f"{login} -i ~/k 'whoami; pwd'; scp -q -i ~/k -o StrictHostKeyChecking=no k deploy@127.0.0.1:copy", timeout=30
        )
        assert result.stdout == b"deploy\n/home/deploy\n"
        assert (await environment.shell("cmp k copy", timeout=10)).exit_code == 0
        assert (await environment.shell(f"rm -f ~/.ssh/id_*; {login} true", timeout=30)).exit_code == 255
        certificate = await environment.certify()
        assert certificate.passed


async def test_two_ssh_hosts_have_different_keys() -> None:
    hosts = tuple(HostSpec(name, name, image="host", ssh=True, limits=SMALL) for name in ("agent", "spare"))
    async with DockerEnvironment(EnvironmentSpec(hosts), trial="ssh", labels=RUN) as environment:
        keys = [
            await environment.read("/run/sshd/ssh_host_ed25519_key.pub", host=name, limit=1000) for name in ("agent", "spare")
        ]
        assert keys[0] != keys[1]
        assert (await environment.digest())[1]["files:agent"] == (await environment.digest())[1]["files:spare"]


async def test_services_run_as_the_user_and_their_doings_are_no_ones_call() -> None:
    script = "while sleep 0.05; do date +%N > /srv/app/beat; done"
    spec = one(trees=("/srv/app",), services=(ServiceSpec("beat", ("sh", "-c", script), "/srv/app"),))
    async with DockerEnvironment(spec, trial="service", labels=RUN) as environment:
        await environment.effects()
        await environment.begin_call("c1", 1)
        await environment.shell("echo 1 > /srv/app/mine; sleep 0.3", timeout=10)
        await environment.end_call("c1")
        drafts = [d for d in await environment.effects() if isinstance(d.body, FileEffect)]
        assert {d.body.path for d in drafts if isinstance(d.body, FileEffect)} == {"/srv/app/beat", "/srv/app/mine"}
        assert {(d.during, d.origin) for d in drafts} == {("c1", None)}
        assert (await environment.shell("ps -o user= -C sleep | sort -u", timeout=10)).stdout in (b"agent\n", b"")


async def test_what_a_service_does_as_it_starts_is_done_before_the_first_call() -> None:
    script = "n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; echo up > /srv/app/up; exec sleep 1000"
    spec = one(trees=("/srv/app",), services=(ServiceSpec("slow", ("sh", "-c", script), "/srv/app"),))
    async with DockerEnvironment(spec, trial="starting", labels=RUN) as environment:
        drafts = await environment.effects()
        assert "/srv/app/up" in {d.body.path for d in drafts if isinstance(d.body, FileEffect)}


async def test_the_network_is_told_of_hosts_and_calls() -> None:
    network = Fake()
    async with DockerEnvironment(one(), trial="net", labels=RUN, network=network) as environment:
        await environment.begin_call("c1", 1)
        await environment.end_call("c1")
        assert await environment.fire("shut_down", {}) == {"fired": "shut_down"}
        assert await environment.read("/etc/resolv.conf", limit=100) == b"nameserver 10.20.0.2\n"
        bundle = await environment.read("/etc/ssl/certs/ca-certificates.crt", limit=10**7)
        assert bundle.endswith(network.authority)
        assert bundle.count(b"BEGIN CERTIFICATE") > 50
        assert "network" in {probe.group for probe in (await environment.certify()).probes}
        assert "world" in (await environment.digest())[1]
    assert network.seen == ["join ['agent'] True", "begin c1 1", "end c1", "leave"]


async def test_what_fails_while_starting_leaves_nothing_behind() -> None:
    network = Fake(fail=True)
    environment = DockerEnvironment(one(), trial="broken", labels={"belljar.run": "broken-start"}, network=network)
    with pytest.raises(InfrastructureError, match="could not be joined"):
        await environment.__aenter__()
    assert network.seen[-1] == "leave"
    assert daemon().list_containers({"belljar.run": "broken-start"}) == []
    assert str(environment._folder) not in await asyncio.to_thread(Path("/proc/self/mountinfo").read_text)


async def test_an_interrupt_while_starting_leaves_nothing_behind() -> None:
    environment = DockerEnvironment(one(), trial="torn", labels={"belljar.run": "torn-start"})
    entering = asyncio.create_task(environment.__aenter__())
    await asyncio.sleep(0.15)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert daemon().list_containers({"belljar.run": "torn-start"}) == []
    assert str(environment._folder) not in await asyncio.to_thread(Path("/proc/self/mountinfo").read_text)


async def test_an_interrupt_while_the_daemon_creates_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, asked = Daemon(), asyncio.Event()
    loop, create = asyncio.get_running_loop(), engine.api.create_container_from_config

    def slow(request: dict[str, Any]) -> dict[str, Any]:
        loop.call_soon_threadsafe(asked.set)
        time.sleep(0.3)
        return dict(create(request))

    monkeypatch.setattr(engine.api, "create_container_from_config", slow)
    labels = {"belljar.run": f"interrupted-{secrets.token_hex(4)}"}
    creating = asyncio.ensure_future(engine.create({"Image": engine.image_id("belljar/base"), "Labels": labels}, "Creating"))
    await asked.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert engine.list_containers(labels) == []


async def test_a_missing_image_is_the_machines_lack() -> None:
    with pytest.raises(NotReadyError, match="belljar images"):
        await DockerEnvironment(one(image="no_such_image"), trial="x", labels=RUN).__aenter__()


class Altered(Daemon):
    """A daemon that gives a container more than it was asked for, and says so."""

    async def start(self, container: str, doing: str) -> dict[str, Any]:
        inspected = await super().start(container, doing)
        return inspected | {"HostConfig": inspected["HostConfig"] | {"CapAdd": ["CAP_NET_ADMIN"]}}


async def test_a_container_that_is_not_as_asked_is_refused(tmp_path: Path) -> None:
    host = Host(Altered(), one().hosts[0], tmp_path / "host", in_memory)
    try:
        with pytest.raises(ContainmentError, match="CAP_NET_ADMIN"):
            await host.start(None, labels={"belljar": "1", "belljar.run": "altered"}, runtime="runc")
    finally:
        await host.remove()
    assert daemon().list_containers({"belljar.run": "altered"}) == []


async def test_a_world_that_is_not_as_asked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    altered = Altered()
    monkeypatch.setattr("sandbox.world.world.daemon", lambda: altered)
    labels = {"belljar.run": "altered-world"}
    spec = EnvironmentSpec(one().hosts, world={"sites": []})
    world = World(spec, trial="altered", labels=labels, keep=in_memory)
    with pytest.raises(ContainmentError, match=r"The world is not what was asked for: .*CAP_NET_ADMIN"):
        await DockerEnvironment(spec, trial="altered", labels=labels, network=world).__aenter__()
    assert daemon().list_containers(labels) == []
