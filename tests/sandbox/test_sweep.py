"""What a killed engine leaves is removed, and what a living one holds is not."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.hosts.daemon import daemon
from sandbox.hosts.sweep import sweep

pytestmark = pytest.mark.docker

CHILD = """
import asyncio, sys
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
async def main():
    spec = EnvironmentSpec((HostSpec("agent", "web01", limits=HostLimits(disk_mb=8)),))
    async with DockerEnvironment(spec, trial="swept", labels={"belljar.run": sys.argv[1]}) as environment:
        print(environment._folder, flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


async def test_a_killed_engines_leftovers_go_and_a_living_ones_stay() -> None:
    run = f"sweep-test-{id(object())}"
    spec = EnvironmentSpec((HostSpec("agent", "web01", limits=HostLimits(disk_mb=8)),))
    async with DockerEnvironment(spec, trial="living", labels={"belljar.run": run}) as living:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, run, stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        folder = Path((await child.stdout.readline()).decode().strip())
        assert str(folder) in mounts()
        child.send_signal(signal.SIGKILL)
        await child.wait()
        removed = await asyncio.to_thread(sweep, {"belljar.run": run})
        assert len(removed) == 2
        assert str(folder) not in mounts()
        assert (await living.shell("echo here", timeout=10)).stdout == b"here\n"
        assert len(daemon().list_containers({"belljar.run": run})) == 1
        assert await asyncio.to_thread(sweep, {"belljar.run": run}) == []
    assert daemon().list_containers({"belljar.run": run}) == []
