"""Running a planned study from the command line: machine, models, progress, and the report at its end."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys

import typer

from sandbox.build import build_environment
from sandbox.cli.models import ModelOptions, recorded_model
from sandbox.cli.output import errors, print_json
from sandbox.cli.progress import StudyProgress
from sandbox.cli.report import judge_run, write_reports
from sandbox.errors import UsageError
from sandbox.hosts.sweep import sweep
from sandbox.library.loading import ScenarioFolder, find
from sandbox.library.oracle import open_oracle
from sandbox.machine import machine_facts, require_ready
from sandbox.models.model import open_model
from sandbox.plan import StudyPlan
from sandbox.record.layout import RunLayout
from sandbox.review import Person
from sandbox.study import Study, check_same


def open_study(
    plan: StudyPlan,
    layout: RunLayout,
    options: ModelOptions,
    *,
    concurrency: int,
    approve: bool,
    sweep_first: bool = False,
) -> Study:
    """Make everything ready that a study needs; NotReadyError says what the machine lacks."""
    folders = _folders(plan)
    check_same(plan, {name: folder.digest for name, folder in folders.items()})
    require_ready()
    if sweep_first:
        sweep({"belljar.run": plan.run})
    if approve and not sys.stdin.isatty():
        raise UsageError("--approve needs a terminal to ask at.", "Run it from a terminal.")
    progress = StudyProgress()
    settings = options.settings()
    return Study(
        plan=plan,
        layout=layout,
        folders=folders,
        build=functools.partial(build_environment, runtime=plan.runtime),
        machine=machine_facts(plan.runtime),
        open_shared=lambda spec: open_model(spec, settings, on_retry=progress.said, kinds={"replay": recorded_model}),
        open_oracle=open_oracle,
        concurrency=1 if approve else concurrency,
        reviewers=[Person()] if approve else [],
        watcher=progress,
    )


async def carry_on(study: Study, *, json_output: bool) -> None:
    """Run what is left of `study`, then judge and report it; an interruption says how to go on."""
    progress = study.watcher
    assert isinstance(progress, StudyProgress)
    go_on = f"belljar resume {study.layout.root}"
    stop_on_signals()
    try:
        with progress:
            await study.run()
    except asyncio.CancelledError:
        errors().print(f"\ninterrupted; go on with: {go_on}", markup=False, soft_wrap=True)
        raise typer.Exit(130) from None
    except UsageError:
        raise
    except Exception:
        errors().print(f"stopped; once it is mended go on with: {go_on}", markup=False, soft_wrap=True)
        raise
    summary = judge_run(study.layout)
    write_reports(summary, study.layout, quiet=json_output)
    if json_output:
        print_json(summary.model_dump(mode="json"))
    if study.plan.trials and not summary.totals.valid:
        raise typer.Exit(1)


def stop_on_signals() -> None:
    """Ctrl-C, a closed terminal and a service manager stop a study in order; a second one waits for the clean-up too."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _folders(plan: StudyPlan) -> dict[str, ScenarioFolder]:
    wanted = [plan.paths.get(name, name) for name in plan.scenarios]
    return dict(zip(plan.scenarios, find(wanted), strict=True))
