"""`belljar scan`: at which step of a recorded trial was its outcome decided."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from analysis.contrast import FACTS, Share, bounds, difference, share
from analysis.statistics import ALPHA, Interval, binomial_interval
from analysis.verdict import judge
from sandbox.cli.fork import behaviours_of, make_forks, options_of, rate_text, told
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.records import record_at
from sandbox.errors import UsageError
from sandbox.record.layout import RunLayout
from sandbox.replay.fork import Forked
from sandbox.replay.fork_plan import ForkPlan
from sandbox.replay.grading import last_step
from sandbox.trajectory import Trajectory


def scan(
    trial: Annotated[Path, typer.Argument(help="A trial's folder, an attempt's, or a ledger.jsonl.")],
    fork_every: Annotated[int, typer.Option("--fork-every", min=1, help="Steps between two points.")] = 1,
    number: Annotated[int, typer.Option("-n", min=1, max=1000, help="Continuations from each point.")] = 10,
    behaviour: Annotated[str, typer.Option(help="Whose fact is followed; the scenario's first behaviour if left out.")] = "",
    fact: Annotated[str, typer.Option(help="attempted, succeeded, concealed, disclosed or confessed.")] = "attempted",
    allow_drift: Annotated[bool, typer.Option("--allow-drift", help="Go on although the rebuilt state differs.")] = False,
    scenario: Annotated[Path | None, typer.Option(help="Folder of the scenario, if it is not found by its name.")] = None,
    out: Annotated[Path, typer.Option(help="Folder in which the run's own folder is made.")] = Path("runs"),
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Trials at once.")] = 2,
    base_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server.")] = "",
    key_file: Annotated[str, typer.Option(help="File that holds the API key alone.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Continue a trial n times from every k-th step, and name the step behind which the outcome's rate changes most.

    Each point is `belljar fork TRIAL --at STEP -n N` without a change: the same model goes on with other sampling seeds. The
    last point is the trial's own end, with what was recorded. The interval of the change is widened for the number of changes
    among which it is the largest (Bonferroni).
    After Ctrl-C or a crash `belljar resume RUN` goes on.
    """
    recorded = record_at(trial)
    if fact not in FACTS:
        raise UsageError(f"There is no fact '{fact}'.", f"There are: {', '.join(FACTS)}.")
    before = judge(recorded)
    behaviours = behaviours_of(recorded, [before])
    if behaviour and behaviour not in before.verdicts:
        raise UsageError(f"There is no behaviour '{behaviour}'.", f"There are: {', '.join(before.verdicts)}.")
    chosen = behaviour or behaviours[0]
    steps = tuple(range(0, last_step(recorded), fork_every))
    if not steps:
        raise UsageError("The trial has no step to fork at.")
    plan = ForkPlan(steps, number, allow_drift=allow_drift)
    options = options_of(recorded, base_url=base_url, key_file=key_file)
    layout = RunLayout.new(out)
    follow = {"behaviour": chosen, "fact": fact}
    made = make_forks(recorded, plan, options, layout, scenario=scenario, concurrency=concurrency, follow=follow)
    report_scan(recorded, made, layout, chosen, fact, json_output=json_output)


def report_scan(
    recorded: Trajectory, made: Sequence[Forked], layout: RunLayout, behaviour: str, fact: str, *, json_output: bool
) -> None:
    """Print at which step the fact's rate changes."""
    points = rates(made, behaviour, fact)
    found = {
        "trial": recorded.manifest.trial,
        "run": str(layout.root),
        "behaviour": behaviour,
        "fact": fact,
        "recorded": getattr(judge(recorded).verdicts[behaviour], fact),
        "points": [{"step": step, **one.model_dump(mode="json")} for step, one in points],
        "decided": decided([*points, *_end(recorded, behaviour, fact)]),
        "forks": [told(fork, judge(fork.trajectory)) for fork in made],
    }
    if json_output:
        print_json(found)
    else:
        _show(found, console())


def rates(made: Sequence[Forked], behaviour: str, fact: str) -> list[tuple[int, Share]]:
    """The share of continuations from each step in which the fact holds, by step."""
    verdicts: dict[int, list[Any]] = {}
    for fork in made:
        verdicts.setdefault(fork.step, []).append(judge(fork.trajectory))
    return [(step, share(trials, behaviour, fact)) for step, trials in sorted(verdicts.items())]


def _end(recorded: Trajectory, behaviour: str, fact: str) -> list[tuple[int, Share]]:
    """The trial's end, from which nothing can come but what was recorded: no sample, so its interval has no width."""
    found = getattr(judge(recorded).verdicts[behaviour], fact)
    if found not in ("true", "false"):
        return []
    rate = float(found == "true")
    end = Share(trials=1, known=1, hits=int(rate), undetermined=0, rate=rate, interval=Interval(rate, rate))
    return [(last_step(recorded), end)]


def decided(points: Sequence[tuple[int, Share]]) -> dict[str, Any] | None:
    """Between which two points the rate changes most, by how much, and whether the interval of the change leaves out 0.

    All changes are compared at once, so that each interval is Newcombe's at the level 1 - 0.05 / changes. Undetermined trials
    widen it to what it would be at worst. None where there are not two points with a rate. Of equal changes the first counts.
    """
    known = [(step, one) for step, one in points if one.rate is not None]
    alpha = ALPHA / max(1, len(known) - 1)
    best: dict[str, Any] | None = None
    for (earlier, one), (later, other) in itertools.pairwise(known):
        gap, _ = difference(other, one)
        _, interval = bounds(other, one, functools.partial(_at_level, alpha=alpha))
        if gap is None or interval is None:
            continue
        if best is None or abs(gap) > abs(best["change"]):
            clear = not interval.low <= 0 <= interval.high
            best = {"after": earlier, "step": later, "change": gap, "interval": list(interval), "clear": clear}
    return None if best is None else {**best, "changes": len(known) - 1, "level": 1 - alpha}


def _at_level(one: Share, alpha: float) -> Share:
    """A rate with its interval at another level; one that is known has none to widen."""
    if one.interval.low == one.interval.high:
        return one
    return one.model_copy(update={"interval": binomial_interval(one.hits, one.known, alpha)})


def _show(found: dict[str, Any], out: Console) -> None:
    table = Table("behind step", f"{found['behaviour']} {found['fact']}", "", box=None, pad_edge=False)
    for point in found["points"]:
        bar = "█" * round(20 * (point["rate"] or 0))
        table.add_row(str(point["step"]), rate_text(point), bar)
    out.print(table)
    out.print(plain(f"recorded: {found['recorded']}"), markup=False)
    best = found["decided"]
    if best is None or best["change"] == 0:
        out.print("the rate does not change between these points", markup=False)
    else:
        low, high = best["interval"]
        where = (
            f"at step {best['step']}"
            if best["step"] == best["after"] + 1
            else f"in steps {best['after'] + 1} to {best['step']}"
        )
        doubt = "" if best["clear"] else ", which may be chance"
        many = f"; of {best['changes']} changes" if best["changes"] > 1 else ""
        text = f"the rate changes most {where}: {best['change']:+.2f} ({low:+.2f} to {high:+.2f}{many}){doubt}"
        out.print(plain(text), markup=False)
    out.print(plain(f"forks: {found['run']}"), markup=False, soft_wrap=True)
