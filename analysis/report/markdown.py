"""The report as Markdown, for a pull request or a paper's appendix; agent text is escaped and its control characters shown."""

from __future__ import annotations

import re

from analysis.indicators.study import StudyIndicator
from analysis.report.figures import (
    arm_name,
    aware,
    counted,
    doubt,
    further,
    gaps,
    headline,
    in_all,
    levels,
    mixed_versions,
    off_target,
    paired,
    percent,
    points,
    quality_line,
    raised,
    said,
    suspected,
    unraised,
    where,
)
from analysis.report.visible import visible
from analysis.study import COUNTED, INDICATOR, StudySummary
from analysis.verdict import TrialVerdict


def render_markdown(summary: StudySummary) -> str:
    """The whole report."""
    totals = summary.totals
    lines = ["# Belljar report", "", f"{totals.trials} trials: {totals.valid} valid, {totals.invalid} invalid.", ""]
    lines += [
        "## Rates",
        "",
        "Over valid trials, with 95% intervals (Wilson's, exact below 8 trials); undetermined facts as best and worst case.",
        "",
    ]
    lines += _rates(summary)
    lines += _detectors(summary)
    lines += _pooled(summary)
    lines += [f"> {note}" for note in summary.study.notes]
    lines += _factors(summary)
    lines += _curves(summary)
    lines += ["", "## Indicators", ""]
    lines += _indicators(summary)
    for e in summary.study.indicators:
        first, second = levels(e)
        rates = f"{e.first} {first}, {e.second} {second}"
        place = f"{cell(e.scenario)}, {cell(arm_name(e.arm))}, {cell(e.model)}, {e.about}"
        lines.append(f"- {e.kind} ({place}): {rates}: {points(e)}, {paired(e)} pairs{_tested(e)}")
    lines += _further(summary)
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
    heads = ["scenario", "arm", "measures", "model", "behaviour", *COUNTED, "task", "thought it a test"]
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
            aware(row.first),
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return [*lines, ""]


def _pooled(summary: StudySummary) -> list[str]:
    if not summary.study.pooled:
        return []
    lines = [f"- {p.behaviour} attempted ({p.measure}), {cell(p.model)}: {counted(p.rate)} {said(p.rate)}, "
             f"{p.scenarios} scenarios"
             for p in summary.study.pooled]  # fmt: skip
    return ["Over scenarios, with intervals that count scenarios:", "", *lines, ""]


def _detectors(summary: StudySummary) -> list[str]:
    """How often the detector behind each rate was right where the truth is known."""
    about = dict.fromkeys(row.behaviour for row in headline(summary))
    told = [f"- {b}.{f}: {quality_line(b, f)}" for b in about for f in COUNTED]
    return ["How often the detectors were right where the truth is known:", "", *told, ""] if told else []


def _curves(summary: StudySummary) -> list[str]:
    """How far trials got, and when: a line for each cell and milestone that some trial reached, or may have."""
    mixed = mixed_versions(summary.trials)
    rows = [
        [cell(where(c, mixed)), cell(arm_name(c.arm)), cell(c.model), c.behaviour, m.milestone.replace("_", " "),
         counted(m), said(m), "-" if m.median_step is None else f"{m.median_step:g}"]
        for c in summary.study.curves for m in c.milestones if m.told
    ]  # fmt: skip
    if not rows:
        return []
    heads = ["scenario", "arm", "model", "behaviour", "milestone", "reached", "", "median step"]
    table = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *("| " + " | ".join(row) + " |" for row in rows)]
    left_out = "Milestones that no trial of a cell reached, nor may have reached, are left out."
    return ["", "## How far, and when", "", left_out, "", *table]


def _indicators(summary: StudySummary) -> list[str]:
    """A line for each kind with its detector's quality, then its rates by scenario, arm and model."""
    kinds, left = raised(summary.study), unraised(summary.study)
    lines = [f"- {kind}: {in_all(kind, summary.study)}; detector: {quality_line(INDICATOR, kind)}" for kind in kinds]
    if kinds:
        lines += ["", "Valid trials that raised one, each scenario, arm and model apart, scenarios without any left out:",
                  "", "| indicator | scenario | arm | model | raised | |", "|" + " --- |" * 6]  # fmt: skip
    lines += [f"| {kind} | {cell(r.scenario)} | {cell(arm_name(r.arm))} | {cell(r.model)} | {counted(r)} | {said(r)} |"
              for kind, rates in kinds.items() for r in rates]  # fmt: skip
    return [*(lines or ["None raised."]), "", *([left, ""] if left else [])]


def _further(summary: StudySummary) -> list[str]:
    lines = [
        f"- {f.name} ({cell(f.scenario)}, {cell(f.arm)}, {cell(f.model)}): {f.counted}; {f.said}"
        for f in further(summary.study)
    ]
    return ["", "## Further figures", "", *lines] if lines else []


def _factors(summary: StudySummary) -> list[str]:
    """What each factor changes: pairs that differ in it alone."""
    if not summary.study.comparisons:
        return []
    heads = ["factor", "scenario", "other factors", "measures", "model", "behaviour", "attempted", "difference", "pairs", "p",
             "p (Holm)", ""]  # fmt: skip
    lines = ["", "## Factors", "", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    mixed = mixed_versions(summary.trials)
    for c in summary.study.comparisons:
        tested = [f"{p:.3g}" if p is not None else "-" for p in (c.p, c.adjusted)]
        what = cell(f"{c.factor}: {c.first} less {c.second}")
        shown = [what, cell(where(c, mixed)), cell(arm_name(c.arm)), c.measure, cell(c.model), c.behaviour,
                 ", ".join(levels(c)), points(c), paired(c), *tested, doubt(c)]  # fmt: skip
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _tested(estimate: StudyIndicator) -> str:
    p = f", p {estimate.adjusted:.3g} (Holm)" if estimate.adjusted is not None else ""
    return p + (f"; {doubt(estimate)}" if doubt(estimate) else "")


def _trial(trial: TrialVerdict) -> list[str]:
    where = f"{cell(trial.scenario)}, {cell(arm_name(trial.arm))}, seed {trial.seed}, {cell(trial.model)}"
    lines = [f"### {cell(trial.id)}", "", f"{where}. {trial.status} ({trial.stop_reason}), outcome {trial.outcome}.", ""]
    lines += [f"Failed: {cell(trial.failure)}", ""] if trial.failure else []
    lines += [f"Held by {cell(trial.contained)}.", ""] if trial.contained else []
    lines += [f"The monitor's suspicion, never evidence: {suspected(trial)}.", ""] if trial.suspicion is not None else []
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
    lines += [f"- override by {cell(o.labeller)} ({cell(o.at)}): {o.subject} {o.machine} is {o.fact}: {cell(o.reason)}"
              for o in trial.overrides]  # fmt: skip
    lines += [f"- judge {cell(j.judge)}: {', '.join(f'{s} {o.fact}' for s, o in j.opinions.items())}" for j in trial.judgements]
    lines += [f"- indicator {i.kind} ({i.strength:.1f}): {cell(i.account)}" for i in trial.indicators]
    lines += [f"- not watched: {cell(gap)}" for gap in gaps(trial)]
    return [*lines, ""]
