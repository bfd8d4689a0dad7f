"""The cloud's books: no order passes quota or budget, and none is told that the engine did not carry out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.containers.party import Party, build_party


class Engine:
    """Starts and stops what it is asked to, unless told to refuse; waits at `gate` before it answers."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.refuses: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        await self.gate.wait()
        if what in self.refuses:
            return {"error": "No."}
        (self.running.discard if what == "instance.stop" else self.running.add)(arguments["id"])
        return {"host": arguments["id"].replace("-", "_"), "address": "45.33.98.12"}


def cloud(**options: Any) -> tuple[Party, Engine]:
    party = build_party({"services": [{"type": "cloud", "host": "api.cloud.example", "quota": 1, **options}]})
    engine = Engine()
    party.recorder.engine = engine
    return party, engine


async def order(party: Party, name: str) -> Any:
    return await party.ask("POST", "/v1/instances", {"name": name})


async def act(party: Party, number: str, what: str) -> Any:
    return await party.ask("POST", f"/v1/instances/{number}/actions", {"type": what})


async def statuses(party: Party) -> list[str]:
    return [instance["status"] for instance in (await party.ask("GET", "/v1/instances"))["instances"]]


async def test_a_stopped_machine_starts_again_only_within_the_quota() -> None:
    party, engine = cloud()
    first = (await order(party, "a"))["id"]
    assert (await act(party, first, "stop"))["status"] == "STOPPED"
    second = (await order(party, "b"))["id"]
    assert "instance limit" in (await act(party, first, "start"))["message"]
    assert engine.running == {second}
    assert await statuses(party) == ["STOPPED", "RUNNING"]
    await act(party, second, "stop")
    assert (await act(party, first, "start"))["status"] == "RUNNING"
    assert party.meanings()[-3:] == ["instance.denied", "instance.stopped", "instance.started"]


async def test_a_spent_budget_starts_nothing() -> None:
    party, engine = cloud(budget=0.03)
    first = (await order(party, "a"))["id"]
    party.clock.advance(5)
    await act(party, first, "stop")
    assert "budget" in (await act(party, first, "start"))["message"]
    assert not engine.running
    assert party.recorder.meanings()[-1] == ("instance.denied", {"why": "budget", "instance": first, "by": "default"})


async def test_two_orders_at_once_do_not_share_one_place() -> None:
    party, engine = cloud(max_instances=8)
    first = (await order(party, "a"))["id"]
    await act(party, first, "stop")
    engine.gate.clear()
    orders = [asyncio.create_task(act(party, first, "start")), asyncio.create_task(order(party, "b"))]
    await asyncio.sleep(0)
    engine.gate.set()
    started, refused = await asyncio.gather(*orders)
    assert started["status"] == "RUNNING"
    assert refused["id"] == "forbidden"
    assert engine.running == {first}


@pytest.mark.parametrize("what", ["instance.stop", "instance.start", "instance.create"])
async def test_what_the_engine_refuses_is_denied_and_nothing_is_said_to_have_happened(what: str) -> None:
    party, engine = cloud(quota=4)
    first = (await order(party, "a"))["id"]
    second = (await order(party, "b"))["id"]
    await act(party, second, "stop")
    before = len(party.meanings())
    engine.refuses.add(what)
    asked = {
        "instance.stop": [lambda: act(party, first, "stop"), lambda: party.ask("DELETE", f"/v1/instances/{first}")],
        "instance.start": [lambda: act(party, second, "start")],
        "instance.create": [lambda: order(party, "c")],
    }[what]
    for each in asked:
        assert (await each())["id"] == "server_error"
    assert (await statuses(party))[:2] == ["RUNNING", "STOPPED"]
    assert {name for name, _ in party.recorder.meanings()[before:]} == {"instance.denied"}
    assert {subject["why"] for _, subject in party.recorder.meanings()[before:]} == {"provider"}


async def test_a_machine_is_not_destroyed_while_it_comes_up_and_then_stays_gone() -> None:
    party, engine = cloud()
    engine.gate.clear()
    ordered = asyncio.create_task(order(party, "a"))
    await asyncio.sleep(0)
    number = next(iter(party.service.state()))
    assert "PROVISIONING" in (await party.ask("DELETE", f"/v1/instances/{number}"))["message"]
    engine.gate.set()
    assert (await ordered)["status"] == "RUNNING"
    assert (await party.ask("DELETE", f"/v1/instances/{number}"))[0] == 204
    assert (await party.ask("DELETE", f"/v1/instances/{number}"))[0] == 204
    assert await statuses(party) == ["TERMINATED"]
    assert "TERMINATED" in (await act(party, number, "start"))["message"]
    assert not engine.running
    assert party.meanings() == ["instance.created", "instance.terminated"]


async def test_a_machine_that_never_came_up_is_not_said_to_have_ended() -> None:
    party, engine = cloud()
    engine.refuses.add("instance.create")
    await order(party, "a")
    (number,) = party.service.state()
    assert (await party.ask("DELETE", f"/v1/instances/{number}"))[0] == 204
    assert party.meanings() == ["instance.denied"]


async def test_the_provider_stops_what_the_engine_stops_and_says_which() -> None:
    party, engine = cloud(quota=4)
    first = (await order(party, "a"))["id"]
    second = (await order(party, "b"))["id"]
    assert (await party.service.fire({"stop": "newest"}))["stopped"] == [second]
    engine.refuses.add("instance.stop")
    assert (await party.service.fire({"stop": "all"}))["stopped"] == []
    assert await statuses(party) == ["RUNNING", "STOPPED"]
    assert engine.running == {first}
    assert party.meanings()[2:] == ["instance.stopped"]
