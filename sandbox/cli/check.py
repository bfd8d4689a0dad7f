"""`belljar scenarios check`: the gate. Does a scenario tell its scripted agents apart, and is all else in order with it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.cli.execute import stop_on_signals
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.cli.progress import StudyProgress
from sandbox.errors import UsageError
from sandbox.gate.checked import Checked
from sandbox.gate.definition import check_definition
from sandbox.gate.elsewhere import Elsewhere
from sandbox.gate.sensors import less_is_said
from sandbox.gate.trials import PORTABLE, Played, by_scenario, judged, plan_gate, planned_in, play
from sandbox.gate.verdicts import as_stated, indicators_by_two, portable_as_stated, silence, states, twin_done
from sandbox.library.loading import ScenarioFolder, find, names


def check(
    wanted: Annotated[list[str] | None, typer.Argument(help="Scenarios; all of the library without any.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All scenarios of the library, and what holds between them.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Three seeds, every arm, and the portable sensors as well.")] = False,
    static: Annotated[bool, typer.Option("--static", help="Only what needs no Docker: arms, words, seeds, agents.")] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 4,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the runs in this folder, and go on with those that lie there.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Put scenarios through the gate: their text, and every scripted agent in Docker against the verdict it deserves.

    Checks that all arms render, that nothing gives away what it is, that seeds share nothing unpinned, that every agent is
    there and gets its verdict, that the benign twin can be completed, that probes tell good states from bad ones, that clean
    agents raise nothing anywhere, and that less is said where less was watched. Exit code 1 if anything does not hold.

    With --keep, a gate that was stopped goes on with the same command: trials that lie finished in the folder, of the same
    versions of the scenarios, are judged and not played again.
    """
    if everything and wanted:
        raise UsageError("Name scenarios, or say --all.", "`belljar scenarios list` shows them.")
    started = time.monotonic()
    folders = find(wanted or names())
    checked = [line for folder in folders for line in check_definition(folder)]
    broken = {line.scenario for line in checked if line.name == "arms render" and not line.passed}
    whole = [folder for folder in folders if folder.name not in broken]
    if whole and not static:
        with tempfile.TemporaryDirectory(prefix="check-") as scratch:
            out = keep or Path(scratch)
            checked += _played(whole, out, full=full, concurrency=concurrency, together=not wanted)
    order = {folder.name: place for place, folder in enumerate(folders)}
    checked.sort(key=lambda line: order.get(line.scenario, len(order)))
    _tell(checked, time.monotonic() - started, json_output=json_output)
    if not all(line.passed for line in checked):
        raise typer.Exit(1)


def _played(folders: Sequence[ScenarioFolder], out: Path, *, full: bool, concurrency: int, together: bool) -> list[Checked]:
    """What needs trials; `together` adds what holds between the scenarios of the library."""
    played = _play(folders, out, full=full, concurrency=concurrency)
    lines = [as_stated(each) for each in played]
    elsewhere = Elsewhere({folder.name: folder for folder in (*find(names()), *folders)}.values())
    for scenario, trials in by_scenario(played).items():
        lines += [twin_done(scenario, trials), states(scenario, trials), silence(scenario, trials, elsewhere)]
        lines += [less_is_said(scenario, trials, profile) for profile in ("portable", "none")]
    if full:
        again = _play(folders, out, full=full, concurrency=concurrency, portable=True)
        lines += [portable_as_stated(each) for each in again]
    if together:
        lines.append(indicators_by_two(played))
    return lines


def _play(
    folders: Sequence[ScenarioFolder], out: Path, *, full: bool, concurrency: int, portable: bool = False
) -> list[Played]:
    layout, plan = planned_in(out, plan_gate(folders, full=full, portable=portable))
    errors().print(f"{len(plan.trials)} trials{f' with {PORTABLE} sensors' if portable else ''} …", markup=False)

    async def run(progress: StudyProgress) -> None:
        stop_on_signals()
        await play(plan, folders, layout, concurrency=concurrency, watcher=progress, live=not portable)

    with StudyProgress() as progress:
        try:
            asyncio.run(run(progress))
        except asyncio.CancelledError:
            errors().print("stopped; with --keep the same command goes on from here", markup=False)
            raise KeyboardInterrupt from None
    return list(judged(plan, folders, layout))


def _tell(checked: Sequence[Checked], seconds: float, *, json_output: bool) -> None:
    if json_output:
        passed = all(line.passed for line in checked)
        print_json({"passed": passed, "seconds": round(seconds, 1), "scenarios": _by_scenario(checked)})
    else:
        _print(checked, seconds)


def _by_scenario(checked: Iterable[Checked]) -> list[dict[str, Any]]:
    found: dict[str, list[Checked]] = {}
    for line in checked:
        found.setdefault(line.scenario, []).append(line)
    return [
        {
            "name": name,
            "passed": all(line.passed for line in lines),
            "checks": [
                {"name": line.name, "passed": line.passed, "detail": line.detail, "seconds": round(line.seconds, 2)}
                for line in lines
            ],
        }
        for name, lines in found.items()
    ]


def _print(checked: Sequence[Checked], seconds: float) -> None:
    out = console()
    width = max((len(line.name) for line in checked), default=0)
    for place, line in enumerate(checked):
        if place == 0 or checked[place - 1].scenario != line.scenario:
            out.print(plain(line.scenario), style="bold", markup=False)
        mark = "ok    " if line.passed else "FAILED"
        took = f"{line.seconds:6.1f} s" if line.seconds >= 0.05 else ""
        out.print(plain(f"  {mark} {line.name:<{width}} {took}".rstrip()), markup=False, soft_wrap=True)
        if line.detail:
            out.print(plain(f"         {line.detail}"), markup=False, soft_wrap=True)
    failed = sum(not line.passed for line in checked)
    scenarios = len({line.scenario for line in checked} - {"library"})
    out.print(
        f"{len(checked) - failed} checks of {scenarios} scenarios hold, {failed} do not, in {seconds:.0f} s", markup=False
    )
