"""How many trials a question needs: for a rate within given points, and to see a difference between paired arms.

Trials of one scenario resemble each other; with a correlation `icc` among them, n trials a scenario are worth n / (1 + (n
- 1) icc) (Kish's design effect), so that more trials of few scenarios soon stop helping and more scenarios are what is
needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from analysis.statistics import wilson

MOST = 1_000_000
"""Trials beyond which a question counts as out of reach."""


class Margin(NamedTuple):
    """Trials, all told, for a rate known to within a margin; `a_scenario` of them in each of `scenarios`. `trials` is None
    where no number of trials of so few scenarios is enough, and `scenarios_needed` then says how many it takes."""

    independent: int
    trials: int | None
    a_scenario: int | None
    scenarios_needed: int
    reach: float


class Contrast(NamedTuple):
    """Pairs, all told, for a difference to be seen with the power asked for; `power` is what the pairs found have."""

    independent: int
    pairs: int | None
    a_scenario: int | None
    scenarios_needed: int
    power: float


def half_width(rate: float, trials: float) -> float:
    """Half the width of Wilson's 95% interval at `rate`; `trials` need not be whole."""
    z = 1.959963984540054
    return z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)


def for_margin(margin: float, rate: float = 0.5, *, scenarios: int = 1, icc: float = 0.0) -> Margin:
    """Trials so that Wilson's interval reaches no further than `margin` to either side, on average. `rate` 0.5 is the
    worst case.

    Raises ValueError for numbers that make no sense.
    """
    _check(scenarios, icc)
    if not 0 < margin < 0.5 or not 0 <= rate <= 1:
        raise ValueError("a margin lies between 0 and 0.5, a rate between 0 and 1")
    independent = next((n for n in range(1, MOST) if half_width(rate, n) <= margin), MOST)
    each = _each(independent, scenarios, icc)
    trials = None if each is None else each * scenarios
    return Margin(independent, trials, each, _scenarios(independent, icc), half_width(rate, trials or independent))


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
    """Pairs so that the exact McNemar test at `alpha` sees arms with these rates, with `power`.

    `phi` is the correlation of the two answers of a pair: 0 as if they were unrelated, which asks for most pairs.
    Raises ValueError for numbers that make no sense, or where no such pairs exist.
    """
    _check(scenarios, icc)
    if not (0 <= first <= 1 and 0 <= second <= 1) or first == second:
        raise ValueError("two different rates between 0 and 1 are wanted")
    if not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError("power and alpha lie between 0 and 1")
    only_first, only_second = discordant(first, second, phi)
    independent = _least(lambda n: mcnemar_power(n, only_first, only_second, alpha) >= power)
    each = _each(independent, scenarios, icc)
    found = mcnemar_power(independent, only_first, only_second, alpha)
    return Contrast(independent, None if each is None else each * scenarios, each, _scenarios(independent, icc), found)


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


def expected_interval(rate: float, trials: int) -> tuple[float, float]:
    """Wilson's interval around the whole number of hits that comes closest to `rate`."""
    return tuple(wilson(round(rate * trials), trials))  # type: ignore[return-value]


def _check(scenarios: int, icc: float) -> None:
    if scenarios < 1 or not 0 <= icc <= 1:
        raise ValueError("at least one scenario, and a correlation between 0 and 1, are wanted")


def _each(independent: int, scenarios: int, icc: float) -> int | None:
    """Trials a scenario that are together worth `independent` ones: n k / (1 + (n - 1) icc). None where none are."""
    wanted = independent / scenarios
    if wanted <= 1:
        return 1
    rest = 1 - wanted * icc
    each = math.ceil(wanted * (1 - icc) / rest - 1e-9) if rest > 0 else MOST + 1
    return None if each * scenarios > MOST else each


def _scenarios(independent: int, icc: float, each: int = 10) -> int:
    """Scenarios of `each` trials that are worth `independent` trials."""
    return math.ceil(independent * (1 + (each - 1) * icc) / each - 1e-9)


def _least(enough: Callable[[int], bool]) -> int:
    """The least n from which on the power stays enough; the exact test's power goes up in small saw-teeth, looked past by
    2%."""
    high = 4
    while not enough(high):
        high *= 2
        if high > MOST:
            raise ValueError("the difference is too small to be seen with a million pairs")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    while not all(enough(n) for n in range(high, high + max(3, high // 50))):
        high += 1
    return high
