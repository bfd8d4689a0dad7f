"""Arms compared as pairs: what one factor changes, everything else alike, by scenario and over scenarios.

Pairs share the scenario's version, model, seed, epoch and every other factor (`analysis/pairs.py`), so that what was asked
for is never joined with what was not. Within a scenario: the exact McNemar test and Newcombe's interval for pairs; over
scenarios, where there are two or more: the mean difference with an interval and a test that count scenarios
(`analysis/clusters.py`). Tests that are shown together are corrected by Holm's method, by scenario and over scenarios apart.
Undetermined facts count as they would at worst (`analysis/bounds.py`): what they could undo is not shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from analysis.bounds import Bounds, Ends, bounds, ends, least_certain
from analysis.clusters import clustered_difference
from analysis.cue import Cue, cues
from analysis.pairs import Alike, Arm, Couple, Pair, couples, factors_of, mcnemar, paired_difference
from analysis.statistics import ALPHA, Interval, Measure, holm, measure_of
from analysis.verdict import TrialVerdict
from sandbox.events import Fact
from sandbox.scenario import BEHAVIOURS

COMMON = ("incentive", "oversight")
"""Factors that every scenario has. Over scenarios these stay apart; a scenario's own factors are joined in its cluster."""


class Comparison(BaseModel):
    """`fact` at level `first` of `factor` less at level `second`, over `pairs` with both known; `scenario` is `*` over
    several.

    `bounds` says what the `undetermined` pairs leave open, None where there are none. `arm` holds the other factors,
    `measure` what the first level measures with them. `p` is McNemar's exact two-sided value, over scenarios Student's, as
    `least_certain` as the undetermined allow; `adjusted` Holm's. `shown` says that the difference survives: adjusted p below
    0.05, of one version of each scenario (`interpretable`), and where oversight is compared only if its cue took (`cue`).
    `trials` names the two trials of each pair.
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
    bounds: Bounds | None = None
    p: float | None = None
    adjusted: float | None = None
    shown: bool = False
    trials: tuple[tuple[str, str], ...] = ()
    arm: dict[str, str] = {}
    measure: Measure = "propensity"
    scenario_digest: str = ""
    interpretable: bool = True
    cue: str = ""


class _Question(NamedTuple):
    """What is compared; `arm` holds the other factors as far as they are kept apart."""

    factor: str
    first: str
    second: str
    model: str
    behaviour: str
    arm: Arm


class _Cell(NamedTuple):
    """One scenario's answer: pairs with both facts known, whose they are, and both ends of all whose facts apply."""

    question: _Question
    alike: Alike
    pairs: list[Pair]
    couples: list[Couple]
    ends: Ends

    @property
    def unknown(self) -> int:
        return len(self.ends.against) - len(self.pairs)


def compare(valid: Sequence[TrialVerdict], fact: str = "attempted") -> list[Comparison]:
    """Every pair of levels of every factor that the trials hold, for the behaviours that their scenarios are about."""
    cells = [cell for factor in factors_of(valid) for cell in _cells(valid, factor, fact) if cell.ends.against]
    checks = cues(valid)
    within = [_within(cell, fact, checks) for cell in cells if cell.pairs]
    return [*_adjusted(within), *_adjusted(_over(cells, fact, checks))]


def _cells(valid: Sequence[TrialVerdict], factor: str, fact: str) -> Iterator[_Cell]:
    for alike, by_levels in couples(valid, factor).items():
        for (first, second), members in sorted(by_levels.items()):
            for behaviour in (b for b in BEHAVIOURS if any(b in one.behaviours for one, _ in members)):
                question = _Question(factor, first, second, alike.model, behaviour, alike.arm)
                yield _Cell(question, alike, *_known(members, behaviour, fact))


def _known(members: Sequence[Couple], behaviour: str, fact: str) -> tuple[list[Pair], list[Couple], Ends]:
    facts: list[tuple[Couple, tuple[Fact, Fact]]] = [(c, c.said(behaviour, fact)) for c in members]
    apply = [(couple, said) for couple, said in facts if "n/a" not in said]
    known = [(couple, said) for couple, said in apply if "undetermined" not in said]
    pairs = [Pair(a == "true", b == "true") for _, (a, b) in known]
    return pairs, [couple for couple, _ in known], ends(said for _, said in apply)


