"""The engine's end of a world's line against worlds that lie, flood, break off or say nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import EnvironmentDied, InfrastructureError
from sandbox.events import Content
from sandbox.world.link import EVENT_LIMIT, WorldLink


def keep(data: bytes) -> Content:
    return Content(text=data.decode("utf-8", "replace"), size=len(data), sha256=hashlib.sha256(data).hexdigest(), stored=True)


class FakeWorld:
    """The other end: writes what the test likes, and answers `sync` as a world does unless told not to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.answers: dict[int, dict[str, Any]] = {}

    def say(self, message: Mapping[str, Any], *parts: bytes) -> None:
        sizes = {"parts": [len(part) for part in parts]} if parts else {}
        self._writer.write(json.dumps({**message, **sizes}).encode() + b"\n" + b"".join(parts))

    def raw(self, data: bytes) -> None:
        self._writer.write(data)

    async def follow(self) -> None:
        while line := await self._reader.readline():
            message = json.loads(line)
            if message["op"] == "sync":
                self.say({"op": "synced", "n": message["n"]})
            elif message["op"] == "answer":
                self.answers[message["id"]] = message["result"]
            else:
                self.say({"op": "answer", "id": message["id"], "result": {"did": message["op"]}})

    def hang_up(self) -> None:
        self._writer.close()


@asynccontextmanager
async def joined(folder: Path, lost: list[bool] | None = None) -> AsyncIterator[tuple[WorldLink, FakeWorld]]:
    async def answer(what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if what == "forbidden":
            raise InfrastructureError("No.")
        return {"asked": what, **arguments}

    told = [] if lost is None else lost
    link = WorldLink(folder / "s", keep=keep, answer=answer, on_lost=lambda: told.append(True))
    await link.listen()
    world = FakeWorld(*await asyncio.open_unix_connection(str(folder / "s")))
    world.say({"op": "ready"})
    await link.ready(5)
    following = asyncio.create_task(world.follow())
    try:
        yield link, world
    finally:
        following.cancel()
        world.hang_up()
        await link.close()


def name_asked(**more: Any) -> dict[str, Any]:
    fields = {"action": "name_asked", "protocol": "dns", "name": "a.example", **more}
    return {"op": "event", "kind": "effect.network", "fields": fields}


async def test_what_was_said_before_a_sync_is_in_its_answer_in_order(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, world):
        for number in range(5):
            world.say(name_asked(name=f"{number}.example"))
        assert [seen.effect.name for seen in (await link.sync()).effects] == [f"{n}.example" for n in range(5)]
        assert (await link.sync()).effects == []


async def test_bodies_are_kept_by_their_own_digest_and_cut_ones_by_the_worlds_word(tmp_path: Path) -> None:
    body = {"parts": [0], "size": 999, "sha256": "0" * 64}
    async with joined(tmp_path) as (link, world):
        world.say({**name_asked(action="requested"), "bodies": {"request": body}}, b"hello")
        cut = {"parts": [0, 1], "size": 9_000_000, "sha256": "1" * 64}
        world.say({**name_asked(action="requested"), "bodies": {"request": cut}}, b"head", b"tail")
        whole, partly = [seen.effect.request for seen in (await link.sync()).effects]
    assert (whole.size, whole.sha256, whole.stored) == (5, hashlib.sha256(b"hello").hexdigest(), True)
    assert (partly.size, partly.sha256, partly.complete) == (9_000_000, "1" * 64, False)


@pytest.mark.parametrize(
    "message",
    [
        {"op": "event", "kind": "trial.finished", "fields": {"stop_reason": "submitted", "steps": 1}},
        {"op": "event", "kind": "effect.file", "fields": {"action": "created", "path": "/x"}},
        {"op": "event", "kind": "effect.network", "fields": {"action": "invented", "protocol": "x"}},
        {"op": "event", "kind": "effect.network", "fields": {"action": "connected", "protocol": "x", "extra": 1}},
        {
            "op": "event",
            "kind": "effect.service",
            "fields": {},
            "bodies": {"content": {"parts": [7], "size": 1, "sha256": "0" * 64}},
        },
        {"op": "dance"},
    ],
)
async def test_what_a_world_may_not_say_is_counted_and_the_line_holds(tmp_path: Path, message: dict[str, Any]) -> None:
    async with joined(tmp_path) as (link, world):
        world.say(message)
        world.say(name_asked())
        seen = await link.sync()
    assert len(seen.effects) == 1
    assert len(seen.misfits) == 1


async def test_a_flood_is_bounded_and_counted(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, world):
        for _ in range(EVENT_LIMIT + 50):
            world.say(name_asked())
        seen = await link.sync()
    assert (len(seen.effects), seen.dropped) == (EVENT_LIMIT, 50)


@pytest.mark.parametrize(
    "data", [b"not json\n", b'{"op":"event","parts":[99999999999]}\n', b"x" * (2 << 20), b'{"op":"event","parts":[5]}\nab']
)
async def test_a_line_that_breaks_its_framing_ends_the_world_and_is_told_at_once(tmp_path: Path, data: bytes) -> None:
    lost: list[bool] = []
    async with joined(tmp_path, lost) as (link, world):
        world.say(name_asked())
        world.raw(data)
        world.hang_up()
        with pytest.raises(EnvironmentDied):
            await link.sync()
        assert link.lost
        assert len(link.taken().effects) == 1
        with pytest.raises(EnvironmentDied):
            await link.command("advance", step=1)
    assert lost == [True]


async def test_a_world_that_never_speaks_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async def answer(_what: str, _arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    link = WorldLink(tmp_path / "s", keep=keep, answer=answer)
    await link.listen()
    with pytest.raises(InfrastructureError, match="no word"):
        await link.ready(0.05)
    await link.close()


async def test_a_second_client_of_the_socket_is_turned_away(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, world):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        assert await reader.read() == b""
        writer.close()
        world.say(name_asked())
        assert len((await link.sync()).effects) == 1


async def test_requests_of_the_world_are_answered_or_refused_in_words(tmp_path: Path) -> None:
    async with joined(tmp_path) as (link, world):
        world.say({"op": "ask", "id": 1, "what": "instance.create", "arguments": {"name": "x"}})
        world.say({"op": "ask", "id": 2, "what": "forbidden"})
        await link.sync()
        assert await link.command("advance", step=3) == {"did": "advance"}
    assert world.answers == {1: {"asked": "instance.create", "name": "x"}, 2: {"error": "No."}}


@given(st.lists(st.binary(max_size=300), max_size=5))
async def test_no_bytes_break_the_engine(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    async with joined(tmp_path_factory.mktemp("l")) as (link, world):
        world.raw(b"\n".join(lines) + b"\n")
        world.hang_up()
        for _ in range(1000):
            if not link.lost:
                await asyncio.sleep(0.001)
        with pytest.raises(EnvironmentDied):
            await link.sync()
