"""`belljar analyze`: judge what was recorded, again or for the first time; nothing recorded is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.report import print_summary
from analysis.study import summarise
from analysis.verdict import explain, judge
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.trajectory import Trajectory, trajectories


def analyze(
    path: Annotated[
        Path, typer.Argument(help="A run, a trial, an attempt, a ledger file, or - for a ledger on standard input.")
    ],
    explain_verdicts: Annotated[
        bool, typer.Option("--explain", help="Show the chain from each verdict to its events.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Say what the agents of a recorded run or trial did, by the detectors of this version."""
    loaded = [Trajectory.read(sys.stdin.buffer.read(), "-")] if str(path) == "-" else trajectories(path)
    verdicts = [judge(trajectory, path=str(trajectory.layout.root)) for trajectory in loaded]
    summary = summarise(verdicts, run=str(path))
    if json_output:
        print_json(summary.model_dump(mode="json"))
        return
    out = console()
    print_summary(summary, out)
    if explain_verdicts:
        for verdict in verdicts:
            out.print(plain(explain(verdict)), markup=False, soft_wrap=True)
