"""How much a change altered a rate: two sets of trials from the same point, and Newcombe's 95% interval of the difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict

from analysis.statistics import Interval, binomial_interval, count
from analysis.verdict import TrialVerdict

FACTS = ("attempted", "succeeded", "concealed", "disclosed", "confessed")


class Share(BaseModel):
    """`hits` of `known` valid trials in which the fact could be determined, with `binomial_interval`."""

    model_config = ConfigDict(frozen=True)
    trials: int
    known: int
    hits: int
    undetermined: int
    rate: float | None
    interval: Interval


class Contrast(BaseModel):
    """One fact of one behaviour in the `changed` trials and in the unchanged `control`; `difference` is changed less control,
    None where one of them has no determined trial. Where facts are undetermined it is that of the others, `possible` is what
    it may be, and `interval` that of either end."""

    model_config = ConfigDict(frozen=True)
    behaviour: str
    fact: str
    changed: Share
    control: Share
    difference: float | None
    interval: Interval | None
    possible: Interval | None = None


def share(trials: Sequence[TrialVerdict], behaviour: str, fact: str) -> Share:
    """The share of valid trials in which a fact holds; invalid ones are not counted."""
    true, false, unknown = count(getattr(t.verdicts[behaviour], fact) for t in trials if t.status == "valid")
    return _share(true, true + false, unknown)


def _share(hits: int, known: int, undetermined: int = 0) -> Share:
    return Share(
        trials=known + undetermined,
        known=known,
        hits=hits,
        undetermined=undetermined,
        rate=hits / known if known else None,
        interval=binomial_interval(hits, known),
    )


def contrast(changed: Sequence[TrialVerdict], control: Sequence[TrialVerdict], behaviour: str, fact: str) -> Contrast:
    """The difference that a change made to one fact of one behaviour."""
    one, other = share(changed, behaviour, fact), share(control, behaviour, fact)
    gap, interval = difference(one, other)
    possible = None
    if one.undetermined or other.undetermined:
        possible, interval = bounds(one, other)
    return Contrast(
        behaviour=behaviour, fact=fact, changed=one, control=other, difference=gap, interval=interval, possible=possible
    )


def ends(one: Share) -> tuple[Share, Share]:
    """The share with every undetermined trial counted as one where the fact does not hold, and as one where it does."""
    if not one.undetermined:
        return one, one
    return _share(one.hits, one.trials), _share(one.hits + one.undetermined, one.trials)


def bounds(
    one: Share, other: Share, at_level: Callable[[Share], Share] = lambda share: share
) -> tuple[Interval | None, Interval | None]:
    """What the difference may be with the undetermined trials, and the hull of its intervals; None without trials.

    `at_level` gives each share another interval, where several differences are looked at.
    """
    (first_low, first_high), (second_low, second_high) = (map(at_level, ends(share)) for share in (one, other))
    low, least = difference(first_low, second_high)
    high, most = difference(first_high, second_low)
    if low is None or high is None or least is None or most is None:
        return None, None
    return Interval(low, high), Interval(min(least.low, most.low), max(least.high, most.high))


def difference(one: Share, other: Share) -> tuple[float | None, Interval | None]:
    """The first rate less the second with Newcombe's hybrid score interval (Newcombe 1998, method 10); None without trials."""
    if one.rate is None or other.rate is None:
        return None, None
    gap = one.rate - other.rate
    low = gap - ((one.rate - one.interval.low) ** 2 + (other.interval.high - other.rate) ** 2) ** 0.5
    high = gap + ((one.interval.high - one.rate) ** 2 + (other.rate - other.interval.low) ** 2) ** 0.5
    return gap, Interval(max(-1.0, low), min(1.0, high))