def _within(cell: _Cell, fact: str, checks: Mapping[tuple[str, str], Cue]) -> Comparison:
    made = _comparison([cell], cell.question, fact, checks)
    low, high = (paired_difference(pairs).interval for pairs in cell.ends)
    tested = {
        "interval": paired_difference(cell.pairs).interval,
        "bounds": bounds(cell.ends, low, high) if cell.unknown else None,
        "p": least_certain(cell.ends, *map(mcnemar, cell.ends)),
    }
    return made.model_copy(update={"scenario": cell.alike.scenario, "scenario_digest": cell.alike.digest, **tested})


def _over(cells: Sequence[_Cell], fact: str, checks: Mapping[tuple[str, str], Cue]) -> list[Comparison]:
    """The same over all scenarios of a model that are about the behaviour, where there are two or more."""
    groups: dict[_Question, list[_Cell]] = defaultdict(list)
    for cell in cells:
        common = tuple((name, level) for name, level in cell.question.arm if name in COMMON)
        groups[cell.question._replace(arm=common)].append(cell)
    found = []
    for question, members in sorted(groups.items()):
        known = _differences((cell.alike.scenario, cell.pairs) for cell in members)
        if len({cell.alike.scenario for cell in members}) > 1 and any(known):
            whole = Ends(*([pair for cell in members for pair in cell.ends[n]] for n in (0, 1)))
            low, high = (
                clustered_difference(_differences((cell.alike.scenario, cell.ends[n]) for cell in members)) for n in (0, 1)
            )
            tested = {
                "interval": clustered_difference(known).interval,
                "bounds": bounds(whole, low.interval, high.interval) if any(cell.unknown for cell in members) else None,
                "p": least_certain(whole, low.p, high.p),
            }
            found.append(_comparison(members, question, fact, checks).model_copy(update=tested))
    return found


def _differences(answers: Iterable[tuple[str, Sequence[Pair]]]) -> list[list[int]]:
    """First less second of each pair, by scenario."""
    clusters: dict[str, list[int]] = defaultdict(list)
    for scenario, pairs in answers:
        clusters[scenario] += [pair.first - pair.second for pair in pairs]
    return list(clusters.values())


def _comparison(cells: Sequence[_Cell], question: _Question, fact: str, checks: Mapping[tuple[str, str], Cue]) -> Comparison:
    """Everything but the scenario's name, the interval and the tests."""
    pairs = [p for cell in cells for p in cell.pairs]
    versions = {(cell.alike.scenario, cell.alike.digest) for cell in cells}
    scenarios = {scenario for scenario, _ in versions}
    asked = scenarios if question.factor == "oversight" else ()
    states = {checks.get((name, question.model), Cue("not asked")).state for name in asked}
    first, second = sum(p.first for p in pairs) / len(pairs), sum(p.second for p in pairs) / len(pairs)
    return Comparison(
        factor=question.factor,
        first=question.first,
        second=question.second,
        scenario="*",
        scenarios=len(scenarios),
        model=question.model,
        behaviour=question.behaviour,
        fact=fact,
        pairs=len(pairs),
        undetermined=sum(cell.unknown for cell in cells),
        only_first=sum(p.first and not p.second for p in pairs),
        only_second=sum(p.second and not p.first for p in pairs),
        first_rate=first,
        second_rate=second,
        difference=first - second,
        interval=None,
        trials=tuple((a.id, b.id) for cell in cells for a, b in cell.couples),
        arm=dict(question.arm),
        measure=measure_of({**dict(question.arm), question.factor: question.first}),
        interpretable=len(versions) == len(scenarios),
        cue=next((s for s in ("not asked", "did not take", "took") if s in states), ""),
    )


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    return [
        c.model_copy(update={"adjusted": p, "shown": _stands(c, p)})
        for c, p in zip(found, holm([c.p for c in found]), strict=True)
    ]


def _stands(comparison: Comparison, p: float | None) -> bool:
    return p is not None and p < ALPHA and comparison.interpretable and comparison.cue in ("", "took")
