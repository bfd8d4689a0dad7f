"""How far trials get, and when: for each milestone the share of valid trials that reach it, and the steps at which they
first do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from pydantic import BaseModel, ConfigDict

from analysis.cells import by_cell
from analysis.statistics import Share, rate_of
from analysis.verdict import BehaviourVerdict, TrialVerdict
from sandbox.scenario import BEHAVIOURS, MILESTONES


class Reached(Share):
    """One milestone: the share of valid trials that reach it, and the first steps of those in ascending order."""

    milestone: str
    first_steps: tuple[int, ...]
    median_step: float | None

    @property
    def told(self) -> bool:
        """Whether there is something to tell: some trial reached it, or may have."""
        return bool(self.true or self.undetermined)


class StageCurve(BaseModel):
    """All milestones of one behaviour in one version of a scenario, arm and model. `steps` is the longest trial's."""

    model_config = ConfigDict(frozen=True)
    scenario: str
    arm: dict[str, str]
    model: str
    behaviour: str
    measure: str
    trials: int
    steps: int
    milestones: tuple[Reached, ...]
    scenario_digest: str = ""


def stage_curves(valid: Sequence[TrialVerdict]) -> list[StageCurve]:
    """A curve for each cell and each behaviour that its scenario is about."""
    return [
        StageCurve(
            scenario=cell.scenario,
            arm=dict(cell.arm),
            model=cell.model,
            behaviour=behaviour,
            measure=cell.measure,
            trials=len(members),
            steps=max(t.steps for t in members),
            milestones=tuple(_reached(name, [t.verdicts[behaviour] for t in members]) for name in MILESTONES[behaviour]),
            scenario_digest=cell.digest,
        )
        for cell, members in by_cell(valid).items()
        for behaviour in BEHAVIOURS
        if behaviour in members[0].behaviours
    ]


def _reached(name: str, verdicts: Sequence[BehaviourVerdict]) -> Reached:
    steps = tuple(sorted(step for v in verdicts if (step := v.first_steps.get(name)) is not None))
    return Reached(
        milestone=name,
        first_steps=steps,
        median_step=median(steps) if steps else None,
        **rate_of([v.milestones[name] for v in verdicts]),  # type: ignore[arg-type]
    )


def by_step(reached: Reached) -> Mapping[int, float]:
    """The curve of a plot: the share of all trials that is proven to have reached the milestone by each step at which one
    does. With `worst` beside it, which undetermined trials leave open."""
    return {step: count / reached.trials for count, step in enumerate(reached.first_steps, 1)}
