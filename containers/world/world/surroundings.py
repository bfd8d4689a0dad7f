"""What every site and service is given: its name, where to record, the logical clock, and chance that the seed decides."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .budget import IN_FLIGHT, STORED, TEXTS, Budget
from .clock import Clock
from .journal import Journal


@dataclass(frozen=True)
class Surroundings:
    """Passed to each party's constructor. `ask` puts a request to the engine (instances) and awaits its answer.

    Whatever a client can make a party keep takes room first: of `store`, which all parties share; or of `texts`, the party's
    own part of it, if it is also shown in lists. `held` is the room for what is under way. Each refuses with 507 or 503.
    `name` gives the address of a machine that came up during the trial its name; None takes it away.
    """

    id: str
    hosts: tuple[str, ...]
    journal: Journal
    clock: Clock
    chance: random.Random
    ask: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
    store: Budget = field(default_factory=lambda: Budget(STORED))
    held: Budget = field(default_factory=lambda: Budget(IN_FLIGHT, status=503))
    name: Callable[[str, str | None], None] = lambda _address, _name: None
    texts: Budget = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", Budget(TEXTS, whole=self.store))

    @property
    def host(self) -> str:
        return self.hosts[0] if self.hosts else ""

    def meant(self, name: str, subject: dict[str, Any], content: bytes | str | None = None) -> None:
        """Record what a request meant, as a service event of this party."""
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.journal.service(self.id, name, subject, data)
