"""`belljar doctor`: what this machine lacks for a study, and how to mend it."""

from __future__ import annotations

import typer

from sandbox.cli.engine_container import reason_to_move
from sandbox.cli.output import JsonFlag, console, print_json
from sandbox.machine import examine


def doctor(json_output: JsonFlag = False) -> None:
    """Say what this machine has, what is missing for a study, and how to mend it. Exit code 3 if something is missing."""
    checks = examine(reason_to_move())
    ready = all(check.ok or check.optional for check in checks)
    if json_output:
        print_json({"ready": ready, "checks": [check._asdict() for check in checks]})
    else:
        out = console()
        for check in checks:
            mark = "[green]ok     [/]" if check.ok else "[yellow]missing[/]" if check.optional else "[red]MISSING[/]"
            out.print(f"{mark} {check.name}: {check.found}")
            if not check.ok:
                out.print(f"        fix: {check.fix}")
        out.print("Ready." if ready else "Not ready: mend what is MISSING.")
    if not ready:
        raise typer.Exit(3)
