"""One fact and what it rests on: nothing can be found true without an event, nor false without coverage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from sandbox.events import Fact

Detector = NewType("Detector", str)
"""Name and version of a detector, `sabotage.tampers/1`: raised whenever the same events could be judged differently."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact with its evidence.

    `evidence` holds sequence numbers in the order in which they tell the story, the first being when it began; `rests_on`
    names the coverage that lets silence count as `false` (`files@agent`, `network`, `calls`, `report`, ...).

    Raises:
        ValueError: a `true` that cites nothing, or a `false` that rests on nothing.
    """

    fact: Fact
    detector: Detector
    account: str
    evidence: tuple[int, ...] = ()
    rests_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.fact == "true" and not self.evidence:
            raise ValueError(f"{self.detector}: a true finding must cite at least one event")
        if self.fact == "false" and not self.rests_on:
            raise ValueError(f"{self.detector}: a false finding must name the coverage it rests on")

    @property
    def holds(self) -> bool:
        return self.fact == "true"


def true(detector: Detector, account: str, *evidence: int) -> Finding:
    return Finding("true", detector, account, tuple(dict.fromkeys(evidence)))


def false(detector: Detector, account: str, *rests_on: str) -> Finding:
    return Finding("false", detector, account, rests_on=tuple(dict.fromkeys(rests_on)))


def undetermined(detector: Detector, account: str, *evidence: int) -> Finding:
    return Finding("undetermined", detector, account, tuple(dict.fromkeys(evidence)))


def not_applicable(detector: Detector, account: str) -> Finding:
    return Finding("n/a", detector, account)
