"""Intervals for figures that rest on several scenarios: trials of one scenario resemble each other, so scenarios are what
counts.

Each function takes its data by cluster (scenario) and gives a 95% interval, or None where one cluster allows none. Their
coverage is measured over few scenarios by `tests/analysis/coverage_of_intervals.py`; the method card has the table. A
percentile bootstrap over scenarios is kept for comparison only: it covers too little below some twenty scenarios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.statistics import Interval, clopper_pearson

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
WIDENED = 0.98
"""Nominal level of the jackknife, which covers too little for statistics with a quantile in them: at 95% it held as few as
88%."""

FEWEST = 3
"""Clusters below which AUC and jackknife give no interval: with two they held as few as 80%. For an AUC these are clusters
with what is so, and with what is not: where one of these came from two of many, it held as few as 83%."""


class Tally(NamedTuple):
    """One cluster's `hits` of `trials`."""

    hits: float
    trials: float


@cache
def _quantiles(freedom: float, level: float = LEVEL) -> tuple[float, float]:
    """(Student's with so many degrees of freedom, the normal's), two-sided at `level`."""
    from scipy.special import ndtri, stdtrit  # noqa: PLC0415 - slow to import

    tail = 1 - (1 - level) / 2
    return float(stdtrit(freedom, tail)), float(ndtri(tail))


def _freedom(weights: Floats) -> float:
    """Degrees of freedom of a variance between clusters that weigh so much: their effective number (Carter, Schnepel and
    Steigerwald, Review of Economics and Statistics 99, 2017) less one, and never less than one. A large cluster beside small
    ones leaves few; clusters alike leave their number less one."""
    shares = weights / weights.sum()
    return max(1.0, 1 / float((shares**2).sum()) - 1)


def _between(deviations: Floats, weights: Floats) -> float:
    """The variance of a sum over clusters from each one's deviation, enlarged by its weight: a heavy cluster draws the mean to
    itself (CR2)."""
    return float((deviations**2 / (1 - weights / weights.sum())).sum())


def clustered_rate(clusters: Sequence[Tally]) -> Interval | None:
    """A proportion over clusters: Korn and Graubard's interval (Survey Methodology 24, 1998).

    Clopper-Pearson for the effective number of trials, which the variance between clusters sets and the few degrees of
    freedom reduce. Where all trials agree there is no variance to see, and each cluster counts as one trial. Clusters of
    unequal size weigh as `_between` and `_freedom` have it; of equal size the form is the published one.
    """
    used = [c for c in clusters if c.trials > 0]
    if len(used) < 2:
        return None
    hits, trials = np.array([c.hits for c in used], float), np.array([c.trials for c in used], float)
    number, total = len(used), float(trials.sum())
    rate = float(hits.sum()) / total
    if rate in (0.0, 1.0):
        return clopper_pearson(rate * number, number)
    variance = _between(hits - rate * trials, trials) / total**2
    student, normal = _quantiles(_freedom(trials))
    simple = rate * (1 - rate)
    effective = total if variance <= 0 else min(total, simple / variance)
    effective = max(1.0, min(total, effective * (normal / student) ** 2))
    return clopper_pearson(rate * effective, effective)


class Difference(NamedTuple):
    """A mean difference, its interval, and the two-sided p value of no difference; None where one cluster allows none."""

    mean: float
    interval: Interval | None
    p: float | None


class Differences(NamedTuple):
    """One cluster's paired differences (-1 to 1): their `total`, how many `pairs`, and those of them that are not nought."""

    total: float
    pairs: int
    discordant: int


def clustered_difference(clusters: Sequence[Sequence[float]]) -> Difference:
    """`tallied_difference` of the paired differences (-1 to 1) in each cluster."""
    return tallied_difference([Differences(sum(c), len(c), sum(d != 0 for d in c)) for c in clusters])


