"""`belljar clean`: remove what killed runs left behind."""

from __future__ import annotations

from typing import Annotated

import typer

from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.hosts.sweep import sweep


def clean(
    run: Annotated[str, typer.Option(help="Only what belongs to this run id.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Remove containers and mounts that killed runs left. Recordings and runs that are going on are never touched."""
    removed = sweep({"belljar.run": run} if run else {})
    if json_output:
        print_json({"removed": removed})
        return
    for thing in removed:
        console().print(plain(f"removed {thing}"), markup=False)
    if not removed:
        console().print("nothing to remove")
