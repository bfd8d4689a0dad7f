"""The world's one line to the engine: JSON lines over a unix socket, each followed by the raw bytes its `parts` count.

Order is the promise: what was written before `synced` happened before the engine's `sync` was answered. A lost line ends
the world, so that it never goes on unseen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

SETTLE_SECONDS = 2.0
LINE_LIMIT = 1 << 20
"""Largest line that either side accepts, in bytes; bodies travel as parts and do not count."""

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Control:
    """A connected channel. `run` serves the engine's commands until the line is lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    @classmethod
    async def connect(cls, path: str) -> Control:
        return cls(*await asyncio.open_unix_connection(path, limit=LINE_LIMIT))

    def send(self, message: dict[str, Any], parts: Sequence[bytes] = ()) -> None:
        """Write one message now, in order; `drained` waits until the engine has room again."""
        if parts:
            message = {**message, "parts": [len(part) for part in parts]}
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if len(line) > LINE_LIMIT:
            line = json.dumps({"op": "oversize", "was": message.get("op"), "size": len(line)}).encode() + b"\n"
            parts = ()
        self._writer.write(line)
        for part in parts:
            self._writer.write(part)
        self._sent += 1

    async def drained(self) -> None:
        """Wait until the engine has taken what was sent: a flood of requests slows down, nothing is dropped here."""
        await self._writer.drain()

    async def ask(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Ask the engine for something only it can do; returns its answer, {"error": text} when it declines."""
        number = next(self._ids)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send({"op": "ask", "id": number, "what": what, "arguments": arguments})
        return await future

    async def run(self, commands: Mapping[str, Handler], before_synced: Callable[[], None] = lambda: None) -> None:
        """Serve the engine until the line ends. Commands run one after the other, in the order they came, and may `ask`.
        `before_synced` sends what was held back until the engine looks."""
        orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        following = asyncio.create_task(self._follow(orders, commands, before_synced))
        reading = asyncio.create_task(self._read(orders))
        done, pending = await asyncio.wait((following, reading), return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        for task in done:
            task.result()

    async def _read(self, orders: asyncio.Queue[dict[str, Any]]) -> None:
        while line := await self._reader.readline():
            message = json.loads(line)
            if message["op"] == "answer":
                self._waiting.pop(message["id"]).set_result(message["result"])
            else:
                orders.put_nowait(message)

    async def _follow(
        self, orders: asyncio.Queue[dict[str, Any]], commands: Mapping[str, Handler], before_synced: Callable[[], None]
    ) -> None:
        while True:
            message = await orders.get()
            if message["op"] == "sync":
                await self._settle()
                before_synced()
                self.send({"op": "synced", "n": message["n"]})
            else:
                self.send({"op": "answer", "id": message["id"], "result": await _answer(commands, message)})

    async def _settle(self) -> None:
        """Let what the kernel has already delivered be read and recorded: turns of the loop until none adds anything, or until
        so much comes in that it is better to say what there is."""
        quiet = 0
        until = time.monotonic() + SETTLE_SECONDS
        for _ in range(200):
            before = self._sent
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._sent == before else 0
            if quiet == 4 or time.monotonic() > until:
                return


async def _answer(commands: Mapping[str, Handler], message: dict[str, Any]) -> dict[str, Any]:
    handler = commands.get(message["op"])
    if handler is None:
        return {"error": f"unknown command {message['op']}"}
    try:
        return await handler(message)
    except (KeyError, ValueError, TypeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
