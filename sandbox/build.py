"""From a specification to the environment of one trial: hosts in Docker and, where the scenario has one, their world."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec
from sandbox.events import Content
from sandbox.sensors.canaries import Canaries
from sandbox.sensors.witness import Witness
from sandbox.world.world import World


def build_environment(
    spec: EnvironmentSpec,
    *,
    trial: str,
    labels: Mapping[str, str],
    keep: Callable[[bytes], Content],
    runtime: str = "runc",
    live: bool = True,
) -> DockerEnvironment:
    """The environment of one trial, not yet entered. Without `live` only the portable sensors watch it.

    Raises ScenarioError for a world that cannot be.
    """
    canaries = Canaries(spec, keep)
    keep = canaries.keep
    world = None if spec.world is None else World(spec, trial=trial, labels=labels, keep=keep)
    witness = Witness(spec.watch_paths, live=live, canaries=canaries)
    environment = DockerEnvironment(
        spec, trial=trial, labels=labels, network=world, keep=keep, witness=witness, runtime=runtime
    )
    if world is not None:
        world.machines = environment
    return environment
