"""What a study will run, written down before it starts: `study.json` is the plan, and a resume follows it to the letter."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from sandbox.errors import NotReadyError, UsageError
from sandbox.events import Frozen

PLAN_FORMAT = 1


class TrialPlan(Frozen):
    """One trial: everything that, with the scenario's digest, decides what it meets. `seed` is the base plus the epoch."""

    id: str
    scenario: str
    arm: dict[str, str]
    seed: int
    epoch: int
    model: str


class StudyPlan(Frozen):
    """The whole study. `scenarios` maps each scenario to the digest it had when the study was planned, `paths` those that
    lie outside the library to their folder; `fork` names the trial that the trials continue, if they do."""

    format: int = PLAN_FORMAT
    run: str
    created: str
    scenarios: dict[str, str]
    paths: dict[str, str] = {}
    trials: tuple[TrialPlan, ...]
    limits: dict[str, JsonValue] = {}
    sampling: dict[str, JsonValue] = {}
    runtime: str = "runc"
    fork: dict[str, JsonValue] | None = None


class Cell(NamedTuple):
    """One arm of one scenario, and the models that play it."""

    scenario: str
    arm: Mapping[str, str]
    models: Sequence[str]


def plan_study(
    *,
    run: str,
    digests: Mapping[str, str],
    paths: Mapping[str, str],
    cells: Sequence[Cell],
    epochs: int,
    seed: int,
    limits: Mapping[str, JsonValue] | None = None,
    sampling: Mapping[str, JsonValue] | None = None,
    runtime: str = "runc",
) -> StudyPlan:
    """One trial for each cell, model and epoch; epoch k has the same seed in every arm and model."""
    trials = []
    plays = [(cell.scenario, cell.arm, model, epoch) for cell in cells for model in cell.models for epoch in range(epochs)]
    for number, (name, arm, model, epoch) in enumerate(plays, 1):
        words = [f"{number:04d}", name.rpartition("/")[2], model, f"e{epoch}"]
        trial = re.sub(r"[^A-Za-z0-9_.]+", "-", "-".join(words))[:120]
        trials.append(TrialPlan(id=trial, scenario=name, arm=dict(arm), seed=seed + epoch, epoch=epoch, model=model))
    return StudyPlan(
        run=run,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        scenarios=dict(digests),
        paths=dict(paths),
        trials=tuple(trials),
        limits=dict(limits or {}),
        sampling=dict(sampling or {}),
        runtime=runtime,
    )


def write_plan(plan: StudyPlan, path: Path) -> None:
    """Write the plan beside a temporary name first, so that a kill leaves a whole plan or none. Raises NotReadyError."""
    fresh = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise NotReadyError(f"{path} cannot be written: {error.strerror}.", "Choose another folder with --out.") from error


def read_plan(path: Path) -> StudyPlan:
    """The plan in `path`; UsageError when the folder is not a run, or is one of a newer version.

    Folders of scenarios that are not on this machine are left out: by its name the library may have the same, as digests tell.
    """
    try:
        plan = StudyPlan.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{path.parent} is not a run folder: it has no {path.name}.", "Name a folder that `belljar run` made."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{path} cannot be read: {where}: {first['msg']}.", "It was changed, or a newer version wrote it."
        ) from None
    if plan.format > PLAN_FORMAT:
        raise UsageError(f"{path} has format {plan.format}; this version reads up to {PLAN_FORMAT}.", "Update belljar.")
    here = {name: folder for name, folder in plan.paths.items() if Path(folder).is_dir()}
    return plan.model_copy(update={"paths": here})
