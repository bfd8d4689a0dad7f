"""What every site and service is given: its name, where to record, the logical clock, and chance that the seed decides."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .clock import Clock
from .journal import Journal


@dataclass(frozen=True)
class Surroundings:
    """Passed to each party's constructor. `ask` puts a request to the engine (instances) and awaits its answer."""

    id: str
    hosts: tuple[str, ...]
    journal: Journal
    clock: Clock
    chance: random.Random
    ask: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]

    @property
    def host(self) -> str:
        return self.hosts[0] if self.hosts else ""

    def meant(self, name: str, subject: dict[str, Any], content: bytes | str | None = None) -> None:
        """Record what a request meant, as a service event of this party."""
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.journal.service(self.id, name, subject, data)
