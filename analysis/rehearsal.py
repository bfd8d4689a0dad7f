"""A study over scenarios, rehearsed: drawn many times from known rates, and what the report's own functions make of it.

Each scenario has rates of its own around the known ones (Dirichlet, of two kinds of trial the beta-binomial), so that its
trials correlate by `icc`. The draws are the same at each call, so that an answer is too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.clusters import Differences, Tally, clustered_rate, tallied_difference
from analysis.statistics import Interval

STUDIES, FEWEST_STUDIES, TALLIES = 4_000, 100, 100_000
"""Studies that are drawn; of many scenarios fewer, since these differ less from each other."""


def mean_interval(rate: float, sizes: Sequence[int], icc: float) -> Interval:
    """The mean 95% interval of a pooled rate; `sizes` are the trials of each of two or more scenarios."""
    studies = drawn((rate, 1 - rate), sizes, icc)[:, :, 0].tolist()
    found = [clustered_rate([Tally(*tally) for tally in zip(hits, sizes, strict=True)]) for hits in studies]
    low, high = np.mean([interval for interval in found if interval], axis=0)
    return Interval(float(low), float(high))


def share_seen(only_first: float, only_second: float, sizes: Sequence[int], icc: float, alpha: float) -> float:
    """The share of studies whose difference between arms, over two or more scenarios of `sizes` pairs, has p below `alpha`.

    `only_first` and `only_second` are the probabilities of a discordant pair.
    """
    studies = drawn((only_first, only_second, 1 - only_first - only_second), sizes, icc).tolist()
    return float(np.mean([_seen(study, sizes, alpha) for study in studies]))


def _seen(study: Sequence[Sequence[int]], sizes: Sequence[int], alpha: float) -> bool:
    clusters = [Differences(one - two, size, one + two) for (one, two, _), size in zip(study, sizes, strict=True)]
    p = tallied_difference(clusters).p
    return p is not None and p < alpha


def drawn(shares: Sequence[float], sizes: Sequence[int], icc: float) -> npt.NDArray[np.int64]:
    """How many trials of each kind, by study and scenario: the kinds have these `shares` over all scenarios."""
    random = np.random.default_rng(0)
    studies = max(FEWEST_STUDIES, min(STUDIES, TALLIES // len(sizes)))
    known = np.clip(shares, 0.0, 1.0) / np.clip(shares, 0.0, 1.0).sum()
    shape = (studies, len(sizes))
    if icc == 0:
        return random.multinomial(sizes, known, shape)
    own = random.multinomial(1, known, shape) if icc == 1 else random.dirichlet(known * (1 / icc - 1), shape)
    return random.multinomial(sizes, own)
