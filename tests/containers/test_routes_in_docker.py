"""No route leads out: listeners of the test's own on addresses that are not a loopback of whoever calls, tried from every
container of a trial, and reached with the same program from a container that does have a network.

The addresses are put on this machine's own loopback device for as long as the test lasts: from a container they can be reached
by a route alone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import pytest

from sandbox.environment import HostSpec
from sandbox.hosts.capture import STDERR, STDOUT, Bounded
from sandbox.hosts.daemon import LABELS, collect, daemon

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(os.geteuid() != 0, reason="addresses of a machine are its administrator's to give"),
]

OWN4, OWN6 = "198.18.77.1", "2001:2::77:1"
"""From the ranges for measurements between networks (RFC 2544, RFC 5180), which nobody routes."""

WORLD = {
    "sites": [{"host": "status.northgate.example", "address": "198.51.100.20", "pages": {"/": "fine"}}],
}

TRY = """
import socket, sys
kind, address, port, token = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode() + b"\\r\\n\\r\\n"
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.settimeout(2)
try:
    s.connect((address, port))
    s.send(token)
    print("reached" if s.recv(100) == token[::-1] else "somebody else")
except OSError as error:
    print("blocked", type(error).__name__, error)
"""


class Listener(NamedTuple):
    """A listener of the test's own, which answers what it hears backwards and remembers it."""

    kind: str
    address: str
    port: int
    heard: list[bytes]


@contextmanager
def own_addresses() -> Iterator[None]:
    """The two addresses on this machine's loopback device."""
    with ExitStack() as undo:
        for address, *at_once in ((f"{OWN4}/32",), (f"{OWN6}/128", "nodad")):
            subprocess.run(["ip", "addr", "add", address, "dev", "lo", *at_once], check=True)
            undo.callback(subprocess.run, ["ip", "addr", "del", address, "dev", "lo"], check=True)
        yield


class _Backwards(asyncio.DatagramProtocol):
    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._heard.append(data)
        self._transport.sendto(data[::-1], addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def listening() -> AsyncIterator[list[Listener]]:
    """TCP and UDP on both addresses, and TCP on the loopback address of IPv6."""
    found: list[Listener] = []
    loop = asyncio.get_running_loop()
    with own_addresses(), ExitStack() as stack:
        for address in (OWN4, OWN6, "::1"):
            heard: list[bytes] = []

            async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[bytes] = heard) -> None:
                data = await reader.read(100)
                heard.append(data)
                writer.write(data[::-1])
                with suppress(ConnectionError):
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(talk, address, 0)
            stack.callback(server.close)
            found.append(Listener("tcp", address, server.sockets[0].getsockname()[1], heard))
        for address in (OWN4, OWN6):
            heard = []
            transport, _ = await loop.create_datagram_endpoint(lambda heard=heard: _Backwards(heard), (address, 0))  # type: ignore[misc]
            stack.callback(transport.close)
            found.append(Listener("udp", address, transport.get_extra_info("sockname")[1], heard))
        yield found


async def run_in(container: str, user: str, *argv: str) -> str:
    """Output of a program in any container, started by the daemon itself."""
    engine = daemon()
    made = await engine.exec_create(container, argv, user=user, env={}, cwd="/", stdin=True, doing="test")
    stream = await engine.attach(made, "test")
    kept = {STDOUT: Bounded(10**6), STDERR: Bounded(10**6)}
    await collect(stream, b"", kept)
    stream.close()
    return (kept[STDOUT].value() + kept[STDERR].value()).decode("utf-8", "replace")


@asynccontextmanager
async def container_on(network: str) -> AsyncIterator[str]:
    """A container of the test's own that does have a network: `host` is this machine's, `bridge` leads to it by a route."""
    engine = daemon()
    request = {
        "Image": engine.image_id("belljar/base"),
        "Entrypoint": ["/bin/sleep", "300"],
        "Labels": {LABELS.own: "1", "belljar.run": "tests"},
        "HostConfig": {"NetworkMode": network, "CapDrop": ["ALL"]},
    }
    container = await engine.create(request, "Creating")
    try:
        await engine.start(container, "Starting")
        yield container
    finally:
        await engine.remove(container)


async def attempt(container: str, user: str, listener: Listener) -> tuple[str, bytes]:
    """What came of trying to reach a listener, and what it must then have heard."""
    token = secrets.token_hex(8).encode()
    said = await run_in(
        container, user, "/usr/bin/python3", "-c", TRY, listener.kind, listener.address, str(listener.port), token.decode()
    )
    return said, token + b"\r\n\r\n"


async def has_bridge() -> bool:
    return "bridge" in {network["Name"] for network in await daemon().call("Listing", daemon().api.networks)}


async def test_no_container_of_a_trial_reaches_an_address_that_is_this_machines_alone(inhabit) -> None:
    async with listening() as listeners, inhabit(WORLD, HostSpec("spare", "spare-02")) as here:
        inside = {host: (facts.container, "1000:1000") for host, facts in here.environment._hosts.items()}
        inside["world"] = (here.world.container, "980:980")
        assert set(inside) == {"agent", "spare", "world"}
        for host in ("agent", "spare"):
            site = Listener("tcp", "198.51.100.20", 80, [])
            assert (await attempt(*inside[host], site))[0] == "somebody else\n", (
                "a host reaches the world with the same program"
            )
        for listener in listeners:
            for host, place in inside.items():
                said, token = await attempt(*place, listener)
                assert said.startswith("blocked"), (host, listener, said)
                assert token not in listener.heard, (host, listener)
        async with container_on("host") as control:
            for listener in listeners:
                said, token = await attempt(control, "1000:1000", listener)
                assert (said, listener.heard[-1]) == ("reached\n", token), listener


async def test_the_same_program_reaches_the_address_by_a_route_where_there_is_one() -> None:
    if not await has_bridge():
        pytest.skip("this daemon has no bridge")
    async with listening() as listeners, container_on("bridge") as control:
        for listener in listeners:
            if listener.address != OWN4:
                continue
            said, token = await attempt(control, "1000:1000", listener)
            assert (said, listener.heard[-1]) == ("reached\n", token), listener
