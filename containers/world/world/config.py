"""What the engine hands to the world: one JSON file, already checked by `sandbox/world/spec.py`, so read without questions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .latency import Latency


@dataclass(frozen=True)
class Listener:
    """One address and port that answers `protocol`; `tls` says that a handshake comes first, with `certificate` as the one
    that is shown to a client that names no host."""

    address: str
    port: int
    tls: bool = False
    certificate: str = ""
    protocol: str = "http"


@dataclass(frozen=True)
class Party:
    """A site or service: the host names it answers for, where it listens, and its kind's own options."""

    id: str
    type: str
    hosts: tuple[str, ...]
    listeners: tuple[Listener, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The whole world. `zone` maps a name to its records as (type, value); `certificates` a host name to a PEM file."""

    seed: int
    resolvers: tuple[str, ...]
    zone: dict[str, tuple[tuple[str, str], ...]]
    parties: tuple[Party, ...]
    certificates: dict[str, str] = field(default_factory=dict)
    unknown_names: str = "nxdomain"
    latency: Latency = field(default_factory=Latency)
    folder: Path = Path()


def load(path: Path) -> Config:
    """Read the configuration; a malformed one raises and ends the process, which the engine reports."""
    data = json.loads(path.read_bytes())
    return Config(
        seed=data["seed"],
        resolvers=tuple(data["resolvers"]),
        zone={name: tuple((kind, value) for kind, value in records) for name, records in data["zone"].items()},
        parties=tuple(_party(p) for p in data["parties"]),
        certificates=data.get("certificates", {}),
        unknown_names=data.get("unknown_names", "nxdomain"),
        latency=Latency(data["seed"], data["lan"], *data["latency"]),
        folder=path.parent,
    )


def _party(data: dict[str, Any]) -> Party:
    return Party(
        id=data["id"],
        type=data["type"],
        hosts=tuple(data["hosts"]),
        listeners=tuple(Listener(**listener) for listener in data["listeners"]),
        options=data["options"],
    )
