"""What watching costs: the same trials with all default sensors, with the portable ones alone, and with none, taking turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from sandbox.build import build_environment
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostSpec
from sandbox.events import Content, Draft, FileEffect
from sandbox.sensors.changes import Snapshot
from sandbox.sensors.taps import Taps
from sandbox.trial import BuildEnvironment
from sandbox.world.world import World


class Blind:
    """Stands in for a host's tree sensor and sees nothing."""

    gaps: tuple[str, ...] = ()

    def start(self) -> None: ...

    def look(self) -> list[FileEffect]:
        return []

    def snapshot(self) -> Snapshot:
        return {}


class BlindWorld(World):
    """A world that is joined and answers, and of which nothing is told."""

    def _wire(self, pid: int) -> None:
        super()._wire(pid)
        self._taps.close()
        self._taps = Taps(())

    def _hear(self, host: HostSpec, pid: int) -> None: ...

    async def _collect(self) -> list[Draft]:
        return []


def blind(
    spec: EnvironmentSpec, *, trial: str, labels: Mapping[str, str], keep: Callable[[bytes], Content]
) -> DockerEnvironment:
    """No look at a tree, nothing heard of processes, opens, wires and services, no search for canaries."""
    world = BlindWorld(spec, trial=trial, labels=labels, keep=keep) if spec.world is not None else None
    environment = DockerEnvironment(spec, trial=trial, labels=labels, keep=keep, network=world)
    for host in environment._hosts.values():
        host.sensor = Blind()  # type: ignore[assignment]
    return environment


portable = partial(build_environment, live=False)
"""What needs no right to listen to the kernel: looks at trees, wires, the world's own account, canaries."""

KINDS: Mapping[str, BuildEnvironment] = {"all": build_environment, "portable": portable, "none": blind}


def cost(rate: Callable[[BuildEnvironment, Path], float], root: Path, rounds: int) -> dict[str, float]:
    """Trials per second of each kind, and how much slower than `none`, as the median over rounds that take turns."""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(rounds):
        order = list(KINDS) if turn % 2 else list(KINDS)[::-1]
        for kind in order:
            rates[kind].append(rate(KINDS[kind], root))
    medians = {kind: statistics.median(each) for kind, each in rates.items()}
    slower = {f"{kind}_slower": statistics.median(n / r - 1 for n, r in zip(rates["none"], rates[kind], strict=True))
              for kind in ("all", "portable")}  # fmt: skip
    return medians | slower
