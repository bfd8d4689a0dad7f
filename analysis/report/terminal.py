"""The report on a terminal: rates, trials worth a look, invalid ones and sensor gaps, in rich tables."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.report.figures import (
    SYMBOLS,
    arm_name,
    aware,
    counted,
    further,
    gaps,
    headline,
    in_all,
    mixed_versions,
    off_target,
    percent,
    points,
    quality_line,
    quality_of,
    raised,
    said,
    suspected,
    unraised,
    where,
)
from analysis.report.visible import visible
from analysis.study import COUNTED, INDICATOR, StudySummary
from analysis.verdict import TrialVerdict

_STYLES = {"true": "bold red", "false": "green", "undetermined": "yellow", "n/a": "dim"}


def print_summary(summary: StudySummary, console: Console, *, trials: bool = True) -> None:
    """Print a study. `trials` adds a line for each trial."""
    totals = summary.totals
    console.print(f"{totals.trials} trials, {totals.valid} valid, {totals.invalid} invalid", highlight=False)
    _print_rates(summary, console)
    _print_pooled(summary, console)
    _print_factors(summary, console)
    _print_further(summary, console)
    if trials and summary.trials:
        console.print(_trials(summary))
    _print_off_target(summary, console)
    _print_indicators(summary, console)
    _print_invalid(summary, console)
    _print_gaps(summary, console)
    for note in summary.study.notes:
        console.print(Text(note, style="dim"))


def _print_rates(summary: StudySummary, console: Console) -> None:
    """A heading for each scenario and arm, and below it a line for each model."""
    console.print(Text("Rates over valid trials, with 95% intervals: Wilson's, exact below 8 trials", style="italic"))
    by_cell = groupby(headline(summary), lambda row: (row.scenario, row.arm, row.measure, row.behaviour))
    for (scenario, arm, measure, behaviour), rows in by_cell:
        console.print()
        console.print(Text(visible(f"{scenario}  {arm}  ({measure} of {behaviour})"), style="bold"))
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        table.add_column("model", overflow="fold")
        for heading in (*COUNTED, "task", "thought it a test"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            cells = [Text(f"{counted(row.rates[f])}\n{said(row.rates[f])}".strip()) for f in COUNTED]
            table.add_row(Text(visible(row.model)), *cells, percent(row.first.competence), aware(row.first))
        console.print(table)
        for source, right in quality_of(behaviour, "attempted"):
            console.print(Text(f"detector of attempted, {source}: {right}", style="dim"))


def _print_pooled(summary: StudySummary, console: Console) -> None:
    for p in summary.study.pooled:
        line = (
            f"over {p.scenarios} scenarios: {p.behaviour} attempted ({p.measure}), {p.model}: {counted(p.rate)} {said(p.rate)}"
        )
        console.print(Text(visible(line)), soft_wrap=True)


def _print_further(summary: StudySummary, console: Console) -> None:
    for f in further(summary.study):
        where_of = f"{f.scenario}, {f.arm}, {f.model}"
        console.print(Text(visible(f"{f.name} ({where_of}): {f.counted}; {f.said}")), soft_wrap=True)


def _print_factors(summary: StudySummary, console: Console) -> None:
    """Only what survives correction, and how many were looked at; the files have them all."""
    shown, mixed = [c for c in summary.study.comparisons if c.shown], mixed_versions(summary.trials)
    for c in shown:
        arm = f" ({arm_name(c.arm)}, {c.measure})" if c.arm else f" ({c.measure})"
        what = f"{c.factor}: {c.first} less {c.second}{arm}, {c.behaviour} in {where(c, mixed)}, {c.model}"
        console.print(Text(visible(f"{what}: {points(c)}"), style="bold"), soft_wrap=True)
    if summary.study.comparisons:
        console.print(Text(f"{len(shown)} of {len(summary.study.comparisons)} differences between arms are shown", style="dim"))


def _trials(summary: StudySummary) -> Table:
    table = Table(title="Trials", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    # A least width beside columns that cannot shrink makes the table wider than the console, which cuts its end off.
    for heading in ("trial", "outcome", "behaviour, stage"):
        table.add_column(heading, overflow="fold")
    table.add_column("facts", no_wrap=True)
    table.add_column("cites", overflow="fold")
    suspicion = any(trial.suspicion is not None for trial in summary.trials)
    if suspicion:
        table.add_column("susp.", justify="right", no_wrap=True)
    for trial in summary.trials:
        for behaviour in _worth_a_line(trial):
            one = trial.verdicts[behaviour]
            facts = Text(" ").join(Text(SYMBOLS[getattr(one, f)], style=_STYLES[getattr(one, f)]) for f in COUNTED)
            cites = ", ".join(str(s) for s in one.evidence[:6]) + (" …" if len(one.evidence) > 6 else "")
            outcome = trial.outcome if trial.status == "valid" else f"invalid: {trial.stop_reason}"
            stage = f"{behaviour} {one.stage} {one.stage_name}".replace("_", " ")
            more = [suspected(trial)] if suspicion else []
            table.add_row(Text(visible(trial.id)), outcome, stage, facts, cites, *more)
    table.caption = f"facts: {', '.join(COUNTED)}\n● true  ○ false  ◐ undetermined  - does not apply"
    if suspicion:
        table.caption += "\nsusp.: the offline monitor's suspicion, never evidence"
    return table


def _worth_a_line(trial: TrialVerdict) -> list[str]:
    return [b for b, v in trial.verdicts.items() if b in trial.behaviours or v.attempted == "true"] or list(trial.verdicts)[:1]


def _print_indicators(summary: StudySummary, console: Console) -> None:
    """Rates of the cells in which a kind was raised or may have been; the files have the others too."""
    for kind, rates in raised(summary.study).items():
        console.print(Text(f"indicator {kind}: {in_all(kind, summary.study)}"))
        told = [r for r in rates if r.true or r.undetermined]
        for r in told:
            line = f"  {r.scenario}, {arm_name(r.arm)}, {r.model}: {counted(r)}, {said(r)}"
            console.print(Text(visible(line)), soft_wrap=True)
        if others := len(rates) - len(told):
            console.print(Text(f"  in no valid trial of {others} other arms and models of these scenarios", style="dim"))
        console.print(Text(f"  detector: {quality_line(INDICATOR, kind)}", style="dim"))
    if left := unraised(summary.study):
        console.print(Text(left, style="dim"))


def _print_off_target(summary: StudySummary, console: Console) -> None:
    for trial, behaviour in off_target(summary):
        where = f"{trial.id} ({trial.scenario}, {arm_name(trial.arm)})"
        console.print(Text(visible(f"off target: {behaviour} attempted in {where}"), style="bold red"))


def _print_invalid(summary: StudySummary, console: Console) -> None:
    for trial in summary.trials:
        if trial.status == "invalid":
            proven = [b for b, v in trial.verdicts.items() if v.attempted == "true"]
            effect = f", effect proven: {', '.join(proven)}" if proven else ""
            why = f": {trial.failure}" if trial.failure else ""
            line = f"invalid: {trial.id} ({trial.stop_reason}){effect}{why}"
            console.print(Text(visible(line), style="yellow"), soft_wrap=True)


def _print_gaps(summary: StudySummary, console: Console) -> None:
    seen = Counter(gap for trial in summary.trials for gap in gaps(trial))
    for gap, n in seen.most_common(12):
        console.print(Text(visible(f"not watched in {n} of {len(summary.trials)} trials: {gap}"), style="dim"))
