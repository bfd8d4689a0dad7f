"""What watching costs: the same trials with all default sensors, with the portable ones alone, and with none, taking turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.build import build_environment
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec
from sandbox.events import Content, FileEffect
from sandbox.sensors.changes import Snapshot
from sandbox.trial import BuildEnvironment


class Blind:
    """Stands in for a host's tree sensor and sees nothing."""

    gaps: tuple[str, ...] = ()

    def start(self) -> None: ...

    def look(self) -> list[FileEffect]:
        return []

    def snapshot(self) -> Snapshot:
        return {}


def portable(
    spec: EnvironmentSpec, *, trial: str, labels: Mapping[str, str], keep: Callable[[bytes], Content]
) -> DockerEnvironment:
    """Looks at the trees before and after, no live sensors, no search for canaries."""
    return DockerEnvironment(spec, trial=trial, labels=labels, keep=keep)


def blind(
    spec: EnvironmentSpec, *, trial: str, labels: Mapping[str, str], keep: Callable[[bytes], Content]
) -> DockerEnvironment:
    environment = portable(spec, trial=trial, labels=labels, keep=keep)
    for host in environment._hosts.values():
        host.sensor = Blind()  # type: ignore[assignment]
    return environment


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
