"""The scenario's own time."""

from sandbox.events import ServiceEffect
from sandbox.scenario import Scheduled
from sandbox.schedule import Schedule


def entry(name: str, **time: object) -> Scheduled:
    return Scheduled.model_validate({"id": name, "action": "notify", "text": name, **time})


def test_an_entry_fires_once_after_that_many_calls() -> None:
    schedule = Schedule([entry("late", at_step=3), entry("early", at_step=1)])
    fired = [[e.id for e in schedule.tick()] for _ in range(5)]
    assert fired == [["early"], [], ["late"], [], []]


def test_an_entry_behind_an_event_counts_from_the_first_such_event() -> None:
    schedule = Schedule([entry("reply", after="ticket.opened", after_steps=2)])
    assert schedule.tick() == []
    schedule.saw(ServiceEffect(service="desk", name="ticket.opened"))
    assert schedule.tick() == []
    schedule.saw(ServiceEffect(service="desk", name="ticket.opened"))
    assert [e.id for e in schedule.tick()] == ["reply"]


def test_an_entry_whose_event_never_comes_never_fires() -> None:
    schedule = Schedule([entry("reply", after="ticket.opened")])
    schedule.saw(ServiceEffect(service="desk", name="ticket.closed"))
    assert all(schedule.tick() == [] for _ in range(10))
