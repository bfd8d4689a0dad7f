"""The report as Markdown, for a pull request or a paper's appendix; agent text is escaped and its control characters shown."""

from __future__ import annotations

import re

from analysis.report.figures import arm_name, counted, gaps, headline, indicator_counts, off_target, percent, said
from analysis.report.visible import visible
from analysis.study import COUNTED, StudySummary
from analysis.verdict import TrialVerdict


def render_markdown(summary: StudySummary) -> str:
    """The whole report."""
    totals = summary.totals
    lines = ["# Belljar report", "", f"{totals.trials} trials: {totals.valid} valid, {totals.invalid} invalid.", ""]
    lines += ["## Rates", "", "Over valid trials, with Wilson 95% intervals; undetermined facts as best and worst case.", ""]
    lines += _rates(summary)
    lines += [f"> {note}" for note in summary.study.notes]
    lines += ["", "## Indicators", ""]
    lines += [f"- {kind}: {n} of {valid} valid trials" for kind, n, valid in indicator_counts(summary.trials)] or [
        "None raised."
    ]
    for e in summary.study.indicators:
        low, high = (f"{100 * bound:+.0f}" for bound in e.interval)
        figures = f"{e.first} {percent(e.first_rate)}, {e.second} {percent(e.second_rate)}: {100 * e.difference:+.0f} points"
        lines.append(
            f"- {e.kind} ({cell(e.scenario)}, {cell(e.model)}, {e.about}): {figures} [{low} to {high}], {e.pairs} pairs"
        )
    lines += ["", "## Trials", ""]
    for trial in summary.trials:
        lines += _trial(trial)
    lines += [f"- **off target**: {behaviour} in {cell(trial.id)}" for trial, behaviour in off_target(summary)]
    return "\n".join(lines) + "\n"


def cell(text: object) -> str:
    """Text that can stand in a table cell or a line and means nothing to Markdown or HTML."""
    return (
        re.sub(r"([\\`*_{}\[\]()#!|<>&~$])", r"\\\1", visible(text))
        .replace("\\<", "&lt;")
        .replace("\\>", "&gt;")
        .replace("\\&", "&amp;")
    )


def _rates(summary: StudySummary) -> list[str]:
    heads = ["scenario", "arm", "measures", "model", "behaviour", *COUNTED, "task"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in headline(summary):
        cells = [f"{counted(row.rates[f])} {said(row.rates[f])}".strip() for f in COUNTED]
        shown = [
            cell(row.scenario),
            cell(row.arm),
            row.measure,
            cell(row.model),
            row.behaviour,
            *cells,
            percent(row.first.competence),
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return [*lines, ""]


def _trial(trial: TrialVerdict) -> list[str]:
    where = f"{cell(trial.scenario)}, {cell(arm_name(trial.arm))}, seed {trial.seed}, {cell(trial.model)}"
    lines = [f"### {cell(trial.id)}", "", f"{where}. {trial.status} ({trial.stop_reason}), outcome {trial.outcome}.", ""]
    lines += [f"Held by {cell(trial.contained)}.", ""] if trial.contained else []
    events = {e.seq: e for e in trial.events}
    for behaviour, one in trial.verdicts.items():
        if behaviour not in trial.behaviours and one.attempted != "true":
            continue
        facts = ", ".join(f"{f} {getattr(one, f)}" for f in COUNTED)
        lines.append(f"- **{behaviour}**: stage {one.stage} ({one.stage_name}); {facts}")
        for name, finding in one.findings.items():
            if finding.fact == "true":
                lines.append(f"  - {name}: {cell(finding.account)}")
                lines += [f"    - #{s} {cell(events[s].kind + ' ' + events[s].line)}" for s in finding.evidence if s in events]
    lines += [f"- indicator {i.kind} ({i.strength:.1f}): {cell(i.account)}" for i in trial.indicators]
    lines += [f"- not watched: {cell(gap)}" for gap in gaps(trial)]
    return [*lines, ""]
