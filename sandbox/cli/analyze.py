"""`belljar analyze`: judge what was recorded, again or for the first time; nothing recorded is changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from analysis.report import print_summary
from analysis.sigma import BUILT_IN, Rule, RuleError, load_rules
from analysis.study import summarise
from analysis.verdict import TrialVerdict, explain
from sandbox.cli.judging import judge_all, judge_whole
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.report import beside
from sandbox.errors import UsageError
from sandbox.record.verify import read_verified, verified
from sandbox.trajectory import MAX_LEDGER, attempts_at


def analyze(
    path: Annotated[
        Path, typer.Argument(help="A run, a trial, an attempt, a ledger file, or - for a ledger on standard input.")
    ],
    explain_verdicts: Annotated[
        bool, typer.Option("--explain", help="Show the chain from each verdict to its events.")
    ] = False,
    rules: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of further Sigma rules (*.yml, *.yaml), beside those that come with us; repeatable."),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Say what the agents of a recorded run or trial did, by the detectors of this version."""
    verdicts = beside(path, _verdicts(path, rules or []))
    summary = summarise(verdicts, run=str(path))
    if json_output:
        print_json(summary.model_dump(mode="json"))
        return
    out = console()
    print_summary(summary, out)
    if explain_verdicts:
        for verdict in verdicts:
            out.print(plain(explain(verdict)), markup=False, soft_wrap=True)


def _rules(folders: list[Path]) -> tuple[Rule, ...]:
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder of rules at {folder}.", "Name a folder that holds *.yml or *.yaml files.")
    try:
        return load_rules(BUILT_IN, *folders)
    except RuleError as error:
        raise UsageError(str(error), "analysis/README.md says what a rule looks like.") from None


def _verdicts(path: Path, folders: list[Path]) -> list[TrialVerdict]:
    chosen = _rules(folders)
    if str(path) == "-":
        trajectory, proof = read_verified(sys.stdin.buffer.read(MAX_LEDGER + 1))
    elif next(attempts_at(path), (None, False))[1]:
        trajectory, proof = next(verified(path))
    else:
        return judge_all(path, folders)
    if not trajectory.events:
        raise UsageError(f"{trajectory.layout.ledger} holds no event.", "Name a run, a trial, or its ledger.jsonl.")
    return [judge_whole(trajectory, proof, chosen)]
