"""What worlds cost: `python -m tests.benchmarks.worlds [N]` prints start times against a bare container's, and N at once.

One run, so that the ratio compares like with like on a machine that others use too. Nothing is asserted.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import statistics
import sys
import time
from pathlib import Path

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.events import Content
from sandbox.hosts.daemon import LABELS, daemon
from sandbox.isolation import create_request
from sandbox.world.netns import apart, inside, open_namespace
from sandbox.world.world import World

WORLD = {
    "sites": [{"host": "status.northgate.example", "address": "198.51.100.20", "pages": {"/": "fine"}}],
    "services": [{"type": "tickets", "host": "desk.northgate.example"}],
}
OWN = {LABELS.own: "1", "belljar.run": "bench"}
GET = b"GET / HTTP/1.1\r\nHost: status.northgate.example\r\nConnection: close\r\n\r\n"
ROUNDS = 8
AT_ONCE = 8


def keep(data: bytes) -> Content:
    return Content(text="", size=len(data), sha256=hashlib.sha256(data).hexdigest())


def spec_of(number: int = 0) -> EnvironmentSpec:
    return EnvironmentSpec(hosts=(HostSpec("agent", f"web-{number:02d}", limits=HostLimits(disk_mb=16)),), world=WORLD)


async def bare() -> float:
    """Seconds to create and start one container of the agent's kind, without any network."""
    engine = daemon()
    request = create_request(spec_of().hosts[0], image=engine.image_id("belljar/base"), binds=(), labels=OWN)
    began = time.perf_counter()
    container = await engine.create(request, "bench")
    await engine.start(container, "bench")
    took = time.perf_counter() - began
    await engine.remove(container)
    return took


async def with_world() -> float:
    """Seconds from nothing to the first page that the agent's namespace gets from its world."""
    engine, spec = daemon(), spec_of()
    request = create_request(spec.hosts[0], image=engine.image_id("belljar/base"), binds=(), labels=OWN)
    began = time.perf_counter()
    world = World(spec, trial="bench", labels=OWN, keep=keep)
    world.begin()
    container = await engine.create(request, "bench")
    inspected = await engine.start(container, "bench")
    pid = int(inspected["State"]["Pid"])
    await world.join({"agent": pid})
    await apart(lambda: _get(pid))
    took = time.perf_counter() - began
    await world.leave()
    await engine.remove(container)
    return took


def _get(pid: int) -> None:
    namespace = open_namespace(pid)
    with inside(namespace), socket.create_connection(("198.51.100.20", 80), timeout=10) as client:
        client.sendall(GET)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    os.close(namespace)


async def at_once(count: int) -> None:
    """Bring `count` environments with their worlds up, have all of them fetch a page, take them down; print what it took."""
    entered: list[DockerEnvironment] = []
    worlds: list[World] = []
    turn = asyncio.Semaphore(AT_ONCE)

    async def enter(number: int) -> None:
        async with turn:
            spec = spec_of(number)
            world = World(spec, trial=f"bench-{number}", labels=OWN, keep=keep)
            environment = DockerEnvironment(spec, trial=f"bench-{number}", labels=OWN, network=world, keep=keep)
            await environment.__aenter__()
            entered.append(environment)
            worlds.append(world)

    async def leave(environment: DockerEnvironment) -> None:
        async with turn:
            await environment.__aexit__(None, None, None)

    before, began = _available_mb(), time.perf_counter()
    try:
        await asyncio.gather(*(enter(number) for number in range(count)))
        print(f"{count} up at once: {time.perf_counter() - began:.1f} s, {(before - _available_mb()) / count:.1f} MB each")
        resident = [await _resident_mb(world) for world in worlds[::10]]
        print(f"a world's own memory: {statistics.median(resident):.1f} MB")
        fetch = "curl -s -o /dev/null -w '%{http_code}' https://status.northgate.example/"
        answers = await asyncio.gather(*(environment.shell(fetch, timeout=120) for environment in entered))
        print(f"answers over HTTPS: {sum(answer.stdout == b'200' for answer in answers)} of {count}")
    finally:
        await asyncio.gather(*(leave(environment) for environment in entered))


def _available_mb() -> float:
    rows = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) / 1024


async def _resident_mb(world: World) -> float:
    stats = await daemon().call("bench", lambda: daemon().api.stats(world.container, stream=False))
    return float(stats["memory_stats"]["usage"]) / 2**20


async def main(count: int) -> None:
    await bare()
    await with_world()
    alone, both = [], []
    for _ in range(ROUNDS):
        alone.append(await bare())
        both.append(await with_world())
    low, high = statistics.median(alone), statistics.median(both)
    print(f"bare container, create and start: {low * 1000:.0f} ms; agent and world, to the first 200: {high * 1000:.0f} ms")
    print(f"ratio of medians {high / low:.2f}, of minima {min(both) / min(alone):.2f}")
    if count:
        await at_once(count)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
