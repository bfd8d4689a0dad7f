"""One site or service of the world in this process, with a recorder in the place of the engine."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.world.plan import plan
from sandbox.world.spec import check

Engine = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


class Recorder:
    """Stands for the engine's end of the line: keeps what it is told, and answers as `engine` does, if there is one."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.parts: list[bytes] = []
        self.engine: Engine | None = None

    def send(self, message: dict[str, Any], parts: tuple[bytes, ...] = ()) -> None:
        self.messages.append(message)
        self.parts += parts

    async def drained(self) -> None:
        return

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self.engine(what, arguments) if self.engine else {"error": "nothing is available"}

    def requests(self) -> list[dict[str, Any]]:
        return [m["fields"] for m in self.messages if m.get("kind") == "effect.network"]

    def meanings(self) -> list[tuple[str, dict[str, Any]]]:
        return [(m["fields"]["name"], m["fields"]["subject"]) for m in self.messages if m.get("kind") == "effect.service"]


@dataclass
class Party:
    """A built party and short ways to ask it."""

    service: Any
    recorder: Recorder
    clock: Any
    host: str
    token: str = field(default="")

    async def ask(self, method: str, target: str, body: Any = None, *, raw: bytes = b"", **headers: str) -> Any:
        """The decoded JSON answer, or (status, text) of any other."""
        from world.message import Request

        given = [(name.replace("_", "-"), value) for name, value in headers.items()]
        if self.token:
            given.append(("authorization", f"Bearer {self.token}"))
        data = raw if body is None else json.dumps(body).encode()
        request = Request(method, target, self.host, given, data, "10.20.0.5:4000", "198.51.100.20", 443, True)
        response = await self.service.answer(request)
        kind = dict(response.headers).get("Content-Type", "")
        return json.loads(response.body) if kind == "application/json" else (response.status, response.body.decode())

    def meanings(self) -> list[str]:
        """Names of the service events up to now."""
        return [name for name, _ in self.recorder.meanings()]


def build_party(world: dict[str, Any]) -> Party:
    """The first party of a world, checked and planned as the engine does it."""
    from world.clock import Clock
    from world.journal import Journal
    from world.services import build
    from world.surroundings import Surroundings

    declared = plan(check(world), []).config["parties"][0]
    recorder, clock = Recorder(), Clock()
    hosts = tuple(declared["hosts"])
    around = Surroundings(declared["id"], hosts, Journal(recorder), clock, random.Random(1), recorder.ask)
    return Party(build(declared["type"], around, declared["options"]), recorder, clock, hosts[0])