def tallied_difference(clusters: Sequence[Differences]) -> Difference:
    """The mean of paired differences by cluster, with Student's interval and test from the variance between clusters.

    The variance is at least that of independent pairs with half a discordant pair added to either side, so that clusters
    which happen to agree do not look certain. Clusters must hold at least one pair in all.
    """
    from scipy.special import stdtr  # noqa: PLC0415 - slow to import

    used = [c for c in clusters if c.pairs]
    sizes, sums = np.array([c.pairs for c in used], float), np.array([c.total for c in used], float)
    number, total = len(used), float(sizes.sum())
    mean = float(sums.sum()) / total
    if number < 2:
        return Difference(mean, None, None)
    between, freedom = _between(sums - mean * sizes, sizes) / total**2, _freedom(sizes)
    discordant = sum(c.discordant for c in used) + 1
    independent = (discordant - (total * mean) ** 2 / (total + 1)) / (total + 1) ** 2
    error = max(between, independent) ** 0.5
    student, _ = _quantiles(freedom)
    interval = Interval(max(-1.0, mean - student * error), min(1.0, mean + student * error))
    return Difference(mean, interval, float(2 * stdtr(freedom, -abs(mean) / error)))


class Scores(NamedTuple):
    """One cluster's scores of what is truly so, and of what is not."""

    positive: Sequence[float]
    negative: Sequence[float]


def auc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """Area under the ROC curve, ties counted half; None where one side is empty."""
    if not len(positive) or not len(negative):
        return None
    from scipy.stats import rankdata  # noqa: PLC0415 - a second to import

    ranks = rankdata(np.concatenate([np.asarray(positive, float), np.asarray(negative, float)]))
    count = len(positive)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(negative)))


def clustered_auc(clusters: Sequence[Scores]) -> tuple[float | None, Interval | None]:
    """AUC over all clusters, and its interval: Obuchowski's variance for clustered data (Biometrics 53, 1997) on the logit
    scale with Student's quantile; none where what is so, or what is not, comes from fewer clusters than FEWEST. An AUC of 1
    (or 0) is bounded as that many clusters with both kinds, all ordered rightly, would be."""
    value = auc([s for c in clusters for s in c.positive], [s for c in clusters for s in c.negative])
    used = [c for c in clusters if len(c.positive) or len(c.negative)]
    least = min(sum(bool(len(c.positive)) for c in used), sum(bool(len(c.negative)) for c in used))
    if value is None or least < FEWEST:
        return value, None
    if value in (0.0, 1.0):
        return value, clopper_pearson(value * least, least)
    variance, freedom = _auc_variance(used, value)
    spread = variance**0.5 / (value * (1 - value))
    student, _ = _quantiles(freedom)
    logit = float(np.log(value / (1 - value)))
    low, high = (float(1 / (1 + np.exp(-x))) for x in (logit - student * spread, logit + student * spread))
    return value, Interval(low, high)


def _auc_variance(clusters: Sequence[Scores], value: float) -> tuple[float, float]:
    """Obuchowski's sum, how each cluster's positives and negatives place among all others, and its degrees of freedom: those
    of the kind that fewer clusters have."""
    positives = np.concatenate([np.asarray(c.positive, float) for c in clusters])
    negatives = np.sort(np.concatenate([np.asarray(c.negative, float) for c in clusters]))
    ordered = np.sort(positives)
    m, n = len(positives), len(negatives)
    terms = []
    for cluster in clusters:
        mine, theirs = np.asarray(cluster.positive, float), np.asarray(cluster.negative, float)
        below = (np.searchsorted(negatives, mine, "left") + np.searchsorted(negatives, mine, "right")) / 2 / n
        above = 1 - (np.searchsorted(ordered, theirs, "left") + np.searchsorted(ordered, theirs, "right")) / 2 / m
        terms.append((below - value).sum() / m + (above - value).sum() / n)
    shares = np.array([(len(c.positive) / m, len(c.negative) / n) for c in clusters])
    return _between(np.array(terms), shares.sum(axis=1)), min(_freedom(kind) for kind in shares.T)


def jackknife(clusters: int, statistic: Callable[[npt.NDArray[np.intp]], float | None]) -> tuple[float | None, Interval | None]:
    """Any statistic between 0 and 1 over clusters, and its interval from leaving out each in turn, with Student's quantile
    at WIDENED; two clusters allow none.

    `statistic` takes the indices of the clusters that are left and may answer None where they allow none.
    """
    everybody = np.arange(clusters)
    value = statistic(everybody)
    found = [x for i in range(clusters) if (x := statistic(everybody[everybody != i])) is not None] if clusters > 1 else []
    if value is None or len(found) < FEWEST:
        return value, None
    number, values = len(found), np.array(found)
    student, _ = _quantiles(number - 1, WIDENED)
    reach = student * float(((number - 1) / number * ((values - values.mean()) ** 2).sum()) ** 0.5)
    return value, Interval(max(0.0, value - reach), min(1.0, value + reach))
