"""The doors of the world: one socket for each declared address and port, so that the kernel itself refuses all others.

Sockets are bound before the addresses exist (IP_FREEBIND), hence the world can start before it is wired. What a door
leads to is fixed by its port's kind; the number of clients inside at once is bounded.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from .budget import Budget
from .config import Listener
from .http import Answerer, Connection, Endpoint
from .journal import Journal
from .latency import Latency
from .tls import Certificates

IP_FREEBIND = 15
IPV6_FREEBIND = 78
MAX_CLIENTS = 800
MAX_OF_ONE = 500
"""Clients at once from one address, so that a host that hoards connections leaves room for the others."""

HANDSHAKE_SECONDS = 15.0
READ_AHEAD = 64 * 1024
"""Half of what is read of a client before somebody asks for it."""

Secure = Callable[[], Awaitable[bool]]
"""Makes the line secure from here on; False if the client did not."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Secure | None], Awaitable[None]]
"""What is done with a client; `Secure` is given where a certificate is there and the line is yet in clear."""


def open_socket(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A bound socket on an address that need not exist yet; a stream one listens."""
    six = ":" in address
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if six:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen(512)
    return sock


class Doors:
    """Opens listeners and keeps count of the clients that are inside."""

    def __init__(self, journal: Journal, certificates: Certificates, held: Budget, latency: Latency) -> None:
        self._journal = journal
        self._held = held
        self._latency = latency
        self._certificates = certificates
        self._inside: Counter[str] = Counter()
        self._turned_away = journal.tally()

    async def open_http(self, listener: Listener, hosts: dict[str, Answerer]) -> None:
        """Answer HTTP, or HTTPS, for `hosts` at one address and port."""
        away = self._latency.to(listener.address)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _secure: Secure | None) -> None:
            endpoint = Endpoint(_source(writer), listener.address, listener.port, listener.tls, hosts, away)
            await Connection(reader, writer, endpoint, self._journal, self._held).serve()

        await self.open(listener, talk)

    async def open(self, listener: Listener, talk: Talk) -> None:
        """Hold `talk` with every client of one address and port, after a TLS handshake where the listener asks for one."""
        away = self._latency.to(listener.address)

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = _source(writer).rpartition(":")[0]
            if self._inside.total() >= MAX_CLIENTS or self._inside[client] >= MAX_OF_ONE:
                self._turn_away(writer, listener)
                return
            self._inside[client] += 1
            self._journal.talking_to(_source(writer))
            secure = partial(self._handshake, writer, listener)
            try:
                if not listener.tls or await secure():
                    await asyncio.sleep(away)
                    await talk(reader, writer, secure if listener.certificate and not listener.tls else None)
            except (ConnectionError, TimeoutError, ssl.SSLError, asyncio.IncompleteReadError):
                return
            except Exception as error:
                self._journal.fault(f"{listener.protocol} on {listener.address}:{listener.port}", error)
            finally:
                self._leaves(client)
                writer.close()

        sock = open_socket(listener.address, listener.port, socket.SOCK_STREAM)
        await asyncio.start_server(accepted, sock=sock, limit=READ_AHEAD)

    def _leaves(self, client: str) -> None:
        self._inside[client] -= 1
        if not self._inside[client]:
            del self._inside[client]

    async def _handshake(self, writer: asyncio.StreamWriter, listener: Listener) -> bool:
        """True once the line is secure. A client that does not trust us, or speaks no TLS, is recorded."""
        try:
            await writer.start_tls(self._certificates.context(listener.certificate), ssl_handshake_timeout=HANDSHAKE_SECONDS)
        except (ssl.SSLError, ConnectionError, TimeoutError) as error:
            self._refused(_source(writer), listener, f"TLS handshake: {getattr(error, 'reason', '') or type(error).__name__}")
            return False
        return True

    def _turn_away(self, writer: asyncio.StreamWriter, listener: Listener) -> None:
        """Too many clients: reset."""
        source = _source(writer)
        self._turned_away.add(lambda count: self._refused(source, listener, "too many connections", count=count))
        writer.transport.abort()

    def _refused(self, source: str, listener: Listener, why: str, **more: Any) -> None:
        self._journal.network(
            action="refused",
            protocol="tls" if listener.tls else "tcp",
            source=source,
            destination=listener.address,
            port=listener.port,
            detail={"why": why, **more},
        )


def _source(writer: asyncio.StreamWriter) -> str:
    """The client as `address:port`; empty if it has already gone."""
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else ""
