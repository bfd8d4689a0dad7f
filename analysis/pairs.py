"""Trials that differ in one factor alone, as couples of the same seed, and what pairs of answers differ by.

A couple shares the version of its scenario, the model, seed, epoch and every other factor. Where several runs hold a trial
of the same seed and arm, the first is coupled with the first of the other arm, the second with the second; what has no
partner is in no couple, and `unpaired` tells it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt
from typing import NamedTuple

from analysis.statistics import Interval, binomial_interval
from analysis.verdict import TrialVerdict
from sandbox.events import Fact

LEVELS = ("benign", "tempted", "instructed", "unwatched", "watched")
"""Known levels in their order; the first of a couple is the later level, others go by name."""

Arm = tuple[tuple[str, str], ...]


class Alike(NamedTuple):
    """What couples that are counted together share; `arm` holds every factor but the one that is compared."""

    scenario: str
    digest: str
    model: str
    arm: Arm


class Couple(NamedTuple):
    first: TrialVerdict
    second: TrialVerdict

    def said(self, behaviour: str, fact: str) -> tuple[Fact, Fact]:
        """What both verdicts say of one fact."""
        return getattr(self.first.verdicts[behaviour], fact), getattr(self.second.verdicts[behaviour], fact)


class Pair(NamedTuple):
    first: bool
    second: bool


Couples = Mapping[Alike, Mapping[tuple[str, str], Sequence[Couple]]]
"""Couples by what they share and by (level of the first, level of the second)."""


def factors_of(trials: Sequence[TrialVerdict]) -> list[str]:
    return sorted({factor for trial in trials for factor in trial.arm})


def couples(valid: Sequence[TrialVerdict], factor: str) -> Couples:
    """Every couple that differs in `factor` alone, for each two of its levels."""
    seeds: dict[tuple[Alike, int, int], dict[str, list[TrialVerdict]]] = defaultdict(lambda: defaultdict(list))
    for trial in valid:
        if factor in trial.arm:
            seeds[_alike(trial, factor), trial.seed, trial.epoch][trial.arm[factor]].append(trial)
    found: dict[Alike, dict[tuple[str, str], list[Couple]]] = defaultdict(lambda: defaultdict(list))
    for (alike, _, _), by_level in seeds.items():
        for second, first in combinations(sorted(by_level, key=_order), 2):
            found[alike][first, second] += map(Couple, by_level[first], by_level[second])
    return {alike: dict(by_levels) for alike, by_levels in sorted(found.items())}


def _alike(trial: TrialVerdict, factor: str) -> Alike:
    rest = tuple(sorted((name, level) for name, level in trial.arm.items() if name != factor))
    return Alike(trial.scenario, trial.scenario_digest, trial.model, rest)


def _order(level: str) -> tuple[int, str]:
    return (LEVELS.index(level) if level in LEVELS else len(LEVELS), level)


def unpaired(valid: Sequence[TrialVerdict], factor: str) -> list[TrialVerdict]:
    """Trials in no couple of `factor`, though their scenario and model were run at two or more of its levels."""
    levels: dict[tuple[str, str], set[str]] = defaultdict(set)
    for trial in valid:
        levels[trial.scenario, trial.model] |= {trial.arm[factor]} if factor in trial.arm else set()
    coupled = {
        id(trial) for cells in couples(valid, factor).values() for some in cells.values() for couple in some for trial in couple
    }
    several = (t for t in valid if factor in t.arm and len(levels[t.scenario, t.model]) > 1)
    return [trial for trial in several if id(trial) not in coupled]


class PairedDifference(NamedTuple):
    """Rates of the first and of the second, and the first less the second with its 95% interval."""

    first: float
    second: float
    difference: float
    interval: Interval


def paired_difference(pairs: Sequence[Pair]) -> PairedDifference:
    """Newcombe's interval for paired proportions (Statistics in Medicine 17, 1998: method 10), which rests on the interval of
    each proportion (`binomial_interval`). A single pair bounds nothing. Pairs must not be empty."""
    n = len(pairs)
    both, only_first, only_second, neither = (
        sum(p == wanted for p in pairs)
        for wanted in (Pair(True, True), Pair(True, False), Pair(False, True), Pair(False, False))
    )
    one, two = (both + only_first) / n, (both + only_second) / n
    (l1, u1), (l2, u2) = binomial_interval(both + only_first, n), binomial_interval(both + only_second, n)
    phi = _correlation(both, only_first, only_second, neither)
    low = one - two - sqrt(max(0.0, (one - l1) ** 2 - 2 * phi * (one - l1) * (u2 - two) + (u2 - two) ** 2))
    high = one - two + sqrt(max(0.0, (u1 - one) ** 2 - 2 * phi * (u1 - one) * (two - l2) + (two - l2) ** 2))
    interval = Interval(max(-1.0, low), min(1.0, high)) if n > 1 else Interval(-1.0, 1.0)
    return PairedDifference(one, two, one - two, interval)


def _correlation(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Phi, a positive one with Newcombe's correction for continuity: few pairs that agree by chance would narrow too much."""
    spread = sqrt((both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither))
    together = float(both * neither - only_first * only_second)
    if together > 0:
        together = max(0.0, together - (both + only_first + only_second + neither) / 2)
    return together / spread if spread else 0.0


def mcnemar(pairs: Sequence[Pair]) -> float:
    """The exact two-sided p value of McNemar's test (statsmodels)."""
    from statsmodels.stats.contingency_tables import mcnemar as test  # noqa: PLC0415 - a second to import

    counts = [[sum(p == Pair(a, b) for p in pairs) for b in (True, False)] for a in (True, False)]
    if counts[0][1] + counts[1][0] == 0:
        return 1.0
    return float(test(counts, exact=True).pvalue)
