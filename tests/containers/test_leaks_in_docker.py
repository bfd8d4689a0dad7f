"""The leak suite: what a host with every network right cannot do, and what a flood of connections does not break.

Listeners are the test's own, on this machine's loopback and on abstract sockets; every attempt has a control with the
same program.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sandbox.environment import EnvironmentSpec, HostSpec
from sandbox.events import Content
from sandbox.hosts.daemon import LABELS, collect, daemon
from sandbox.isolation import create_request
from sandbox.world.world import World

pytestmark = pytest.mark.docker

WORLD = {"sites": [{"host": "status.northgate.example", "address": "198.51.100.20", "pages": {"/": "fine"}}]}
CONNECT = """
import socket, sys
family, address = sys.argv[1], sys.argv[2]
target = "\\0" + address if family == "unix" else (address.rpartition(":")[0], int(address.rpartition(":")[2]))
try:
    s = socket.socket(socket.AF_UNIX if family == "unix" else socket.AF_INET)
    s.settimeout(1)
    s.connect(target)
    print("reached")
except OSError as error:
    print("blocked", error)
"""


OWN_VETH = "ip link add v0 type veth peer name v1 && ip addr add 172.17.0.9/16 dev v0 && ip link set v0 up && echo done"
OWN_ROUTES = (
    "ip route replace default dev v0; ip route add 127.0.0.0/8 dev eth0 table 99; ip rule add pref 1 lookup 99; echo done"
)
LEAVE = "ip link set v0 netns 1; nsenter -t 1 -n true; readlink /proc/1/ns/net /proc/self/ns/net | uniq | wc -l"


class Powerful:
    """A host whose root has every capability that concerns the network, and no system-call filter."""

    def __init__(self, container: str, world: World) -> None:
        self.container = container
        self.world = world

    async def run(self, *argv: str) -> str:
        from sandbox.hosts.capture import STDERR, STDOUT, Bounded

        engine = daemon()
        made = await engine.exec_create(
            self.container,
            argv,
            user="0:0",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            cwd="/",
            stdin=True,
            attach=True,
            doing="test",
        )
        stream = await engine.attach(made, "test")
        kept = {STDOUT: Bounded(10**6), STDERR: Bounded(10**6)}
        await collect(stream, b"", kept)
        stream.close()
        return (kept[STDOUT].value() + kept[STDERR].value()).decode("utf-8", "replace")


@asynccontextmanager
async def powerful() -> AsyncIterator[Powerful]:
    engine = daemon()
    spec = EnvironmentSpec(hosts=(HostSpec("agent", "web-03"),), world=WORLD)
    labels = {LABELS.own: "1", "belljar.run": "tests"}
    world = World(spec, trial="tests", labels=labels, keep=lambda data: Content(text="", size=len(data), sha256="0" * 64))
    world.begin()
    request: dict[str, Any] = create_request(spec.hosts[0], image=engine.image_id("belljar/base"), binds=(), labels=labels)
    request["HostConfig"] |= {
        "CapDrop": None,
        "CapAdd": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"],
        "SecurityOpt": ["seccomp=unconfined"],
    }
    container = await engine.create(request, "Creating")
    try:
        inspected = await engine.start(container, "Starting")
        await world.join({"agent": int(inspected["State"]["Pid"])})
        yield Powerful(container, world)
    finally:
        await world.leave()
        await engine.remove(container)


async def test_every_network_right_inside_reaches_nothing_of_the_machines() -> None:
    async with powerful() as host:
        with socket.create_server(("127.0.0.1", 0)) as loopback, socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0leak suite")
            abstract.listen()
            port = loopback.getsockname()[1]
            assert "reached" in await host.run("python3", "-c", CONNECT, "inet", "198.51.100.20:80")
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
            assert "blocked" in await host.run("python3", "-c", CONNECT, "inet", f"127.0.0.1:{port}")
            assert "blocked" in await host.run("python3", "-c", CONNECT, "unix", "leak suite")
            for tried in (OWN_VETH, OWN_ROUTES):
                assert (await host.run("sh", "-c", tried)).endswith("done\n")
                assert "blocked" in await host.run("python3", "-c", CONNECT, "inet", f"127.0.0.1:{port}")
            assert (await host.run("sh", "-c", LEAVE)).split()[-1] == "1"


async def test_what_a_host_makes_for_itself_does_not_open_the_network() -> None:
    async with powerful() as host:
        assert {p.result for p in await host.world.closure()} == {"BLOCKED"}
        assert (await host.run("sh", "-c", OWN_VETH)) == "done\n"
        assert {p.result for p in await host.world.closure()} == {"BLOCKED"}


async def test_the_world_survives_more_connections_than_it_takes(inhabit) -> None:
    flood = """
import socket
held = []
for _ in range(1500):
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect(("198.51.100.20", 80)); held.append(s)
    except OSError:
        pass
for s in held[:3]:
    s.sendall(b"GET /")
print(len(held))
"""
    async with inhabit(WORLD) as here:
        await here.environment.write("/home/agent/flood.py", flood.encode())
        assert int(await here.sh("ulimit -n 4096; python3 flood.py", seconds=120)) > 0
        for _ in range(20):
            if "fine" in await here.sh("curl -sS -m 5 http://status.northgate.example/; true"):
                break
            await asyncio.sleep(0.2)
        else:
            raise AssertionError("the world did not come back after a flood")
        bodies = [d.body for d in await here.environment.effects()]
    assert any(b.kind == "effect.network" and b.detail.get("why") == "too many connections" for b in bodies)
    assert any(b.kind == "sensor" and b.state == "dropped" and b.count for b in bodies)


HOARD = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = []
for number in range(2000):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect(("198.51.100.20", 80))
        s.sendall(b"GET / HTTP/1.1\\r\\nX-Slow: ")
    except OSError:
        s.close()
    else:
        held.append(s)
print("holding", flush=True)
while True:
    for s in list(held):
        s.settimeout(0.5)
        try:
            s.sendall(b"a")
        except OSError:
            held.remove(s)
            s.close()
    import time
    time.sleep(1)
"""


async def test_a_host_that_hoards_slow_connections_does_not_take_the_world_from_another(inhabit) -> None:
    """2,000 sockets that each send a letter of a header now and then, while a second host goes on with its work."""
    async with inhabit(WORLD, HostSpec("spare", "spare-02")) as here:
        await here.environment.write("/home/agent/hoard.py", HOARD.encode())
        await here.sh("python3 hoard.py > held & until grep -q holding held; do sleep 0.2; done", seconds=120)
        for address in ("http://status.northgate.example/", "https://status.northgate.example/"):
            asked = await here.environment.run(["curl", "-sS", "-m", "20", address], host="spare", timeout=30)
            assert (asked.exit_code, asked.stdout) == (0, b"fine"), asked
        named = await here.environment.run(["dig", "+short", "status.northgate.example"], host="spare", timeout=30)
        assert named.stdout == b"198.51.100.20\n"
        bodies = [d.body for d in await here.environment.effects()]
        assert "Running" in await here.sh("jobs")
    assert any(b.kind == "effect.network" and b.detail.get("why") == "too many connections" for b in bodies)
    assert not any(b.kind == "sensor" and b.state == "gap" for b in bodies)
