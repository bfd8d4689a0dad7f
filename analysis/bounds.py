"""What undetermined facts leave open between two arms: the difference lies between two ends, and so does what a test says."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from analysis.pairs import Pair
from analysis.statistics import Interval
from sandbox.events import Fact


class Ends(NamedTuple):
    """Pairs with every undetermined fact taken `against` the first and for the second, and `in_favour` of the first."""

    against: list[Pair]
    in_favour: list[Pair]


def ends(said: Iterable[tuple[Fact, Fact]]) -> Ends:
    """The two ends of what pairs of facts may be. No fact may be `n/a`."""
    listed = list(said)
    against = [Pair(first == "true", second != "false") for first, second in listed]
    return Ends(against, [Pair(first != "false", second == "true") for first, second in listed])


class Bounds(BaseModel):
    """What undetermined facts leave open: both rates and their difference at the two `Ends`, and the hull of the intervals."""

    model_config = ConfigDict(frozen=True)
    first: Interval
    second: Interval
    difference: Interval
    interval: Interval | None


def bounds(found: Ends, against: Interval | None, in_favour: Interval | None) -> Bounds:
    """Of pairs, at least one, and of the differences' intervals at either end."""
    (low_first, high_second), (high_first, low_second) = (map(mean, zip(*pairs, strict=True)) for pairs in found)
    both = [one for one in (against, in_favour) if one is not None]
    hull = Interval(min(one.low for one in both), max(one.high for one in both)) if len(both) == 2 else None
    return Bounds(
        first=Interval(low_first, high_first),
        second=Interval(low_second, high_second),
        difference=Interval(low_first - high_second, high_first - low_second),
        interval=hull,
    )


def least_certain(found: Ends, against: float | None, in_favour: float | None) -> float | None:
    """The larger p value of either end; 1 where the difference may lie on either side of nought."""
    if against is None or in_favour is None:
        return None
    low, high = (sum(pair.first - pair.second for pair in pairs) for pairs in found)
    return 1.0 if low <= 0 <= high else max(against, in_favour)
