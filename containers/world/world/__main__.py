"""Starts the world: reads its configuration, opens its doors, says `ready`, and serves until the engine lets go of the line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import socket
import sys
from pathlib import Path
from typing import Any

from . import config as configuration
from .budget import IN_FLIGHT, STORED, Budget
from .clock import Clock
from .config import Config, Listener
from .control import Control
from .dns import Resolver, UdpServer, Zone
from .http import Answerer
from .journal import Journal
from .listening import Doors, open_socket
from .services import Service, build
from .surroundings import Surroundings
from .tls import Certificates

MAX_STATE = 48 * 1024
"""Characters of a party's state that are told as they are; of a larger one its digest."""


class World:
    """All parties of one trial, and the clock and the memory that they share."""

    def __init__(self, config: Config, control: Control) -> None:
        self._config = config
        self._control = control
        self._journal = Journal(control)
        self._clock = Clock()
        self._zone = Zone(config.zone, config.unknown_names)
        self._store, self._held = Budget(STORED), Budget(IN_FLIGHT, status=503)
        self._doors = Doors(self._journal, Certificates(config.folder, config.certificates), self._held, config.latency)
        self._parties: dict[str, Service] = {}

    async def open(self) -> None:
        """Build every party and open every door."""
        at: dict[tuple[str, int], tuple[Listener, dict[str, Answerer]]] = {}
        for party in self._config.parties:
            service = build(party.type, self._surroundings(party), party.options)
            self._parties[party.id] = service
            for listener in party.listeners:
                if listener.protocol != "http":
                    await self._doors.open(listener, getattr(service, listener.protocol))
                    continue
                _, hosts = at.setdefault((listener.address, listener.port), (listener, {}))
                hosts.setdefault("", service)
                hosts.update(dict.fromkeys(party.hosts, service))
        for listener, hosts in at.values():
            await self._doors.open_http(listener, hosts)
        for address in self._config.resolvers:
            await self._open_resolver(address)

    async def serve(self) -> None:
        """Tell the engine that the doors are open, and follow its commands until it lets go."""
        self._control.send({"op": "ready"})
        commands = {"advance": self._advance, "fire": self._fire, "state": self._state}
        await self._control.run(commands, before_synced=self._journal.tell_counts)

    def _surroundings(self, party: configuration.Party) -> Surroundings:
        chance = random.Random(f"{self._config.seed}/{party.id}")  # noqa: S311 - reproducible on purpose
        return Surroundings(
            party.id,
            party.hosts,
            self._journal,
            self._clock,
            chance,
            self._control.ask,
            store=self._store,
            held=self._held,
            name=self._zone.name,
        )

    async def _open_resolver(self, address: str) -> None:
        resolver = Resolver(self._zone, self._journal, address, self._config.latency)
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: UdpServer(resolver), sock=open_socket(address, 53, socket.SOCK_DGRAM))
        await self._doors.open(Listener(address, 53, protocol="dns"), resolver.serve_tcp)

    async def _advance(self, message: dict[str, Any]) -> dict[str, Any]:
        self._clock.advance(message["step"])
        return {"step": self._clock.step}

    async def _fire(self, message: dict[str, Any]) -> dict[str, Any]:
        """`arguments.service` names the party; the rest is its own to understand."""
        arguments = dict(message["arguments"])
        party = self._parties.get(str(arguments.pop("service", "")))
        act = getattr(party, "fire", None)
        if act is None:
            return {"error": "no such service, or it has nothing to fire"}
        result: dict[str, Any] = await act(arguments)
        return result

    async def _state(self, _message: dict[str, Any]) -> dict[str, Any]:
        return {name: _told(party.state()) for name, party in self._parties.items()}


def _told(state: dict[str, Any]) -> dict[str, Any]:
    """A party's state as it fits on a line."""
    text = json.dumps(state, sort_keys=True, default=str)
    return state if len(text) <= MAX_STATE else {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text)}


async def main(folder: Path) -> None:
    control = await Control.connect(str(folder / "control.sock"))
    world = World(configuration.load(folder / "config.json"), control)
    await world.open()
    await world.serve()


def run() -> None:
    """Serve the folder named on the command line."""
    os.umask(0o077)
    asyncio.run(main(Path(sys.argv[1])))


if __name__ == "__main__":
    run()
