"""Wires between namespaces that the test made itself: what is joined, what refuses, and that nothing leads out.

No container and no real address takes part: every listener is the test's own, and each way that must be shut is tried with
the same code where it must be open.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from sandbox.world.closure import checker_sees_leaks
from sandbox.world.netns import apart, fresh_namespace, inside, open_namespace
from sandbox.world.network import Plan, Seat, is_machines_own, leaks, reaches, survey, wire

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of other processes need root")

WORLD_SITE = IPv4Address("198.51.100.20")
PLAN = Plan(IPv4Network("10.20.0.0/24"), IPv4Address("10.20.0.1"), IPv4Address("10.20.0.2"), "refuse", (WORLD_SITE,))
AGENT, SPARE, REMOTE = IPv4Address("10.20.0.5"), IPv4Address("10.20.0.11"), IPv4Address("45.33.98.12")


@pytest.fixture
def processes() -> Iterator[list[int]]:
    """Four processes, each alone in a new network namespace with its loopback up: a world and three hosts."""
    script = "ip link set lo up && echo up && exec sleep 60"
    started = [subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE) for _ in range(4)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
    yield [process.pid for process in started]
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def seats(processes: list[int]) -> list[Seat]:
    return [Seat("agent", processes[1], AGENT), Seat("spare", processes[2], SPARE), Seat("remote", processes[3], REMOTE)]


def interfaces(pid: int) -> str:
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-br", "link"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def here() -> int:
    """The namespace that this thread is in, by its inode."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def listener(namespace: int, address: str, port: int) -> socket.socket:
    with inside(namespace):
        return socket.create_server((address, port))


async def test_hosts_reach_each_other_and_the_world_by_local_and_public_addresses(processes: list[int]) -> None:
    def check() -> None:
        wire(PLAN, processes[0], seats(processes))
        world, agent, spare, remote = (open_namespace(pid) for pid in processes)
        with listener(world, str(WORLD_SITE), 80), listener(spare, "0.0.0.0", 22), listener(remote, "0.0.0.0", 22):
            assert reaches(agent, socket.AF_INET, (str(WORLD_SITE), 80))
            assert reaches(agent, socket.AF_INET, (str(SPARE), 22))
            assert reaches(agent, socket.AF_INET, (str(REMOTE), 22))
            assert reaches(remote, socket.AF_INET, (str(SPARE), 22))
            assert not reaches(agent, socket.AF_INET, (str(WORLD_SITE), 81))
            assert not reaches(agent, socket.AF_INET, ("203.0.113.77", 80))
        for descriptor in (world, agent, spare, remote):
            os.close(descriptor)

    await apart(check)


@pytest.mark.parametrize(("undeclared", "error"), [("refuse", 111), ("unreachable", 113), ("silent", None)])
async def test_what_nobody_declared_behaves_as_the_scenario_says(
    processes: list[int], undeclared: str, error: int | None
) -> None:
    def check() -> None:
        wire(replace(PLAN, undeclared=undeclared), processes[0], seats(processes))
        world, agent = open_namespace(processes[0]), open_namespace(processes[1])
        with listener(world, str(WORLD_SITE), 80):
            assert reaches(agent, socket.AF_INET, (str(WORLD_SITE), 80))
        with inside(agent), socket.socket() as client:
            client.settimeout(0.4)
            try:
                client.connect(("203.0.113.77", 80))
            except OSError as met:
                outcome = met.errno
            else:
                outcome = 0
        assert outcome == error
        os.close(world)
        os.close(agent)

    await apart(check)


async def test_namespaces_joined_to_each_other_only_are_closed(processes: list[int]) -> None:
    def check() -> None:
        wire(PLAN, processes[0], seats(processes))
        names = ("world", "agent", "spare", "remote")
        namespaces = {name: open_namespace(pid) for name, pid in zip(names, processes, strict=True)}
        assert leaks(survey(namespaces)) == []
        assert not any(is_machines_own(namespace) for namespace in namespaces.values())
        without_world = {name: namespace for name, namespace in namespaces.items() if name != "world"}
        assert leaks(survey(without_world)) == [f"{name}: eth0 leads out of the trial" for name in names[1:]]
        for descriptor in namespaces.values():
            os.close(descriptor)

    await apart(check)


async def test_a_wire_to_elsewhere_is_seen_whoever_made_it(processes: list[int]) -> None:
    """A second veth, to a namespace that is not the trial's, as somebody with every right inside could never make it alone."""

    def check() -> None:
        wire(PLAN, processes[0], seats(processes))
        names = ("world", "agent", "spare", "remote")
        namespaces = {name: open_namespace(pid) for name, pid in zip(names, processes, strict=True)}
        with fresh_namespace() as elsewhere:
            with inside(namespaces["agent"]), IPRoute() as ip:
                ip.link("add", ifname="tunnel0", kind="veth", peer={"ifname": "out", "net_ns_fd": elsewhere})
            assert leaks(survey(namespaces)) == ["agent: tunnel0 leads out of the trial"]
        for descriptor in namespaces.values():
            os.close(descriptor)

    await apart(check)


async def test_listeners_of_the_machine_are_out_of_reach_where_the_same_code_reaches_the_worlds(processes: list[int]) -> None:
    def check() -> None:
        wire(PLAN, processes[0], seats(processes))
        world, agent, own = open_namespace(processes[0]), open_namespace(processes[1]), open_namespace(os.getpid())
        with socket.create_server(("127.0.0.1", 0)) as loopback, listener(world, str(WORLD_SITE), 80):
            assert reaches(agent, socket.AF_INET, (str(WORLD_SITE), 80))
            assert reaches(own, socket.AF_INET, loopback.getsockname())
            assert not reaches(agent, socket.AF_INET, loopback.getsockname())
            assert not reaches(own, socket.AF_UNIX, "\0nobody listens here")
        with socket.socket(socket.AF_UNIX) as abstract:
            abstract.bind("\0the test listens here")
            abstract.listen()
            assert reaches(own, socket.AF_UNIX, "\0the test listens here")
            assert not reaches(agent, socket.AF_UNIX, "\0the test listens here")
        for descriptor in (world, agent, own):
            os.close(descriptor)

    await apart(check)


async def test_the_links_go_when_the_world_ends(processes: list[int]) -> None:
    await apart(lambda: wire(PLAN, processes[0], seats(processes)))
    os.kill(processes[0], 9)
    for _ in range(100):
        if "eth0" not in await apart(lambda: interfaces(processes[1])):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the agent's link outlived its world")


async def test_the_check_itself_tells_open_from_closed() -> None:
    assert await apart(checker_sees_leaks)


async def test_a_visit_leaves_the_visitor_where_he_was(processes: list[int]) -> None:
    def check() -> tuple[int, int, int]:
        namespace = open_namespace(processes[1])
        before = here()
        with inside(namespace):
            within = here()
        os.close(namespace)
        return before, within, here()

    before, within, after = await apart(check)
    assert before == after != within
