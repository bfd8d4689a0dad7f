"""`belljar report`: the terminal table and the HTML file of a run; and how a run is judged."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated

import typer

from analysis.judging.judgement import read_judgements
from analysis.labels import read_labels
from analysis.report import print_summary, render_html, render_markdown
from analysis.sigma import BUILT_IN, Rule, load_rules
from analysis.study import StudySummary, summarise
from analysis.suspicion import judged
from analysis.verdict import TrialVerdict, with_opinions
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.errors import InfrastructureError
from sandbox.plan import read_plan
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.record.verify import VerifyReport, read_once, verify
from sandbox.trajectory import Trajectory, attempts_at


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


def judge_all(path: Path, folders: Sequence[Path] = ()) -> list[TrialVerdict]:
    """The verdict of every trial at `path`, each record read once for both: what it says, and whether it holds.

    Many trials are judged on all processors. `folders` hold further Sigma rules; they can be read. Raises UsageError as
    `attempts_at` does, InfrastructureError where a process was killed.
    """
    places = list(attempts_at(path))
    judge_at = functools.partial(_judge_at, tuple(folders))
    workers = min(len(os.sched_getaffinity(0)), len(places) // _A_WORKERS_SHARE)
    if workers < 2:
        return list(map(judge_at, places))
    context = multiprocessing.get_context("forkserver")
    try:
        with ProcessPoolExecutor(workers, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
            return list(pool.map(judge_at, places, chunksize=8))
    except BrokenProcessPool as error:
        raise InfrastructureError("A process that judged trials was killed.", "Is memory short? Try it again.") from error


_A_WORKERS_SHARE = 100
"""Trials for which it is worth to start a process."""


def _judge_at(folders: tuple[Path, ...], place: tuple[AttemptLayout, bool]) -> TrialVerdict:
    trajectory, proof = read_once(place[0], alone=place[1])
    return judge_whole(trajectory, _rules(folders), proof=proof)


@functools.cache
def _rules(folders: tuple[Path, ...]) -> tuple[Rule, ...]:
    return load_rules(BUILT_IN, *folders)


def beside(run: Path, verdicts: Sequence[TrialVerdict]) -> list[TrialVerdict]:
    """The verdicts with what people and judges said of the run's trials beside them."""
    (labels, torn), (judgements, broken) = read_labels(run), read_judgements(run)
    for line in (*torn, *broken):
        errors().print(plain(f"warning: {line.file} line {line.line}: {line.why}"), markup=False, soft_wrap=True)
    return [with_opinions(verdict, labels, judgements) for verdict in verdicts] if labels or judgements else list(verdicts)


def judge_whole(
    trajectory: Trajectory, rules: Sequence[Rule] | None = None, *, proof: VerifyReport | None = None
) -> TrialVerdict:
    """The verdict of a trial; one whose record does not hold counts for nothing, and says where it breaks.

    `proof` is what `verify` says of it, where somebody has asked already.
    """
    verdict = judged(trajectory, path=str(trajectory.layout.root), rules=rules)
    found = proof or verify(trajectory.layout.ledger)
    if found.ok or found.status == "unanchored":
        return verdict
    problem = f"the record is {found.status}: {'; '.join(found.problems) or found.first_bad}"
    errors().print(plain(f"warning: {verdict.id}: {problem}"), markup=False, soft_wrap=True)
    return verdict.model_copy(update={"status": "invalid", "outcome": "undetermined", "problems": (*verdict.problems, problem)})


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
