"""The engine's end of the line to a world: reads what it has seen, checks it, and asks it to do things.

The world reads hostile input, so nothing it says is trusted: a message may be an event of the two kinds that a world may
cause, an answer, or a request; each is bounded in size, events and bodies in number, and fitted to the engine's own models.
What does not fit is counted and told as a gap; the end of the line is the end of the world.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from sandbox.errors import BelljarError, EnvironmentDied, InfrastructureError
from sandbox.events import Content, NetworkEffect, ServiceEffect

LINE_LIMIT = 1 << 20
BODY_LIMIT = 8 * 1024 * 1024 + 1
EVENT_LIMIT = 4000
"""Events kept between two drains; more are counted as dropped."""

MISFIT_LIMIT = 20

KEPT_LIMIT = 512 * 1024 * 1024
"""Bytes of bodies kept in one trial; later ones leave their digest and a bounded text."""

Effect = NetworkEffect | ServiceEffect
Answer = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
MODELS: Mapping[str, type[NetworkEffect] | type[ServiceEffect]] = {
    "effect.network": NetworkEffect,
    "effect.service": ServiceEffect,
}


class _Body(BaseModel):
    """How the world describes a body: which parts hold it (one: all of it, two: head and tail), its size and digest."""

    model_config = ConfigDict(extra="forbid")
    parts: list[int] = Field(min_length=1, max_length=2)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Message(BaseModel):
    """Any message of the world; which fields count depends on `op`."""

    model_config = ConfigDict(extra="forbid")
    op: str = Field(max_length=20)
    parts: list[int] = Field(default=[], max_length=4)
    kind: str = Field(default="", max_length=40)
    at: int = 0
    client: str = Field(default="", max_length=60)
    fields: dict[str, JsonValue] = {}
    bodies: dict[str, _Body] = {}
    n: int = 0
    id: int = 0
    what: str = Field(default="", max_length=100)
    arguments: dict[str, JsonValue] = {}
    result: dict[str, JsonValue] = {}
    was: str | None = None
    size: int = 0


class SeenEffect(NamedTuple):
    """An effect, when the world saw it (Unix microseconds), and the `address:port` of the client that caused it, if one did."""

    at: int
    client: str
    effect: Effect


@dataclass
class Seen:
    """What one drain hands over: effects in order, how many were dropped, what did not fit."""

    effects: list[SeenEffect] = field(default_factory=list)
    dropped: int = 0
    misfits: list[str] = field(default_factory=list)


class WorldLink:
    """Listens on a socket for one world. `keep` puts a body into the blob store and describes it for an event; `answer`
    does what the world asks for; `on_lost` is called as soon as the line has ended."""

    def __init__(
        self,
        socket: Path,
        *,
        keep: Callable[[bytes], Content],
        answer: Answer,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._socket = socket
        self._keep = keep
        self._answer = answer
        self._on_lost = on_lost
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._seen = Seen()
        self._kept = 0
        self._last_us = time.time_ns() // 1000
        self._numbers = itertools.count(1)
        self._waiting: dict[tuple[str, int], asyncio.Future[dict[str, Any]]] = {}
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._why_lost = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def lost(self) -> str:
        """Why the line ended; "" while it holds."""
        return self._why_lost if self._lost.is_set() else ""

    async def listen(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, path=str(self._socket), limit=LINE_LIMIT)
        self._socket.chmod(0o666)

    async def ready(self, seconds: float) -> None:
        """Wait until the world's doors are open. InfrastructureError when that takes too long or it dies before."""
        waits = [asyncio.ensure_future(self._ready.wait()), asyncio.ensure_future(self._lost.wait())]
        done, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if not self._ready.is_set():
            why = self._why_lost if done else f"no word in {seconds:.0f} s"
            raise InfrastructureError(f"The world did not come up: {why}.")

    async def sync(self) -> Seen:
        """Everything the world saw before this call."""
        number = next(self._numbers)
        await self._exchange({"op": "sync", "n": number}, ("synced", number))
        seen, self._seen = self._seen, Seen()
        return seen

    def taken(self) -> Seen:
        """What has arrived so far, without asking: for a world that is gone."""
        seen, self._seen = self._seen, Seen()
        return seen

    async def command(self, op: str, **fields: Any) -> dict[str, Any]:
        """Have the world do something; its answer, {"error": text} if it could not."""
        number = next(self._numbers)
        return await self._exchange({"op": op, "id": number, **fields}, ("answer", number))

    async def close(self) -> None:
        """End the line; the world then ends by itself."""
        self._on_lost = lambda: None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer:
            self._writer.close()
        if self._server:
            self._server.close()

    async def _exchange(self, message: Mapping[str, Any], key: tuple[str, int], seconds: float = 30.0) -> dict[str, Any]:
        if self._lost.is_set() or self._writer is None:
            raise EnvironmentDied(f"The world is gone: {self._why_lost or 'it never connected'}.")
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[key] = future
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            self._lose(f"it did not answer {message['op']} within {seconds:.0f} s")
            raise EnvironmentDied(f"The world is gone: {self._why_lost}.") from None
        finally:
            self._waiting.pop(key, None)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._writer is not None:
            writer.close()
            return
        self._writer = writer
        try:
            while line := await reader.readline():
                await self._take(line, reader)
            self._lose("its line ended")
        except (ValueError, ConnectionError, asyncio.IncompleteReadError) as error:
            self._lose(f"its line broke ({type(error).__name__})")
        finally:
            writer.close()

    async def _take(self, line: bytes, reader: asyncio.StreamReader) -> None:
        """One message. A line that is no message, or an oversized part, breaks the line: its framing is lost."""
        message = _Message.model_validate_json(line)
        if any(not 0 <= size <= BODY_LIMIT for size in message.parts):
            raise ValueError("a part is too large")
        parts = [await reader.readexactly(size) for size in message.parts]
        match message.op:
            case "event":
                self._event(message, parts)
            case "ready":
                self._ready.set()
            case "synced":
                self._resolve(("synced", message.n), {})
            case "answer":
                self._resolve(("answer", message.id), dict(message.result))
            case "ask":
                task = asyncio.create_task(self._asked(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case other:
                self._misfit(f"{other}: {message.was or f'{message.size} bytes'}"[:600])

    def _event(self, message: _Message, parts: Sequence[bytes]) -> None:
        if len(self._seen.effects) >= EVENT_LIMIT:
            self._seen.dropped += 1
            return
        model = MODELS.get(message.kind)
        try:
            if model is None:
                raise ValueError(f"a world may not cause {message.kind!r}")
            bodies = {name: self._content(body, parts) for name, body in message.bodies.items()}
            effect = model.model_validate({**message.fields, **bodies})
            self._last_us = max(self._last_us, min(message.at, time.time_ns() // 1000))
            self._seen.effects.append(SeenEffect(self._last_us, message.client, effect))
        except (ValidationError, ValueError, IndexError) as error:
            self._misfit(f"{message.kind}: {str(error)[:300]}")

    def _misfit(self, what: str) -> None:
        """Something that is no event: the first few in words, then only their number."""
        if len(self._seen.misfits) < MISFIT_LIMIT:
            self._seen.misfits.append(what)
        else:
            self._seen.dropped += 1

    def _content(self, body: _Body, parts: Sequence[bytes]) -> Content:
        pieces = [parts[index] for index in body.parts]
        if len(pieces) == 1 and self._kept + len(pieces[0]) <= KEPT_LIMIT:
            self._kept += len(pieces[0])
            return self._keep(pieces[0])
        whole = len(pieces) == 1
        text = "\n[...]\n".join(piece[:4096].decode("utf-8", "replace") for piece in pieces)
        sha256 = hashlib.sha256(pieces[0]).hexdigest() if whole else body.sha256
        return Content(text=text, size=len(pieces[0]) if whole else body.size, sha256=sha256, complete=False)

    async def _asked(self, message: _Message) -> None:
        try:
            result = await self._answer(message.what, message.arguments)
        except BelljarError as error:
            result = {"error": str(error)}
        if self._writer and not self._writer.is_closing():
            self._writer.write(json.dumps({"op": "answer", "id": message.id, "result": result}).encode() + b"\n")

    def _resolve(self, key: tuple[str, int], result: dict[str, Any]) -> None:
        future = self._waiting.get(key)
        if future and not future.done():
            future.set_result(result)

    def _lose(self, why: str) -> None:
        if self._lost.is_set():
            return
        self._why_lost = why
        self._lost.set()
        self._on_lost()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EnvironmentDied(f"The world is gone: {why}."))
