"""What the world has seen, told to the engine as drafts of events: requests on the wire and what they meant.

The engine checks every draft against its own schema; a body longer than `WHOLE` is sent as its head and tail with size
and digest, since the engine keeps no more of it either.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any
from weakref import WeakSet

from .control import Control

_client: ContextVar[str] = ContextVar("client", default="")

WHOLE = 8 * 1024 * 1024
EDGE = 64 * 1024
EACH = 100


class Tally:
    """Refusals of one kind. One in a hundred is told as it comes, with the count, so that a flood stays bounded; the last one
    before the engine looks is told as well, so that the count is right whenever it does."""

    def __init__(self) -> None:
        self._count = 0
        self._untold: Callable[[], object] | None = None

    def add(self, say: Callable[[int], None], *, always: bool = False) -> None:
        """One more, which `say` tells with the count up to it; `always` for what says something by itself."""
        self._count += 1
        self._untold = partial(copy_context().run, say, self._count)
        if always or self._count % EACH == 1:
            self.tell()

    def tell(self) -> None:
        """Tell of the last one, if nobody has."""
        untold, self._untold = self._untold, None
        if untold:
            untold()


class Journal:
    """Writes events in the order they happen. `settled` must be awaited before an answer leaves for the client."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = asyncio.Lock()
        self._tallies: WeakSet[Tally] = WeakSet()

    def network(self, *, request: bytes | None = None, response: bytes | None = None, **fields: Any) -> None:
        """A `effect.network` event; see `sandbox/events.py` for the fields."""
        self._event("effect.network", fields, {"request": request, "response": response})

    def service(self, service: str, name: str, subject: dict[str, Any], content: bytes | None = None) -> None:
        """A `effect.service` event: what a request meant, in the service's own terms."""
        self._event("effect.service", {"service": service, "name": name, "subject": subject}, {"content": content})

    @staticmethod
    def talking_to(source: str) -> None:
        """Say whose connection the current task serves, as `address:port`: what it causes is ascribed to that client."""
        _client.set(source)

    def fault(self, where: str, error: Exception) -> None:
        """An error of the world's own while it answered somebody: told, so that it is not taken for silence."""
        self._control.send({"op": "fault", "was": f"{where}: {type(error).__name__}: {error}"[:500]})

    def tally(self) -> Tally:
        """A count of refusals that `tell_counts` brings up to date."""
        tally = Tally()
        self._tallies.add(tally)
        return tally

    def tell_counts(self) -> None:
        for tally in list(self._tallies):
            tally.tell()

    async def settled(self) -> None:
        await self._control.drained()

    async def turn(self) -> None:
        """Wait until all who came before have had their turn, everybody else the loop, and the engine what was on its line:
        then neither many heavy requests at once nor many large bodies hold up the engine."""
        async with self._lock:
            await asyncio.sleep(0)
            await self._control.drained()

    def _event(self, kind: str, fields: dict[str, Any], bodies: dict[str, bytes | None]) -> None:
        parts: list[bytes] = []
        described = {name: _describe(body, parts) for name, body in bodies.items() if body is not None}
        event = {
            "op": "event",
            "kind": kind,
            "at": time.time_ns() // 1000,
            "client": _client.get(),
            "fields": fields,
            "bodies": described,
        }
        self._control.send(event, parts)


def _describe(body: bytes, parts: list[bytes]) -> dict[str, Any]:
    """Add the body's bytes to `parts` and say which they are."""
    pieces = [body] if len(body) <= WHOLE else [body[:EDGE], body[-EDGE:]]
    first = len(parts)
    parts.extend(pieces)
    return {
        "parts": list(range(first, first + len(pieces))),
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
