"""`belljar scenarios check`: does a scenario tell its scripted agents apart, run for real."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from analysis.verdict import judge
from sandbox.cli.execute import open_study
from sandbox.cli.models import ModelOptions
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.progress import StudyProgress
from sandbox.errors import UsageError
from sandbox.library.loading import ScenarioFolder, arm_name, find, load, names, parse_arm, prepare
from sandbox.library.oracle import differences, oracle_names, prepare_oracle
from sandbox.plan import Cell, StudyPlan, TrialPlan, plan_study, write_plan
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory


class Checked(NamedTuple):
    """One line of the gate."""

    scenario: str
    name: str
    passed: bool
    detail: str


def check(
    wanted: Annotated[list[str] | None, typer.Argument(help="Scenarios; all of the library without any.")] = None,
    arms: Annotated[str, typer.Option(help="Cells to run, as in `belljar run`.")] = "headline,benign/unwatched",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 1,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 2,
    keep: Annotated[Path | None, typer.Option(help="Keep the runs in this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Run every scripted agent of a scenario in Docker and hold the verdicts against what each says it deserves.

    Exit code 1 if any verdict is not as stated.
    """
    folders = find(wanted or names())
    with tempfile.TemporaryDirectory(prefix="check-") as scratch:
        checked = _run_all(folders, arms, seeds, concurrency, keep or Path(scratch))
    passed = all(line.passed for line in checked)
    if json_output:
        print_json({"passed": passed, "scenarios": _by_scenario(checked)})
    else:
        _print(checked)
    if not passed:
        raise typer.Exit(1)


def _run_all(folders: Sequence[ScenarioFolder], arms: str, seeds: int, concurrency: int, out: Path) -> list[Checked]:
    layout = RunLayout.new(out)
    plan = _plan(folders, arms, seeds, layout)
    study = open_study(plan, layout, ModelOptions(), concurrency=concurrency, approve=False)
    write_plan(plan, layout.study)
    progress = study.watcher
    if not isinstance(progress, StudyProgress):
        raise TypeError("a study opened here shows its progress")
    with progress:
        asyncio.run(study.run())
    by_name = {folder.name: folder for folder in folders}
    return [_held_against(trial, by_name[trial.scenario], layout) for trial in plan.trials]


def _plan(folders: Sequence[ScenarioFolder], arms: str, seeds: int, layout: RunLayout) -> StudyPlan:
    """Every oracle in every arm that it is written for; an arm that a scenario does not have is left out."""
    cells = [
        Cell(folder.name, arm, [f"oracle:{name}" for name in oracle_names(folder, arm)])
        for folder in folders
        for arm in _arms(folder, arms)
    ]
    return plan_study(
        run=layout.id,
        digests={folder.name: folder.digest for folder in folders},
        paths={folder.name: str(folder.path) for folder in folders},
        cells=cells,
        epochs=seeds,
        seed=0,
    )


def _arms(folder: ScenarioFolder, text: str) -> list[dict[str, str]]:
    scenario = load(folder)
    found: list[dict[str, str]] = []
    for part in text.split(","):
        try:
            cells = parse_arm(scenario, part.strip())
        except UsageError:
            continue
        found += [cell for cell in cells if cell not in found]
    return found or parse_arm(scenario, "headline")


def _held_against(trial: TrialPlan, folder: ScenarioFolder, layout: RunLayout) -> Checked:
    attempt = layout.trial(trial.id).latest()
    if attempt is None:
        return Checked(trial.scenario, trial.id, False, "it was not run")
    trajectory = Trajectory.load(attempt.root)
    verdict = judge(trajectory, path=str(attempt.root)).model_dump(mode="json")
    oracle = trial.model.removeprefix("oracle:")
    expected = prepare_oracle(prepare(folder, trial.arm, trial.seed), oracle).expect
    wrong = [] if verdict["status"] == "valid" else [f"the trial is invalid: {verdict['stop_reason']}", *_errors(trajectory)]
    wrong += differences(expected, verdict)
    name = f"{oracle} in {arm_name(load(folder), trial.arm)}, seed {trial.seed}"
    return Checked(trial.scenario, name, not wrong, "; ".join(wrong))


def _errors(trajectory: Trajectory) -> list[str]:
    return [str(getattr(event.body, "message", "")) for event in trajectory.events if event.kind == "error"]


def _by_scenario(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    found: dict[str, list[Checked]] = {}
    for line in checked:
        found.setdefault(line.scenario, []).append(line)
    return [
        {
            "name": name,
            "passed": all(line.passed for line in lines),
            "checks": [{"name": line.name, "passed": line.passed, "detail": line.detail} for line in lines],
        }
        for name, lines in found.items()
    ]


def _print(checked: Sequence[Checked]) -> None:
    out = console()
    for line in checked:
        mark = "ok    " if line.passed else "FAILED"
        out.print(plain(f"{mark} {line.scenario}: {line.name}"), markup=False, soft_wrap=True)
        if line.detail:
            out.print(plain(f"       {line.detail}"), markup=False, soft_wrap=True)
    failed = sum(not line.passed for line in checked)
    out.print(f"{len(checked) - failed} as stated, {failed} not", markup=False)
