"""`belljar import`: trajectories of other programs become trials that can be analysed, compared and sealed like ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.errors import BelljarError
from sandbox.interop import FORMATS, ImportReport, import_file


def import_(
    files: Annotated[list[Path], typer.Argument(help="Files in any of the formats; each becomes a run of its own.")],
    out: Annotated[Path, typer.Option(help="The folder that runs lie in.")] = Path("runs"),
    from_format: Annotated[
        str, typer.Option("--from", help=f"The format, where it is not to be told by the content: {', '.join(FORMATS)}.")
    ] = "",
    json_output: JsonFlag = False,
) -> None:
    """Read what other programs recorded: Inspect AI logs, ATIF, OpenAI and LangChain messages, mini-swe-agent, SWE-agent.

    What the source held and our events cannot is listed and kept as it came. Nothing was watched in such a trial: its calls and
    outputs are what the source says, and no effect is ever proven or excluded by it.
    """
    reports, failures = [], []
    for file in files:
        try:
            report = import_file(file, out, format=from_format)
        except BelljarError as error:
            if len(files) == 1:
                raise
            failures.append((file, error))
            errors().print(plain(f"error: {file}: {error.message}"), markup=False, soft_wrap=True)
            continue
        reports.append(report)
        if not json_output:
            _show(report)
    if json_output:
        failed = [{"file": str(file), "error": error.message} for file, error in failures]
        print_json({"imports": [as_json(report) for report in reports], "failed": failed})
    if failures:
        raise typer.Exit(max(error.exit_code for _, error in failures))


def as_json(report: ImportReport) -> dict[str, Any]:
    """The object of one file."""
    trials = [trial._asdict() | {"path": str(trial.path)} for trial in report.trials]
    return report._asdict() | {"run": str(report.path), "path": str(report.path), "lost": report.lost, "trials": trials}


def _show(report: ImportReport) -> None:
    out = console()
    turns, calls = sum(trial.turns for trial in report.trials), sum(trial.calls for trial in report.trials)
    summary = f"{report.name}: {report.format}, {len(report.trials)} trials, {turns} turns, {calls} calls -> {report.path}"
    out.print(plain(summary), markup=False, soft_wrap=True)
    for what, count in report.lost.items():
        out.print(plain(f"  not carried: {count} x {what}"), markup=False, soft_wrap=True)
    if report.lost:
        out.print("  (the source is kept whole beside each trial)")
