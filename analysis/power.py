"""How many trials a question needs: for a rate within given points, and to see a difference between paired arms.

What is promised is what a report prints: for one scenario the interval of `binomial_interval` and the exact McNemar test,
over several the interval and the test that count scenarios (`analysis/clusters.py`), by rehearsal. Trials of one scenario
resemble each other (`icc`), so that more trials of few scenarios soon stop helping and more scenarios are what is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from analysis.statistics import Interval, binomial_interval

MOST = 1_000_000
"""Trials beyond which a question counts as out of reach."""

MOST_SCENARIOS = 1_000
EACH = 10
"""Trials of each scenario where it is said how many scenarios would be enough."""

Enough = Callable[[int], bool]


class Margin(NamedTuple):
    """Trials, all told, for a rate known to within a margin; `a_scenario` of them in each of `scenarios`. `trials` is None
    where no number of trials of so few scenarios is enough; `scenarios_needed` then says how many of EACH trials are (None
    beyond MOST_SCENARIOS). `reach` is half the width of the interval, with MOST trials where none are enough.

    `independent` trials of one scenario are enough for its own rate.
    """

    independent: int
    trials: int | None
    a_scenario: int | None
    scenarios_needed: int | None
    reach: float


class Contrast(NamedTuple):
    """Pairs, all told, for a difference to be seen with the power asked for, and as in `Margin`; `power` is what they have."""

    independent: int
    pairs: int | None
    a_scenario: int | None
    scenarios_needed: int | None
    power: float


def for_margin(margin: float, rate: float = 0.5, *, scenarios: int = 1, icc: float = 0.0) -> Margin:
    """Trials from which on half the width of the interval that a report prints is no more than `margin`: of one scenario at
    the hits closest to `rate`, over several on average. `rate` 0.5 is the worst case.

    Raises ValueError for numbers that make no sense, and where a million trials of one scenario are not enough.
    """
    _check(scenarios, icc)
    if not 0 < margin < 0.5 or not 0 <= rate <= 1:
        raise ValueError("a margin lies between 0 and 0.5, a rate between 0 and 1")
    rarer = min(rate, 1 - rate)

    def to_the_next_hit(trials: int) -> int:
        """A further hit widens the interval again. The first one widens little where it comes at twice the trials."""
        return max(8, min(math.ceil(1 / rarer), trials) if rarer else 0)

    independent = _least(lambda n: _half(expected_interval(rate, n)) <= margin, MOST, to_the_next_hit)
    if independent is None:
        raise ValueError("the margin is too small for a million trials")
    if scenarios == 1:
        return Margin(independent, independent, independent, None, _half(expected_interval(rate, independent)))

    def reach(count: int, each: int) -> float:
        return _half(expected_interval(rate, count * each, scenarios=count, icc=icc))

    each, needed = _spread(lambda count, each: reach(count, each) <= margin, scenarios)
    total = None if each is None else each * scenarios
    return Margin(independent, total, each, needed, reach(scenarios, each or MOST // scenarios))


def for_difference(
    first: float,
    second: float,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    phi: float = 0.0,
    scenarios: int = 1,
    icc: float = 0.0,
) -> Contrast:
    """Pairs so that the test of a report (of one scenario the exact McNemar test) sees arms with these rates at `alpha`,
    with `power`.

    `phi` is the correlation of the two answers of a pair: 0 as if they were unrelated, which asks for most pairs.
    Raises ValueError for numbers that make no sense, or where no such pairs exist.
    """
    _check(scenarios, icc)
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError("two different rates between 0 and 1 are wanted")
    if not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError("power and alpha lie between 0 and 1")
    only = discordant(first, second, phi)
    independent = _least(lambda n: mcnemar_power(n, *only, alpha) >= power, MOST, lambda n: max(3, n // 50))
    if independent is None:
        raise ValueError("the difference is too small to be seen with a million pairs")
    if scenarios == 1:
        return Contrast(independent, independent, independent, None, mcnemar_power(independent, *only, alpha))
    from analysis.rehearsal import share_seen  # noqa: PLC0415 - numpy is slow to import

    def seen(count: int, each: int) -> float:
        return share_seen(*only, [each] * count, icc, alpha)

    each, needed = _spread(lambda count, each: seen(count, each) >= power, scenarios)
    total = None if each is None else each * scenarios
    return Contrast(independent, total, each, needed, seen(scenarios, each or MOST // scenarios))


def discordant(first: float, second: float, phi: float) -> tuple[float, float]:
    """Probabilities that only the first, and only the second, of a pair is true. Raises ValueError where `phi` cannot be."""
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    both = first * second + phi * spread
    only_first, only_second, neither = first - both, second - both, 1 - first - second + both
    if min(both, only_first, only_second, neither) < -1e-12:
        raise ValueError(f"pairs with these rates cannot be correlated by {phi}")
    return max(0.0, only_first), max(0.0, only_second)


def mcnemar_power(pairs: int, only_first: float, only_second: float, alpha: float = 0.05) -> float:
    """Power of the exact two-sided McNemar test (Duffy 1984): over all numbers of discordant pairs."""
    import numpy as np  # noqa: PLC0415 - a second to import, with the next
    from scipy.stats import binom  # noqa: PLC0415

    differ = only_first + only_second
    if differ == 0:
        return 0.0
    low, high = (int(x) for x in binom.ppf([1e-9, 1 - 1e-9], pairs, differ))
    number = np.arange(low, high + 1)
    critical = binom.ppf(alpha / 2, number, 0.5) - 1
    critical = np.where(2 * binom.cdf(critical + 1, number, 0.5) <= alpha, critical + 1, critical)
    share = only_first / differ
    rejected = binom.cdf(critical, number, share) + binom.sf(number - critical - 1, number, share)
    return float((binom.pmf(number, pairs, differ) * np.where(critical < 0, 0.0, rejected)).sum())


def expected_interval(rate: float, trials: int, *, scenarios: int = 1, icc: float = 0.0) -> Interval:
    """What a report prints for so many trials: of one scenario around the whole number of hits that comes closest to `rate`;
    over several, which share the trials as evenly as can be, on average.

    Raises ValueError for numbers that make no sense.
    """
    _check(scenarios, icc)
    if not 0 <= rate <= 1 or trials < scenarios:
        raise ValueError("a rate between 0 and 1, and a trial for each scenario, are wanted")
    if scenarios == 1:
        return binomial_interval(round(rate * trials), trials)
    from analysis.rehearsal import mean_interval  # noqa: PLC0415 - numpy is slow to import

    return mean_interval(rate, [trials // scenarios + (i < trials % scenarios) for i in range(scenarios)], icc)


def _half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


def _check(scenarios: int, icc: float) -> None:
    if not 1 <= scenarios <= MOST_SCENARIOS or not 0 <= icc <= 1:
        raise ValueError(f"1 to {MOST_SCENARIOS} scenarios, and a correlation between 0 and 1, are wanted")
    if icc and scenarios == 1:
        raise ValueError("a correlation counts where scenarios are pooled: two or more of them are wanted with it")


def _spread(enough: Callable[[int, int], bool], scenarios: int) -> tuple[int | None, int | None]:
    """Trials of each of so many scenarios that are `enough`; where none are, how many scenarios of EACH trials would be."""
    each = _least(lambda n: enough(scenarios, n), MOST // scenarios)
    return each, _least(lambda n: n > scenarios and enough(n, EACH), MOST_SCENARIOS) if each is None else None


def _least(enough: Enough, most: int, ahead: Callable[[int], int] = lambda _: 0) -> int | None:
    """The least number from which on it is enough, None beyond `most`. What gets better in small saw-teeth is looked past by
    `ahead` numbers."""
    if not enough(most):
        return None
    low, high = 0, 1
    while not enough(high):
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    while late := [n for n in range(high, high + ahead(high)) if not enough(n)]:
        high = late[-1] + 1
    return high
