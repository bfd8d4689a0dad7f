"""Arms compared as pairs: what one factor changes, everything else alike, by scenario and over scenarios.

Pairs share scenario, model, seed, epoch and every other factor. Within a scenario: the exact McNemar test and Newcombe's
interval for pairs; over scenarios, where there are two or more: the mean difference with an interval that counts scenarios
(`analysis/clusters.py`). Tests that are shown together are corrected by Holm's method, by scenario and over scenarios apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from pydantic import BaseModel, ConfigDict

from analysis.clusters import clustered_difference
from analysis.indicators.study import Pair, paired_difference
from analysis.statistics import Interval
from analysis.verdict import TrialVerdict
from sandbox.events import Fact
from sandbox.scenario import BEHAVIOURS

ALPHA = 0.05
LEVELS = ("benign", "tempted", "instructed", "unwatched", "watched")
"""Known levels in their order; a comparison is the later less the earlier one, others by name."""


class Comparison(BaseModel):
    """`fact` at level `first` of `factor` less at level `second`, over `pairs` with both known; `scenario` is `*` over
    several.

    `p` is McNemar's exact two-sided value, `adjusted` Holm's; both None over scenarios, where the interval alone speaks.
    `shown` says that the difference survives: adjusted p below 0.05, or over scenarios an interval clear of nought.
    """

    model_config = ConfigDict(frozen=True)
    factor: str
    first: str
    second: str
    scenario: str
    scenarios: int
    model: str
    behaviour: str
    fact: str
    pairs: int
    undetermined: int
    only_first: int
    only_second: int
    first_rate: float
    second_rate: float
    difference: float
    interval: Interval | None
    p: float | None = None
    adjusted: float | None = None
    shown: bool = False
    trials: tuple[tuple[str, str], ...] = ()


Couple = tuple[TrialVerdict, TrialVerdict]
Key = tuple[str, str, str, str, str]
"""(factor, first level, second level, scenario, model)."""


def compare(valid: Sequence[TrialVerdict], fact: str = "attempted") -> list[Comparison]:
    """Every pair of levels of every factor that the trials hold, for the behaviours that their scenarios are about."""
    couples = _couples(valid)
    within = [c for key, pairs in sorted(couples.items()) for c in _within(key, pairs, fact)]
    return [*_adjusted(within), *_over(couples, fact)]


def _couples(valid: Sequence[TrialVerdict]) -> dict[Key, list[Couple]]:
    found: dict[Key, list[Couple]] = defaultdict(list)
    for factor in sorted({name for trial in valid for name in trial.arm}):
        cells: dict[tuple[object, ...], dict[str, TrialVerdict]] = defaultdict(dict)
        for trial in valid:
            rest = tuple(sorted((k, v) for k, v in trial.arm.items() if k != factor))
            if factor in trial.arm:
                cells[trial.scenario, trial.model, rest, trial.seed, trial.epoch].setdefault(trial.arm[factor], trial)
        for by_level in cells.values():
            for second, first in combinations(sorted(by_level, key=_order), 2):
                one, two = by_level[first], by_level[second]
                found[factor, first, second, one.scenario, one.model].append((one, two))
    return found


def _order(level: str) -> tuple[int, str]:
    return (LEVELS.index(level) if level in LEVELS else len(LEVELS), level)


def _facts(couple: Couple, behaviour: str, fact: str) -> tuple[Fact, Fact]:
    one, two = (getattr(trial.verdicts[behaviour], fact) for trial in couple)
    return one, two


def _known(couples: Sequence[Couple], behaviour: str, fact: str) -> tuple[list[Pair], list[Couple], int]:
    """Pairs with both facts known, whose they are, and how many have one that is undetermined."""
    read = [(couple, _facts(couple, behaviour, fact)) for couple in couples]
    known = [(couple, facts) for couple, facts in read if set(facts) <= {"true", "false"}]
    unknown = sum("undetermined" in facts for _, facts in read)
    return [Pair(a == "true", b == "true") for _, (a, b) in known], [couple for couple, _ in known], unknown


def _within(key: Key, couples: Sequence[Couple], fact: str) -> list[Comparison]:
    factor, first, second, scenario, model = key
    found = []
    for behaviour in (b for b in BEHAVIOURS if b in couples[0][0].behaviours):
        pairs, whose, unknown = _known(couples, behaviour, fact)
        if not pairs:
            continue
        one, two, difference, interval = paired_difference(pairs)
        named = {"factor": factor, "first": first, "second": second, "scenario": scenario, "model": model}
        found.append(
            Comparison(
                **named,  # type: ignore[arg-type]
                scenarios=1,
                behaviour=behaviour,
                fact=fact,
                pairs=len(pairs),
                undetermined=unknown,
                only_first=sum(p.first and not p.second for p in pairs),
                only_second=sum(p.second and not p.first for p in pairs),
                first_rate=one,
                second_rate=two,
                difference=difference,
                interval=interval,
                p=mcnemar(pairs),
                trials=tuple((a.id, b.id) for a, b in whose),
            )
        )
    return found


def mcnemar(pairs: Sequence[Pair]) -> float:
    """The exact two-sided p value of McNemar's test (statsmodels)."""
    from statsmodels.stats.contingency_tables import mcnemar as test  # noqa: PLC0415 - a second to import

    counts = [[sum(p == Pair(a, b) for p in pairs) for b in (True, False)] for a in (True, False)]
    if counts[0][1] + counts[1][0] == 0:
        return 1.0
    return float(test(counts, exact=True).pvalue)


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    if not found:
        return []
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - a second to import

    holm = multipletests([c.p for c in found], alpha=ALPHA, method="holm")[1]
    return [c.model_copy(update={"adjusted": float(p), "shown": bool(p < ALPHA)}) for c, p in zip(found, holm, strict=True)]


def _over(couples: Mapping[Key, Sequence[Couple]], fact: str) -> list[Comparison]:
    """The same over all scenarios of a model that are about the behaviour, where there are two or more."""
    groups: dict[tuple[str, str, str, str, str], dict[str, list[Couple]]] = defaultdict(dict)
    for (factor, first, second, scenario, model), members in couples.items():
        for behaviour in members[0][0].behaviours:
            groups[factor, first, second, model, behaviour][scenario] = list(members)
    found = []
    for (factor, first, second, model, behaviour), by_scenario in sorted(groups.items()):
        read = {s: _known(members, behaviour, fact) for s, members in by_scenario.items()}
        read = {s: known for s, known in read.items() if known[0]}
        if len(read) < 2:
            continue
        pairs = [p for known, _, _ in read.values() for p in known]
        difference, interval = clustered_difference([[p.first - p.second for p in known] for known, _, _ in read.values()])
        named = {"factor": factor, "first": first, "second": second, "scenario": "*", "model": model, "behaviour": behaviour}
        found.append(
            Comparison(
                **named,  # type: ignore[arg-type]
                scenarios=len(read),
                fact=fact,
                pairs=len(pairs),
                undetermined=sum(unknown for _, _, unknown in read.values()),
                only_first=sum(p.first and not p.second for p in pairs),
                only_second=sum(p.second and not p.first for p in pairs),
                first_rate=sum(p.first for p in pairs) / len(pairs),
                second_rate=sum(p.second for p in pairs) / len(pairs),
                difference=difference,
                interval=interval,
                shown=interval is not None and (interval.low > 0 or interval.high < 0),
                trials=tuple((a.id, b.id) for _, whose, _ in read.values() for a, b in whose),
            )
        )
    return found
