"""The world's end of its line to the engine: what it does while it is asked something, and while much comes in."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any


class Engine:
    """The other end: sends commands, answers what it is asked, and keeps what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.asked: list[str] = []

    def say(self, **message: Any) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def until(self, op: str) -> dict[str, Any]:
        """The next message of a kind; requests before it are answered."""
        async with asyncio.timeout(20):
            while True:
                message: dict[str, Any] = json.loads(await self._reader.readline())
                if message["op"] == "ask":
                    self.asked.append(message["what"])
                    self.say(op="answer", id=message["id"], result={"done": message["what"]})
                if message["op"] == op:
                    return message


@asynccontextmanager
async def joined(folder: Path, commands: dict[str, Any]) -> AsyncIterator[tuple[Any, Engine]]:
    from world.control import Control

    arrived: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_unix_server(lambda r, w: arrived.set_result(Engine(r, w)), path=str(folder / "s"))
    control = await Control.connect(str(folder / "s"))
    engine = await arrived
    for name, command in commands.items():
        commands[name] = command(control)
    running = asyncio.create_task(control.run(commands))
    try:
        yield control, engine
    finally:
        engine._writer.close()
        with suppress(ConnectionError):  # what was not read when it closed
            await asyncio.wait_for(running, 5)
        control._writer.close()
        server.close()
        await asyncio.sleep(0)


async def test_a_command_may_ask_the_engine_and_what_follows_waits_for_it(tmp_path: Path) -> None:
    def stop(control: Any) -> Any:
        async def act(message: dict[str, Any]) -> dict[str, Any]:
            return {"answered": await control.ask("instance.stop", {"id": message["what"]})}

        return act

    async with joined(tmp_path, {"fire": stop}) as (_, engine):
        engine.say(op="fire", id=1, what="i-1")
        engine.say(op="sync", n=7)
        assert (await engine.until("answer"))["result"] == {"answered": {"done": "instance.stop"}}
        assert (await engine.until("synced"))["n"] == 7
        assert engine.asked == ["instance.stop"]


async def test_the_end_of_the_line_ends_the_world(tmp_path: Path) -> None:
    async with joined(tmp_path, {}) as (_, engine):
        engine.say(op="dance", id=1)
        assert "unknown command" in (await engine.until("answer"))["result"]["error"]


async def test_a_sync_is_answered_while_events_never_stop(tmp_path: Path) -> None:
    async with joined(tmp_path, {}) as (control, engine):

        async def flood() -> None:
            while True:
                control.send({"op": "event"})
                time.sleep(0.02)  # noqa: ASYNC251 - what a heavy request does to everybody else
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        begun = time.monotonic()
        engine.say(op="sync", n=1)
        await engine.until("synced")
        assert time.monotonic() - begun < 8
        flooding.cancel()


async def test_a_look_of_the_engine_brings_the_count_of_refusals_up_to_date(tmp_path: Path) -> None:
    from world.__main__ import World
    from world.config import Config
    from world.control import Control

    arrived: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_unix_server(lambda r, w: arrived.set_result(Engine(r, w)), path=str(tmp_path / "s"))
    control = await Control.connect(str(tmp_path / "s"))
    world = World(Config(seed=1, resolvers=(), zone={}, parties=()), control)
    serving = asyncio.create_task(world.serve())
    engine = await arrived
    tally = world._journal.tally()
    for _ in range(8):
        tally.add(lambda count: world._journal.network(action="refused", protocol="dns", detail={"count": count}))
    engine.say(op="sync", n=1)
    assert [(await engine.until("event"))["fields"]["detail"]["count"] for _ in range(2)] == [1, 8]
    assert (await engine.until("synced"))["n"] == 1
    engine._writer.close()
    await asyncio.wait_for(serving, 5)
    control._writer.close()
    server.close()
