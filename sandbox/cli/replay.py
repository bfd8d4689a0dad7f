"""`belljar replay`: carry a recorded trial out again and grade every step; or serve it, or retell it, without Docker."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.cli.records import flaw, read_record, warned
from sandbox.errors import UsageError
from sandbox.record.layout import RunLayout
from sandbox.replay.grading import Grading, unreplayable
from sandbox.trajectory import Trajectory


def replay(
    trial: Annotated[Path, typer.Argument(help="A trial's folder, an attempt's, or a ledger.jsonl.")],
    scenario: Annotated[Path | None, typer.Option(help="Folder of the scenario, if it is not found by its name.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the second execution's ledger in this folder.")] = None,
    served: Annotated[bool, typer.Option("--served", help="Serve recorded outputs; judge again without Docker.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Retell the trial step by step; nothing is executed.")] = False,
    pace: Annotated[float, typer.Option(min=0, help="With --watch: seconds a step; 0 waits for a key.")] = 0,
    json_output: JsonFlag = False,
) -> None:
    """Execute a trial's recorded calls in a fresh environment and compare the effects of every step.

    Scenario definition, arm and seed must be the recorded ones; images and versions are compared and shown. Exit code 0 if
    every step is identical or equivalent, 1 if any diverged or could not be replayed.

    Ids of git commits that were made in the trial are held against what the commits hold, as long as they lie loose on a host.
    What else is computed from a clock's reading, also the ids of objects in packs, diverges: it cannot be told from another
    content. Set the dates (GIT_AUTHOR_DATE, GIT_COMMITTER_DATE) where a scripted agent commits and packs.
    """
    if served and watch:
        raise UsageError("--served and --watch do not go together.", "Give one of them.")
    recorded, proof = read_record(trial)
    if not served:
        warned(recorded, proof)
    if watch:
        from sandbox.cli.watch import watch_trial  # noqa: PLC0415 - the keyboard is only needed here

        watch_trial(recorded, pace=pace)
        return
    if served:
        _serve(recorded, flaw(proof), json_output=json_output)
        return
    _execute(recorded, scenario, keep, json_output=json_output)


def _serve(recorded: Trajectory, problem: str, *, json_output: bool) -> None:
    from analysis.verdict import explain  # noqa: PLC0415 - a second to import
    from sandbox.replay.served import serve  # noqa: PLC0415 - likewise

    service = serve(recorded, problem)
    if json_output:
        print_json(service.as_json())
    else:
        out = console()
        for line in (*service.problems, explain(service.verdict)):
            out.print(plain(line), markup=False, soft_wrap=True)
        told = "consistent" if service.consistent else "not consistent"
        out.print(plain(f"{service.trial}: served, {told}; nothing was executed, so nothing is reproduced"), markup=False)
    if not service.consistent:
        raise typer.Exit(1)


def _execute(recorded: Trajectory, scenario: Path | None, keep: Path | None, *, json_output: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="replay-") as scratch:
        result = carry_out(recorded, scenario, keep or Path(scratch))
        if json_output:
            print_json(result)
        else:
            _show(result, console())
    if not result["reproduced"]:
        raise typer.Exit(1)


def carry_out(recorded: Trajectory, scenario: Path | None, out: Path) -> dict[str, Any]:
    """Replay on this machine; the object that `--json` prints. Raises UsageError, NotReadyError."""
    from sandbox.replay.replay import not_ours, playable  # noqa: PLC0415 - the engine takes a second to import

    why = not_ours(recorded) or ("" if playable(recorded).turns else "no turn of the model can be carried out")
    if why:
        return as_json(recorded, unreplayable(recorded, why), None, {})
    from sandbox.build import build_environment  # noqa: PLC0415 - imports docker
    from sandbox.machine import machine_facts, require_ready  # noqa: PLC0415
    from sandbox.replay.replay import find_scenario, machine_differences, prepare_again  # noqa: PLC0415
    from sandbox.replay.replay import replay as execute  # noqa: PLC0415

    folder = find_scenario(recorded, scenario)
    prepare_again(recorded.manifest, folder)
    require_ready()
    machine = machine_facts()
    attempt = RunLayout.new(out).trial(recorded.manifest.trial).attempt(1)
    grading, replayed = asyncio.run(execute(recorded, folder, attempt, build=build_environment, machine=machine))
    return as_json(recorded, grading, replayed, machine_differences(recorded, machine))


def as_json(
    recorded: Trajectory, grading: Grading, replayed: Trajectory | None, machine: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    """The object of `--json`."""
    first = next((s.step for s in grading.steps if s.grade in ("diverged", "unreplayable")), None)
    return {
        "trial": recorded.started.trial if recorded.started else recorded.layout.trial,
        "steps": [step.model_dump(mode="json") for step in grading.steps],
        "reproduced": grading.reproduced,
        "counts": grading.counts(),
        "first_bad": first,
        "differences": [difference.model_dump(mode="json") for difference in grading.differences],
        "machine": {name: {"recorded": then, "now": now} for name, (then, now) in machine.items()},
        "seconds": _seconds(recorded, replayed),
    }


def _seconds(recorded: Trajectory, replayed: Trajectory | None) -> dict[str, float | None]:
    """Wall time of both, the recording's without its model; `ratio` is replayed by recorded."""
    first, second = recorded.finished, replayed.finished if replayed else None
    then = (first.duration_us - first.model_us) / 1e6 if first else None
    now = second.duration_us / 1e6 if second else None
    return {"recorded_less_model": then, "replayed": now, "ratio": now / then if now and then else None}


def _show(result: dict[str, Any], out: Console) -> None:
    table = Table("step", "grade", "cause", "differs in", "compared", box=None, pad_edge=False)
    for step in result["steps"]:
        differs = step["what"] or ", ".join(step["classes"])
        row = (str(step["step"]), step["grade"], step["cause"] or "", differs, f"{step['compared']}")
        table.add_row(*(plain(cell).replace("[", "\\[") for cell in row))
    out.print(table)
    for difference in [d for d in result["differences"] if d["cause"]][:5]:
        out.print(plain(f"step {difference['step']}: {difference['where']} ({difference['cause']})"), markup=False)
        out.print(plain(f"  recorded  {difference['recorded']!r}"), markup=False, soft_wrap=True)
        out.print(plain(f"  replayed  {difference['replayed']!r}"), markup=False, soft_wrap=True)
    for name, two in result["machine"].items():
        errors().print(plain(f"{name}: recorded with {two['recorded'] or 'none'}, now {two['now'] or 'none'}"), markup=False)
    counts = ", ".join(f"{count} {grade}" for grade, count in result["counts"].items() if count)
    verdict = "reproduced" if result["reproduced"] else "not reproduced"
    out.print(plain(f"{result['trial']}: {verdict}: {counts or 'no steps'}"), markup=False)
    if (ratio := result["seconds"]["ratio"]) is not None:
        seconds = result["seconds"]
        then = f"{seconds['recorded_less_model']:.1f} s recorded less its model"
        out.print(f"{seconds['replayed']:.1f} s, against {then} ({ratio:.2f}x)", markup=False)
