"""`belljar verify`: is a recorded trial or run whole, and if not, where does it first go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.seal import check_bundle
from sandbox.record.bundle import is_bundle
from sandbox.record.verify import verify_path


def verify(
    path: Annotated[Path, typer.Argument(help="A run, a trial, an attempt, a ledger file or a sealed bundle.")],
    key: Annotated[str, typer.Option(help="A bundle's expected signer: fingerprint or remembered name.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Check hash chain, sealed fields, blobs and anchor of every attempt below PATH. Exit code 1 if any fails."""
    if is_bundle(path):
        check_bundle(path, key=key, json_output=json_output)
        return
    reports = verify_path(path)
    ok = all(report.ok for _, report in reports)
    if json_output:
        whole = {"ok": ok, "attempts": [{"path": str(place), **report.model_dump(mode="json")} for place, report in reports]}
        print_json({**reports[0][1].model_dump(mode="json"), **whole} if len(reports) == 1 else whole)
    else:
        out = console()
        for place, report in reports:
            line = f"{'ok    ' if report.ok else 'BROKEN'} {report.status:<15} {report.events:>6} events  {place}"
            out.print(plain(line), markup=False, soft_wrap=True)
            for problem in report.problems:
                out.print(plain(f"       {problem}"), markup=False, soft_wrap=True)
    if not ok:
        raise typer.Exit(1)
