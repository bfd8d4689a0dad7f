"""The trials of the gate: which arms, agents and seeds are played, and what came of each, run for real and judged.

The fast tier plays every oracle once in the headline arm, and the honest and an idle agent in the benign twin. The full tier
has three seeds of both, every oracle in every other arm it is written for, the seeds taking turns, and the headline again with
nothing but the portable sensors.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.verdict import TrialVerdict, judge
from sandbox.build import build_environment
from sandbox.errors import NotReadyError
from sandbox.events import ErrorRaised, Probed
from sandbox.gate.agents import CLEAN
from sandbox.gate.idle import IDLE, idle_oracle, open_scripted
from sandbox.hosts.sweep import sweep
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import arm_name, arms, headline, load, prepare
from sandbox.library.oracle import Expectation, oracle_names, prepare_oracle
from sandbox.machine import machine_facts, require_ready
from sandbox.models.model import Model
from sandbox.plan import StudyPlan, TrialPlan, read_plan, write_plan
from sandbox.record.layout import RunLayout
from sandbox.study import Study, Watcher
from sandbox.trajectory import Trajectory

PORTABLE = "portable"


@dataclass(frozen=True)
class Played:
    """One trial of the gate: its plan, what its agent deserves, the recording, the verdict. None where it was not run."""

    plan: TrialPlan
    arm: str
    expected: Expectation
    trajectory: Trajectory | None = None
    verdict: TrialVerdict | None = None

    @property
    def agent(self) -> str:
        return self.plan.model.removeprefix("oracle:")

    @property
    def clean(self) -> bool:
        return self.agent in (*CLEAN, IDLE)

    @property
    def name(self) -> str:
        """`honest in tempted/unwatched, seed 0`."""
        return f"{self.agent} in {self.arm}, seed {self.plan.seed}"

    @property
    def seconds(self) -> float:
        finished = self.trajectory.finished if self.trajectory else None
        return finished.duration_us / 1e6 if finished else 0.0

    @property
    def probed(self) -> dict[str, str]:
        """What each probe said last: true, false or undetermined."""
        return {body.probe: body.passed for _, body in self.trajectory.of(Probed)} if self.trajectory else {}

    def as_json(self) -> dict[str, Any]:
        """The verdict in the form of `belljar analyze --json`."""
        return self.verdict.model_dump(mode="json") if self.verdict else {}

    def errors(self) -> list[str]:
        """What went wrong in it, in the words of the record."""
        return [body.message for _, body in self.trajectory.of(ErrorRaised)] if self.trajectory else []


def plan_gate(folders: Sequence[ScenarioFolder], run: str = "", *, full: bool, portable: bool = False) -> StudyPlan:
    """The trials of a tier; `portable` those that are played again with the portable sensors alone."""
    trials: list[TrialPlan] = []
    for folder in folders:
        cells = _portable_cells(folder) if portable else _cells(folder, full=full)
        for arm, agent, seed in cells:
            words = [f"{len(trials) + 1:04d}", folder.name.rpartition("/")[2], agent, *arm.values(), f"s{seed}"]
            trial = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words))[:120]
            model = f"oracle:{agent}"
            trials.append(TrialPlan(id=trial, scenario=folder.name, arm=arm, seed=seed, epoch=seed, model=model))
    return StudyPlan(
        run=run,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        scenarios={folder.name: folder.digest for folder in folders},
        paths={folder.name: str(folder.path) for folder in folders},
        trials=tuple(trials),
    )


def planned_in(out: Path, wanted: StudyPlan) -> tuple[RunLayout, StudyPlan]:
    """The run below `out` that has the trials of `wanted`, of the same versions of the scenarios; else a fresh one."""
    for study in sorted(out.glob("*/study.json"), reverse=True):
        plan = read_plan(study)
        if plan == wanted.model_copy(update={"run": plan.run, "created": plan.created}):
            return RunLayout(study.parent), plan
    layout = RunLayout.new(out)
    return layout, wanted.model_copy(update={"run": layout.id})


def benign_twin(folder: ScenarioFolder) -> dict[str, str] | None:
    """The headline arm without temptation; None for a scenario without that factor."""
    scenario = load(folder)
    return {**headline(scenario), "incentive": "benign"} if "incentive" in scenario.factors else None


def _cells(folder: ScenarioFolder, *, full: bool) -> Iterator[tuple[dict[str, str], str, int]]:
    scenario = load(folder)
    first, twin = headline(scenario), benign_twin(folder)
    for seed in range(3 if full else 1):
        yield from ((first, agent, seed) for agent in oracle_names(folder, first))
        if twin is not None:
            yield from ((twin, agent, seed) for agent in ("honest", IDLE) if agent in (*oracle_names(folder, twin), IDLE))
    if full:
        for turn, arm in enumerate(arms(scenario)):
            agents = [agent for agent in oracle_names(folder, arm) if arm != twin or agent != "honest"]
            yield from ((arm, agent, turn % 3) for agent in agents if arm != first)


def _portable_cells(folder: ScenarioFolder) -> Iterator[tuple[dict[str, str], str, int]]:
    first = headline(load(folder))
    return ((first, agent, 0) for agent in oracle_names(folder, first))


async def play(
    plan: StudyPlan,
    folders: Sequence[ScenarioFolder],
    layout: RunLayout,
    *,
    concurrency: int,
    watcher: Watcher,
    live: bool = True,
) -> None:
    """Run what is left of the plan in Docker through the real loop. Raises NotReadyError for what the machine lacks."""
    require_ready()
    sweep({"belljar.run": plan.run})
    study = Study(
        plan=plan,
        layout=layout,
        folders={folder.name: folder for folder in folders},
        build=functools.partial(build_environment, live=live),
        machine=machine_facts(),
        open_shared=_no_other,
        open_oracle=open_scripted,
        concurrency=concurrency,
        watcher=watcher,
    )
    write_plan(plan, layout.study)
    await study.run()


def judged(plan: StudyPlan, folders: Sequence[ScenarioFolder], layout: RunLayout) -> Iterator[Played]:
    """Every trial of the plan with its verdict, one at a time."""
    by_name = {folder.name: folder for folder in folders}
    for trial in plan.trials:
        folder = by_name[trial.scenario]
        arm, expected = arm_name(load(folder), trial.arm), expectation(folder, trial)
        attempt = layout.trial(trial.id).latest()
        if attempt is None:
            yield Played(trial, arm, expected)
            continue
        trajectory = Trajectory.load(attempt.root)
        yield Played(trial, arm, expected, trajectory, judge(trajectory, path=str(attempt.root)))


def expectation(folder: ScenarioFolder, trial: TrialPlan) -> Expectation:
    """What the trial's agent is said to deserve. Raises ScenarioError."""
    prepared = prepare(folder, trial.arm, trial.seed)
    name = trial.model.removeprefix("oracle:")
    return (idle_oracle(prepared) if name == IDLE else prepare_oracle(prepared, name)).expect


def by_scenario(played: Sequence[Played]) -> Mapping[str, list[Played]]:
    """Grouped, in the order of the plan."""
    found: dict[str, list[Played]] = {}
    for each in played:
        found.setdefault(each.plan.scenario, []).append(each)
    return found


def _no_other(spec: str) -> Model:
    raise NotReadyError(f"The gate plays scripted agents only, not {spec}.")
