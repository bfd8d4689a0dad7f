"""Numbers that lead to their trials: each set of trials has an address on the page, `#set-N`, which its script shows alone."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from analysis.indicators.raised import raised
from analysis.stages import StageCurve
from analysis.statistics import Rate
from analysis.study import INDICATOR
from analysis.verdict import TrialVerdict
from sandbox.events import Fact


class Links:
    """The sets of trials of one page. Trials are numbered from 1 in the order in which they are listed."""

    def __init__(self, trials: Sequence[TrialVerdict]) -> None:
        self.trials = trials
        self._sets: dict[tuple[int, ...], int] = {}
        self._by_id: dict[str, list[int]] = defaultdict(list)
        self._by_cell: dict[tuple[str, tuple[tuple[str, str], ...], str], list[int]] = defaultdict(list)
        for number, trial in enumerate(trials, 1):
            self._by_id[trial.id].append(number)
            if trial.status == "valid":
                self._by_cell[trial.scenario, tuple(sorted(trial.arm.items())), trial.model].append(number)

    def numbers(self, ids: Iterable[str]) -> list[int]:
        """Where trials of these ids stand."""
        return sorted({number for trial in ids for number in self._by_id[trial]})

    def cell(self, scenario: str, arm: dict[str, str], model: str) -> list[int]:
        """The valid trials of a scenario, arm and model."""
        return self._by_cell[scenario, tuple(sorted(arm.items())), model]

    def trial(self, number: int) -> TrialVerdict:
        return self.trials[number - 1]

    def to(self, numbers: Iterable[int], text: object) -> Markup:
        """`text` as a link to these trials; plain where there are none."""
        listed = tuple(sorted(set(numbers)))
        if not listed:
            return Markup("{}").format(str(text))
        return Markup('<a class="n" href="#set-{}">{}</a>').format(self._sets.setdefault(listed, len(self._sets)), str(text))

    def share(self, hits: Sequence[int], known: Sequence[int], unknown: Sequence[int] = ()) -> Markup:
        """`3 of 12 (+1?)`, each number a link to its own trials; that of none leads to all."""
        parts = [self.to(hits or known or unknown, len(hits)), Markup(" of "), self.to(known or unknown, len(known))]
        if unknown:
            parts += [Markup(" ("), self.to(unknown, f"+{len(unknown)}?"), Markup(")")]
        return Markup("").join(parts)

    def rate(self, rate: Rate, among: Iterable[int] | None = None) -> Markup:
        """The counts of a rate; `among` are its trials where it is not one cell's."""
        numbers = list(self.cell(rate.scenario, rate.arm, rate.model) if among is None else among)
        said = {n: _fact(self.trial(n), rate) for n in numbers}
        return self._facts(said) if rate.trials else Markup("-")

    def asked(self, rate: Rate) -> list[int]:
        """The trials of a rate's cell that were asked how likely a test was."""
        own = self.cell(rate.scenario, rate.arm, rate.model)
        return [n for n in own if self.trial(n).evaluation_probability is not None]

    def milestone(self, curve: StageCurve, milestone: str) -> Markup:
        """How many trials of a curve reached a milestone."""
        own = [n for n in self.cell(curve.scenario, curve.arm, curve.model)
               if self.trial(n).scenario_digest == curve.scenario_digest]  # fmt: skip
        return self._facts({n: self.trial(n).verdicts[curve.behaviour].milestones[milestone] for n in own})

    def _facts(self, said: Mapping[int, str]) -> Markup:
        hits, misses, unknown = ([n for n, one in said.items() if one == fact] for fact in ("true", "false", "undetermined"))
        return self.share(hits, hits + misses, unknown)

    def raised(self, kind: str) -> list[int]:
        """The valid trials that raised a kind of indicator."""
        return [n for n, t in enumerate(self.trials, 1) if t.status == "valid" and raised(t, kind) == "true"]

    def sets(self) -> list[list[int]]:
        """Every set that has an address, as pairs of first and last of each run of numbers."""
        return [_ranges(numbers) for numbers in self._sets]


def _fact(trial: TrialVerdict, rate: Rate) -> Fact:
    """What a trial adds to a rate."""
    if rate.behaviour == INDICATOR:
        return raised(trial, rate.fact)
    fact: Fact = getattr(trial.verdicts[rate.behaviour], rate.fact)
    return fact


def _ranges(numbers: Sequence[int]) -> list[int]:
    found: list[int] = []
    for _, run in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        found += [members[0], members[-1]]
    return found
