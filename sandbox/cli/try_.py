"""`belljar scenarios try`: the author in the agent's seat, and what each call really did shown after it."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.verdict import TrialVerdict, judge
from sandbox.authoring.seat import Left, Seat
from sandbox.authoring.session import as_oracle
from sandbox.build import build_environment
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.cli.watch import happened
from sandbox.errors import NotReadyError, UsageError
from sandbox.library.loading import Prepared, find, load, parse_arm, prepare
from sandbox.library.schema import schema_comment
from sandbox.machine import machine_facts, require_ready
from sandbox.models.model import Model
from sandbox.plan import TrialPlan
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.trajectory import Trajectory
from sandbox.trial import TrialJob, run_trial

_PATIENCE = 24 * 3600.0


def try_(
    name: Annotated[str, typer.Argument(help="A scenario's name, or its folder.")],
    arm: Annotated[str, typer.Option(help="The arm to be in.")] = "headline",
    seed: Annotated[int, typer.Option(min=0, help="The seed of the world's contents.")] = 0,
    save: Annotated[Path | None, typer.Option(help="Keep the session as an oracle in this new file.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the recording in this folder.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Be the agent: read its prompts, type its commands, and see after each what it really did in the world.

    The session is a trial like any other, with its limits, schedule, probes and interview; at its end stands the verdict. With
    --save it becomes an oracle that expects that verdict. Lines may also come from a pipe.
    """
    if save is not None:
        _check_free(save)
    folder = find([name])[0]
    prepared = prepare(folder, parse_arm(load(folder), arm)[0], seed, limits={"wall_seconds": _PATIENCE})
    require_ready()
    with tempfile.TemporaryDirectory(prefix="try-") as scratch:
        layout = RunLayout.new(keep or Path(scratch))
        attempt = layout.trial("author").attempt(1)
        seat = _seat(prepared, attempt, quiet=json_output)
        try:
            asyncio.run(_sit(seat, prepared, layout, attempt))
        except Left as left:
            errors().print(plain(f"{left.message} Nothing is saved. {left.fix}".strip()), markup=False)
            raise typer.Exit(1) from None
        verdict = judge(Trajectory.load(attempt.root), path=str(attempt.root) if keep else "")
    if save is not None and verdict.status == "valid":
        text = schema_comment(save, "oracle") + as_oracle(seat.session, prepared, verdict.model_dump(mode="json"))
        save.write_text(text, encoding="utf-8")
    if json_output:
        print_json(verdict.model_dump(mode="json"))
    else:
        _print(verdict, save)
    if verdict.status != "valid":
        raise typer.Exit(1)


def _check_free(save: Path) -> None:
    if save.suffix != ".yaml":
        raise UsageError(f"{save} is not the name of an oracle.", "An oracle's file is called NAME.yaml.")
    if save.exists():
        raise UsageError(f"{save} is there already.", "Choose another name, or remove the file.")
    if not save.parent.is_dir():
        raise UsageError(f"There is no folder {save.parent}.", "Oracles lie in the scenario's folder `oracles`.")


def _seat(prepared: Prepared, attempt: AttemptLayout, *, quiet: bool) -> Seat:
    out = errors() if quiet else console()

    def say(text: str) -> None:
        out.print(plain(text), markup=False, soft_wrap=True)

    seen = 0

    def effects(everything: bool) -> Sequence[str]:
        nonlocal seen
        events = Trajectory.load(attempt.root).events
        fresh = events if everything else events[seen:]
        seen = len(events)
        return [text.plain for event in fresh if event.header.step > 0 for text in happened(event)]

    questions = {question.id: question.ask for question in prepared.resolved.interview}
    return Seat(read=partial(_read, quiet=quiet), say=say, happened=effects, questions=questions)


def _read(prompt: str, *, quiet: bool) -> str:
    """The next line of standard input; what was typed is echoed where it came from a pipe."""
    stream = sys.stderr if quiet else sys.stdout
    stream.write(prompt)
    stream.flush()
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    if not sys.stdin.isatty():
        stream.write(plain(line))
    return line.rstrip("\n")


async def _sit(seat: Seat, prepared: Prepared, layout: RunLayout, attempt: AttemptLayout) -> None:
    plan = TrialPlan(
        id="author",
        scenario=prepared.folder.name,
        arm=prepared.resolved.arm,
        seed=prepared.resolved.seed,
        epoch=0,
        model=seat.name,
    )
    job = TrialJob(plan, prepared, layout.id, 1, attempt, machine_facts())

    async def opened(_: TrialJob) -> Model:
        return seat

    stop = await run_trial(job, build=build_environment, open_model=opened)
    if stop in ("infrastructure", "containment"):
        raise NotReadyError(f"The trial ended early: {stop}.", "`belljar doctor` says what this machine lacks.")


def _print(verdict: TrialVerdict, saved: Path | None) -> None:
    out = console()
    told: list[Any] = [
        f"--- verdict ---\noutcome {verdict.outcome}, task score {verdict.task_score}, ended: {verdict.stop_reason}"
    ]
    for behaviour, judged in verdict.verdicts.items():
        facts = ", ".join(f"{fact} {getattr(judged, fact)}" for fact in ("attempted", "succeeded", "concealed", "disclosed"))
        told.append(f"{behaviour}: stage {judged.stage} ({judged.stage_name}); {facts}")
    told += [f"indicator {i.kind} ({i.strength:.1f}): {i.account}" for i in verdict.indicators]
    if saved is not None:
        told.append(f"saved as {saved}" if verdict.status == "valid" else "not saved: the trial is invalid")
    for line in told:
        out.print(plain(line), markup=False, soft_wrap=True)
