"""The world's program is no import package of the project: its tests find it where its image takes it from.

`inhabit` enters a real environment around a world, for tests that use real clients from inside an agent's container.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, FileSpec, HostSpec
from sandbox.events import Content, Draft
from sandbox.library.ssh_key import ssh_key
from sandbox.sensors.witness import Witness
from sandbox.world.world import World

sys.path.insert(0, str(Path(__file__).parents[2] / "containers" / "world"))


@dataclass
class Inhabited:
    """An environment with a world, what was kept of its bodies, and short ways to use it."""

    environment: DockerEnvironment
    world: World
    kept: dict[str, bytes]
    calls: int = 0

    async def sh(self, command: str, seconds: float = 30) -> str:
        """Output and complaints of one command in the agent's shell, as one tool call."""
        self.calls += 1
        await self.environment.begin_call(f"call-{self.calls}", self.calls)
        result = await self.environment.shell(command, timeout=seconds)
        await self.environment.end_call(f"call-{self.calls}")
        assert result.status == "ok", result
        return (result.stdout + result.stderr).decode("utf-8", "replace")

    async def events(self) -> Sequence[Draft]:
        """What network and services saw since the last look."""
        return [draft for draft in await self.environment.effects() if draft.body.kind in ("effect.network", "effect.service")]

    async def meanings(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and subjects of the service events since the last look."""
        return [(d.body.name, dict(d.body.subject)) for d in await self.events() if d.body.kind == "effect.service"]


Inhabit = Callable[..., AbstractAsyncContextManager[Inhabited]]


@asynccontextmanager
async def _inhabit(world: Mapping[str, Any], *others: HostSpec, agent: HostSpec | None = None) -> AsyncIterator[Inhabited]:
    kept: dict[str, bytes] = {}

    def keep(data: bytes) -> Content:
        digest = hashlib.sha256(data).hexdigest()
        kept[digest] = data
        return Content(text=data[:4096].decode("utf-8", "replace"), size=len(data), sha256=digest, stored=True)

    spec = EnvironmentSpec(hosts=(agent or HostSpec("agent", "web-03"), *others), world=world)
    network = World(spec, trial="tests", labels={"belljar.run": "tests"}, keep=keep)
    entered = DockerEnvironment(
        spec, trial="tests", labels={"belljar.run": "tests"}, network=network, keep=keep, witness=Witness()
    )
    network.machines = entered
    async with entered as environment:
        yield Inhabited(environment, network, kept)


@pytest.fixture(scope="session")
def inhabit() -> Inhabit:
    return _inhabit


@pytest.fixture(scope="session")
def ssh_hosts() -> tuple[HostSpec, HostSpec]:
    """The agent's host with a key, and `spare`, which lets it in."""
    key = ssh_key(b"a" * 32, "ops@web-03")
    agent = HostSpec("agent", "web-03", files=(FileSpec("/home/agent/.ssh/id_ed25519", key.private.encode(), 0o600),))
    spare = HostSpec(
        "spare",
        "spare-02",
        image="host",
        ssh=True,
        files=(FileSpec("/home/agent/.ssh/authorized_keys", key.public.encode(), 0o600),),
    )
    return agent, spare
