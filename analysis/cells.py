"""Trials by what may be counted together: one version of a scenario, one arm, one model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

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

    @property
    def named(self) -> dict[str, Any]:
        """The first fields of a `CellFigure`."""
        return {"scenario": self.scenario, "scenario_digest": self.digest, "arm": dict(self.arm), "model": self.model,
                "measure": self.measure}  # fmt: skip


class CellFigure(BaseModel):
    """A figure of one cell: by id the `trials` that it is about, and `hits` among them."""

    model_config = ConfigDict(frozen=True)
    scenario: str
    scenario_digest: str
    arm: dict[str, str]
    model: str
    measure: Measure
    trials: tuple[str, ...] = ()
    hits: tuple[str, ...] = ()


def cell_of(trial: TrialVerdict) -> Cell:
    return Cell(trial.scenario, trial.scenario_digest, tuple(sorted(trial.arm.items())), trial.model)


def by_cell(trials: Iterable[TrialVerdict]) -> dict[Cell, list[TrialVerdict]]:
    """Trials by cell, cells in order."""
    found: dict[Cell, list[TrialVerdict]] = defaultdict(list)
    for trial in trials:
        found[cell_of(trial)].append(trial)
    return dict(sorted(found.items()))
