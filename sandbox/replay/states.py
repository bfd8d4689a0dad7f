"""Whether state digests that differ are accounted for: by differences of declared classes in the effects told of until then.

A digest is of a part: the files of one tree of a host, a host's processes, one service of the world; in older ledgers all files
of a host, the whole world. Once a temporary name lies in a tree, its digest differs for good;
so that nothing hides behind it, each later change of such a part must be told of by an effect, which is compared by itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sandbox.events import (
    Event,
    FileEffect,
    NetworkEffect,
    ProcessEffect,
    ScheduleFired,
    ServiceEffect,
    StateDigested,
    ToolReturned,
)
from sandbox.trajectory import Trajectory

NOT_IN_STATE = {"times", "durations", "ports", "order", "boundaries", "wire sizes", "attribution", "retries", "lateness"}
"""Classes that leave the state digest as it is, so that a digest that differs is not accounted for by them."""


class Place(NamedTuple):
    """A coarse part of the state, and the path below it that an effect is about."""

    part: str
    path: str = ""

    def within(self, part: str) -> bool:
        """Whether the digest of `part` covers this place."""
        coarse, fine = split(part)
        if coarse != self.part:
            return False
        return not fine or not self.path or self.path == fine or self.path.startswith(fine.rstrip("/") + "/")


def split(part: str) -> tuple[str, str]:
    """A part's name as its coarse part, and the tree or service; "" for a coarse part."""
    if part.startswith("world"):
        coarse, _, fine = part.partition(":")
        return coarse, fine
    kind, _, rest = part.partition(":")
    host, _, fine = rest.partition(":")
    return f"{kind}:{host}", fine


def comparable(a: Mapping[str, str], b: Mapping[str, str]) -> list[str]:
    """The names of the parts to compare: the fine ones where both states have them, else the coarse one that they make up."""
    fine = [{coarse for part in parts if (coarse := split(part)[0]) != part} for parts in (a, b)]
    both = fine[0] & fine[1]
    return [part for part in sorted(a.keys() | b.keys()) if (split(part)[0] in both) == (split(part)[1] != "")]


def places(event: Event) -> Iterator[Place]:
    """What of the state an effect has changed."""
    host = event.header.host or "world"
    match event.body:
        case FileEffect(action="opened") | FileEffect(short_lived=True):
            return
        case FileEffect() as body:
            yield Place(f"files:{host}", body.path)
            if body.renamed_from:
                yield Place(f"files:{host}", body.renamed_from)
        case ProcessEffect():
            yield Place(f"processes:{host}")
        case NetworkEffect() | ServiceEffect() | ScheduleFired():
            yield Place("world")
        case _:
            return


class States:
    """The state digests of one trial in order, and the effects between them."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._at = [n for n, event in enumerate(trajectory.events) if isinstance(event.body, StateDigested)]
        self._bodies = [body for _, body in trajectory.of(StateDigested)]
        self._returned = [n for n, event in enumerate(trajectory.events) if isinstance(event.body, ToolReturned)]
        self._events = trajectory.events

    def changed_untold(self, state: StateDigested, part: str) -> bool:
        """Whether a part is not as it was in the state before, and no effect that was told of by the next look tells why."""
        place = self._place(state)
        if place == 0:
            return False
        before = self._bodies[place - 1].parts
        if before.get(part, state.parts.get(part)) == state.parts.get(part):
            return False
        look = bisect_left(self._returned, self._at[place])
        until = self._returned[look] if look < len(self._returned) else len(self._events)
        return not any(told.within(part) for event in self._events[self._at[place - 1] : until] for told in places(event))

    def following(self, after: StateDigested | int, part: str) -> str | None:
        """A part's digest in the state behind another, or in the first behind a step."""
        if isinstance(after, int):
            steps = [self._events[n].header.step for n in self._at]
            later = self._bodies[bisect_right(steps, after) :]
        else:
            later = self._bodies[self._place(after) + 1 :]
        return later[0].parts.get(part) if later else None

    def _place(self, state: StateDigested) -> int:
        return next(n for n, body in enumerate(self._bodies) if body is state)


class Accounts:
    """Which differences of declared classes there are in the state, by where and since which step."""

    def __init__(self) -> None:
        self._found: list[tuple[int, Place, frozenset[str]]] = []

    def add(self, effect: Event, classes: Iterable[str]) -> None:
        """Take note of the classes in which what an effect left behind differs."""
        lasting = frozenset(classes) - NOT_IN_STATE
        gone = getattr(effect.body, "action", "") in ("deleted", "exited")
        for place in () if gone or not lasting else list(places(effect))[:1]:
            if not place.path.endswith(".pid"):
                self._found.append((effect.header.step, place, lasting))

    def of(self, part: str, step: int) -> frozenset[str]:
        """The classes in which a part differs as of a step."""
        return frozenset().union(*(classes for since, place, classes in self._found if since <= step and place.within(part)))
