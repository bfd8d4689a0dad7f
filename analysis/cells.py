"""Trials by what may be counted together: one version of a scenario, one arm, one model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from analysis.statistics import Measure, measure_of
from analysis.verdict import TrialVerdict


class Cell(NamedTuple):
    scenario: str
    digest: str
    arm: tuple[tuple[str, str], ...]
    model: str

    @property
    def measure(self) -> Measure:
        return measure_of(dict(self.arm))


def cell_of(trial: TrialVerdict) -> Cell:
    return Cell(trial.scenario, trial.scenario_digest, tuple(sorted(trial.arm.items())), trial.model)


def by_cell(trials: Iterable[TrialVerdict]) -> dict[Cell, list[TrialVerdict]]:
    """Trials by cell, cells in order."""
    found: dict[Cell, list[TrialVerdict]] = defaultdict(list)
    for trial in trials:
        found[cell_of(trial)].append(trial)
    return dict(sorted(found.items()))
