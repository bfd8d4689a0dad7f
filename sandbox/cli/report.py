"""`belljar report`: the terminal table and the HTML file of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis.judging.judgement import read_judgements
from analysis.labels import read_labels
from analysis.report import print_summary, render_html, render_markdown
from analysis.study import StudySummary, summarise
from analysis.verdict import TrialVerdict, with_opinions
from sandbox.cli.judging import judge_all
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.plan import read_plan
from sandbox.record.layout import RunLayout


def report(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    json_output: JsonFlag = False,
) -> None:
    """Judge a recorded run, print its report, and write report.html and report.md into its folder."""
    layout = RunLayout(run)
    read_plan(layout.study)
    summary = judge_run(layout)
    write_reports(summary, layout, quiet=json_output)
    if json_output:
        print_json(summary.model_dump(mode="json"))


def judge_run(layout: RunLayout) -> StudySummary:
    """The verdicts of the last attempt of every trial of a run, and their rates."""
    return summarise(beside(layout.root, judge_all(layout.root)), run=str(layout.root))


def beside(run: Path, verdicts: Sequence[TrialVerdict]) -> list[TrialVerdict]:
    """The verdicts with what people and judges said of the run's trials beside them."""
    (labels, torn), (judgements, broken) = read_labels(run), read_judgements(run)
    for line in (*torn, *broken):
        errors().print(plain(f"warning: {line.file} line {line.line}: {line.why}"), markup=False, soft_wrap=True)
    return [with_opinions(verdict, labels, judgements) for verdict in verdicts] if labels or judgements else list(verdicts)


def keep_verdicts(summary: StudySummary, layout: RunLayout) -> Path:
    """Keep an analysis under the digest of what it says: the same again is one file, another stands beside it."""
    text = summary.model_dump_json(indent=1) + "\n"
    place = layout.verdicts / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    layout.verdicts.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.write_text(text, encoding="utf-8")
    return place


def write_reports(summary: StudySummary, layout: RunLayout, *, quiet: bool) -> None:
    """Write the files, verdicts beside earlier ones; print the table unless standard output belongs to JSON."""
    keep_verdicts(summary, layout)
    layout.report_html.write_text(render_html(summary), encoding="utf-8")
    layout.report_md.write_text(render_markdown(summary), encoding="utf-8")
    if quiet:
        errors().print(f"report: {layout.report_html}", markup=False)
        return
    print_summary(summary, console())
    console().print(f"report: {layout.report_html.resolve()}", markup=False, soft_wrap=True)
