"""`belljar resume`: go on with a run that was cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from sandbox.cli.execute import carry_on, open_study
from sandbox.cli.fork import resume_forks
from sandbox.cli.models import ModelOptions
from sandbox.cli.output import JsonFlag
from sandbox.errors import UsageError
from sandbox.plan import read_plan
from sandbox.record.layout import RunLayout


def resume(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 2,
    approve: Annotated[bool, typer.Option("--approve", help="Ask at the terminal before each call.")] = False,
    base_url: Annotated[str, typer.Option(help="Address of the model's server, if it moved.")] = "",
    key_file: Annotated[str, typer.Option(help="File that holds the API key alone.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Go on with a run that was interrupted: finished trials are kept, torn ones start again as the next attempt.

    Runs of `belljar fork` and `belljar scan` are continued likewise.
    """
    layout = RunLayout(run)
    plan = read_plan(layout.study)
    options = ModelOptions.restored(plan.sampling, base_url=base_url, key_file=key_file)
    if plan.fork is not None:
        if approve:
            raise UsageError("Forks are not approved call by call.", "Leave out --approve.")
        resume_forks(plan, layout, options, concurrency=concurrency, json_output=json_output)
        return
    study = open_study(plan, layout, options, concurrency=concurrency, approve=approve, sweep_first=True)
    asyncio.run(carry_on(study, json_output=json_output))
