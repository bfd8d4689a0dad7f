"""From a specification to the environment of one trial: hosts in Docker and, where the scenario has one, their world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.daemon import LABELS, daemon
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec
from sandbox.errors import EnvironmentDied
from sandbox.events import Content
from sandbox.images import PREFIX
from sandbox.world import Started, World


class _Containers:
    """The world's container, started through the daemon like any other."""

    async def start_container(self, name: str, request: Mapping[str, Any]) -> Started:
        container = await daemon().create(request, "Creating the world")
        inspected = await daemon().start(container, "Starting the world")
        pid = int(inspected["State"]["Pid"])
        if not pid:
            raise EnvironmentDied(f"The world ended as it was started: {inspected['State'].get('Error') or 'no reason given'}.")
        return Started(container, pid)

    async def remove_container(self, container_id: str) -> None:
        await daemon().remove(container_id)


def build_environment(
    spec: EnvironmentSpec, *, trial: str, labels: Mapping[str, str], keep: Callable[[bytes], Content]
) -> DockerEnvironment:
    """The environment of one trial, not yet entered. Raises ScenarioError for a world that cannot be."""
    if spec.world is None:
        return DockerEnvironment(spec, trial=trial, labels=labels, keep=keep)
    world = World(
        spec,
        containers=_Containers(),
        image=daemon().image_id(f"{PREFIX}world"),
        name=trial,
        labels={**labels, LABELS.own: "1", LABELS.trial: trial, LABELS.host: "world"},
        keep=keep,
    )
    return DockerEnvironment(spec, trial=trial, labels=labels, network=world, keep=keep)
