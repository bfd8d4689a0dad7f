"""HTTP/1.1 for every host of the world: parses with h11, finds who answers for the name asked, records, then answers.

A request is recorded before its answer leaves, so that what a client has seen the engine has too. Hostile input ends in
a bounded refusal: the size of headers and bodies, the time that a body, an answer or a pause may take and the number of open
connections all have limits. Requests take turns, so that the line to the engine is served between any two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

import h11

from . import page
from .budget import Budget, Refused
from .journal import Journal
from .message import Headers, Request, Response, slices

MAX_HEADER = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
MAX_PIECES = 100_000
"""Pieces that a body may come in: each costs time, however small it is."""

PIECES_AT_ONCE = 64
FREE = 16 * 1024
"""Bytes of a request and of an answer that need no room of the shared budget, so that small ones always go through."""

HEAD_SECONDS = 20.0
BODY_SECONDS = 60.0
WHOLE_BODY_SECONDS = 300.0
SEND_SECONDS = 60.0
"""How long a client may take for one slice of an answer."""

IDLE_SECONDS = 75.0
LINGER_SECONDS = 1.0


class Answerer(Protocol):
    """A site or service that speaks HTTP. `server` is its Server header."""

    server: str

    async def answer(self, request: Request) -> Response: ...


@dataclass(frozen=True)
class Endpoint:
    """Where a connection came in: the client, the address and port it meant, who answers there for which name, and how many
    seconds of a round trip `away` that is."""

    source: str
    address: str
    port: int
    secure: bool
    hosts: Mapping[str, Answerer]
    away: float = 0.0

    def answerer(self, host: str) -> Answerer | None:
        """By exact name, else by the nearest wildcard, else by address when the host is none of ours but an address."""
        if host in self.hosts:
            return self.hosts[host]
        parent = host
        while "." in parent:
            parent = parent.split(".", 1)[1]
            if f"*.{parent}" in self.hosts:
                return self.hosts[f"*.{parent}"]
        return self.hosts.get("") if host in ("", self.address, f"[{self.address}]") else None


class Connection:
    """One client's connection, from its first byte to its close. `held` is the room for all bodies that are under way."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        endpoint: Endpoint,
        journal: Journal,
        held: Budget,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._endpoint = endpoint
        self._journal = journal
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
        self._held = held
        self._holding = 0

    async def serve(self) -> None:
        """Answer requests until either side has had enough."""
        wait = HEAD_SECONDS
        try:
            while await self._one(wait):
                self._http.start_next_cycle()
                self._release()
                wait = IDLE_SECONDS
                await asyncio.sleep(0)
        finally:
            self._release()

    def _hold(self, size: int) -> None:
        self._held.take(size)
        self._holding += size

    def _release(self) -> None:
        self._held.release(self._holding)
        self._holding = 0

    def _weighed(self, response: Response) -> Response:
        """The answer, once there is room for it."""
        self._holding += response.held
        try:
            self._hold(0 if response.stored or response.held else max(0, len(response.body) - FREE))
        except Refused as error:
            return Response.html(page.error(error.status), error.status, [("Retry-After", "30")])
        return response

    async def _one(self, wait: float) -> bool:
        """Take and answer one request; True if the connection lives on."""
        try:
            request = await self._request(wait)
            if request is None:
                return False
            await self._journal.turn()
            response = self._weighed(await self._answer(request))
        except h11.RemoteProtocolError as error:
            await self._refuse(error.error_status_hint, str(error))
            return False
        except Refused as error:
            await self._refuse(error.status, str(error))
            return False
        server = self._server(request.host)
        await self._record(request, response)
        await asyncio.sleep(self._endpoint.away)
        await self._send(request.method, response, server)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _request(self, wait: float) -> Request | None:
        event = await self._event(wait)
        if isinstance(event, h11.ConnectionClosed):
            return None
        assert isinstance(event, h11.Request)
        if not event.http_version.startswith(b"1."):
            raise Refused(505, f"HTTP/{event.http_version.decode('ascii', 'replace')}")
        if (size := sum(len(key) + len(value) + 4 for key, value in event.headers) + len(event.target)) > MAX_HEADER:
            raise Refused(431, f"{size} bytes of headers")
        headers = [(key.decode("ascii", "replace").lower(), value.decode("utf-8", "replace")) for key, value in event.headers]
        declared = next((value for key, value in headers if key == "content-length"), "0")
        if int(declared) > MAX_BODY:
            raise Refused(413, f"a body of {declared} bytes")
        try:
            async with asyncio.timeout(WHOLE_BODY_SECONDS):
                body = await self._body()
        except TimeoutError:
            raise Refused(408, "the client was too slow with its body") from None
        target = event.target.decode("utf-8", "replace")
        host = next((value for key, value in headers if key == "host"), "")
        if target.startswith(("http://", "https://")):  # a client that takes us for a proxy
            host, target = _absolute(target)
        return Request(
            method=event.method.decode("ascii", "replace"),
            target=target,
            host=_without_port(host).lower().rstrip("."),
            headers=headers,
            body=body,
            source=self._endpoint.source,
            destination=self._endpoint.address,
            port=self._endpoint.port,
            secure=self._endpoint.secure,
        )

    async def _body(self) -> bytes:
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[], reason="Continue"))
        body = bytearray()
        for pieces in range(MAX_PIECES):
            event = await self._event(BODY_SECONDS)
            if isinstance(event, h11.EndOfMessage):
                return bytes(body)
            if not isinstance(event, h11.Data):
                raise Refused(400, "the client left in the middle of its body")
            if len(body) + len(event.data) > MAX_BODY:
                raise Refused(413, f"a body of more than {MAX_BODY} bytes")
            body += event.data
            self._hold(max(0, min(len(event.data), len(body) - FREE)))
            if pieces % PIECES_AT_ONCE == 0:
                await asyncio.sleep(0)
        raise Refused(413, "a body in too many pieces")

    async def _event(self, wait: float) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            async with asyncio.timeout(wait):
                while (event := self._http.next_event()) is h11.NEED_DATA:
                    self._http.receive_data(await self._reader.read(256 * 1024))
        except TimeoutError:
            if self._http.their_state is h11.IDLE and not self._http.trailing_data[0]:
                return h11.ConnectionClosed()
            raise Refused(408, "the client was too slow") from None
        return event

    async def _answer(self, request: Request) -> Response:
        answerer = self._endpoint.answerer(request.host)
        if request.method == "CONNECT" or answerer is None:
            status = 405 if request.method == "CONNECT" else 404
            return Response.html(page.error(status), status)
        if request.header("upgrade").strip().lower() == "websocket":
            return Response.text("this server does not offer websockets\n", 400)
        try:
            return await answerer.answer(request)
        except Refused as error:
            return Response.json({"error": str(error)}, error.status, error.headers)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return Response.json({"error": f"bad request: {error}"}, 400)
        except Exception as error:
            self._journal.fault(f"{request.method} {request.host}", error)
            return Response.html(page.error(500, answerer.server), 500)

    def _server(self, host: str) -> str:
        answerer = self._endpoint.answerer(host)
        return answerer.server if answerer else "nginx"

    async def _record(self, request: Request, response: Response) -> None:
        await self._journal.turn()
        self._journal.network(
            action="requested",
            protocol="https" if request.secure else "http",
            source=request.source,
            destination=request.destination,
            port=request.port,
            name=request.host[:300],
            method=request.method[:40],
            target=request.target[:4000],
            status=response.status,
            request=request.body,
            response=response.body,
            detail={
                "headers": _bounded(request.headers),
                "response_headers": _bounded(response.headers),
                **({"streamed": response.size} if response.stream else {}),
            },
        )
        await self._journal.settled()

    async def _refuse(self, status: int, why: str) -> None:
        self._journal.network(
            action="requested",
            protocol="https" if self._endpoint.secure else "http",
            source=self._endpoint.source,
            destination=self._endpoint.address,
            port=self._endpoint.port,
            status=status,
            detail={"refused": why[:500]},
        )
        await self._journal.settled()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send("GET", Response.html(page.error(status), status, [("Connection", "close")]), "nginx")
        await self._linger()

    async def _linger(self) -> None:
        """Read on for a moment, so that the refusal is not lost to a reset while the client still sends."""
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while await self._reader.read(256 * 1024):
                    pass
        except TimeoutError:
            return

    async def _send(self, method: str, response: Response, server: str) -> None:
        size = response.size if response.stream else len(response.body)
        headers: Headers = [("Server", server), ("Date", formatdate(usegmt=True)), *response.headers]
        given = {key.lower() for key, _ in headers}
        if "content-length" not in given and response.status not in (204, 304):
            headers.append(("Content-Length", str(size)))
        if response.body and "content-type" not in given:
            headers.append(("Content-Type", "text/html"))
        if "connection" not in given:
            headers.append(("Connection", "keep-alive"))
        self._write(h11.Response(status_code=response.status, headers=headers, reason=page.reason(response.status, server)))
        if method != "HEAD" and response.status not in (204, 304):
            await self._send_body(response)
        self._write(h11.EndOfMessage())
        await self._drain()

    async def _send_body(self, response: Response) -> None:
        for chunk in response.stream or slices(response.body):
            self._write(h11.Data(data=chunk))
            await self._drain()

    async def _drain(self) -> None:
        """Wait until the client has taken most of what was sent; one that takes nothing for too long is let go."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._writer.drain()
        except TimeoutError:
            self._writer.transport.abort()
            raise

    def _write(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _absolute(target: str) -> tuple[str, str]:
    host, slash, path = target.partition("://")[2].partition("/")
    return host, slash + path or "/"


def _bounded(headers: Headers) -> dict[str, str]:
    """Headers as the event keeps them: at most 64, each at most 2,000 characters; repeated ones joined."""
    kept: dict[str, str] = {}
    for key, value in headers[:64]:
        kept[key.lower()] = f"{kept[key.lower()]}, {value[:2000]}" if key.lower() in kept else value[:2000]
    return kept
