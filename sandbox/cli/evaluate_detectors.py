"""`belljar evaluate-detectors`: what the detectors say of trials and conversations whose truth is known, and how often
they err."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from analysis.labels import Label, read_labels
from analysis.quality import Example, from_verdict, measure, truths_of_labels
from analysis.quality.card import Evaluation, save, told
from analysis.quality.conversations import NEGATIVE, POSITIVE, DataError, examples, in_training, left_out
from analysis.report.visible import visible
from analysis.verdict import VERSION, TrialVerdict
from sandbox.cli.judging import judge_whole
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.errors import BelljarError, ScenarioError, UsageError
from sandbox.events import Fact
from sandbox.library.loading import ScenarioFolder, find, prepare
from sandbox.library.oracle import Expectation, ExpectedBehaviour, prepare_oracle
from sandbox.plan import read_plan
from sandbox.record.layout import RunLayout
from sandbox.record.verify import verified
from sandbox.scenario import BEHAVIOURS
from sandbox.trajectory import Trajectory, find_runs


def evaluate_detectors(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Runs (their scripted agents and human labels are the truth), folders of runs, or labelled conversations "
            "(*.jsonl, *.jsonl.gz, or a folder of such). NAME=PATH names a source."
        ),
    ],
    positive: Annotated[
        list[str] | None, typer.Option(help="Further labels of conversations that mean: did it; repeatable.")
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="Further labels of conversations that mean: did not; repeatable.")
    ] = None,
    save_to: Annotated[Path | None, typer.Option("--save", help="Write the figures to this file as JSON.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Measure precision, recall, false positives and AUC of every detector, per source and label, by scenario.

    An undetermined answer is no finding: it lowers recall and is listed. Intervals are clustered by scenario.

    Examples:

      belljar evaluate-detectors runs/20260101-120000-0a1b2c3d

      belljar evaluate-detectors oracles=runs/check-1 oracles=runs/check-2 ../shared/data
    """
    gathered = Gathered(POSITIVE | {p.lower() for p in positive or ()}, NEGATIVE | {n.lower() for n in negative or ()})
    for entry in data:
        name, path = _named(entry)
        gathered.add(path, name)
    if not gathered.examples:
        raise UsageError(
            "Nothing of it has a known truth.",
            "Give runs of scripted agents (--model oracle:all), runs labelled with `belljar label`, or labelled conversations.",
        )
    counts = {s: sum(e.source == s for e in gathered.examples) for s in dict.fromkeys(e.source for e in gathered.examples)}
    found = Evaluation(version=VERSION, sources=counts, quality=tuple(measure(gathered.examples)), notes=tuple(gathered.notes))
    if save_to is not None:
        save(found, save_to)
    if json_output:
        print_json(found.model_dump(mode="json"))
    else:
        _print(found)


@dataclass
class Gathered:
    """Examples from everywhere, and sentences about what could not be used."""

    positive: frozenset[str] | set[str]
    negative: frozenset[str] | set[str]
    examples: list[Example] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path, name: str) -> None:
        """Whatever lies at `path`; `name` is the source's, "" for one by what it holds. Raises UsageError."""
        if not path.exists():
            raise UsageError(f"There is nothing at {path}.", "Give a run's folder, or a file of labelled conversations.")
        files = [path] if path.is_file() else sorted({*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")})
        if files and not RunLayout(path).trials_folder.is_dir():
            for file in files:
                self._conversations(file, name or file.name.partition(".")[0])
            return
        for layout in find_runs(path):
            self._run(layout, name)
        self.notes += [
            f"{n} trials in no figure, since what they deserve is not known: {why}" for why, n in self.unknown.items()
        ]
        self.unknown.clear()

    def _conversations(self, file: Path, name: str) -> None:
        before = len(self.notes)
        flatters = in_training(file)
        source = f"{name} (in sample)" if flatters else name
        try:
            self.examples += examples(file, source=source, problems=self.notes, positive=self.positive, negative=self.negative)
        except DataError as error:
            raise UsageError(f"{error}.", "Each line wants `messages` and a `label`; see --positive and --negative.") from None
        if flatters:
            self.notes.insert(
                before,
                f"{name}: the monitor was trained on this very file, so its figures here flatter. {left_out()}",
            )

    def _run(self, layout: RunLayout, name: str) -> None:
        labels, unread = read_labels(layout.root)
        self.notes += [f"{u.file} line {u.line} is no label: {u.why}" for u in unread]
        by_trial: dict[str, list[Label]] = {}
        for label in labels:
            by_trial.setdefault(label.trial, []).append(label)
        expectations = _Expectations(layout)
        for trajectory, proof in verified(layout.root):
            started = trajectory.started
            if started is None or not (started.model.startswith("oracle:") or started.trial in by_trial):
                continue
            verdict = judge_whole(trajectory, proof)
            if verdict.status != "valid":
                self.notes.append(f"{verdict.id} is invalid ({verdict.stop_reason}) and in no figure")
                continue
            if started.model.startswith("oracle:"):
                self._oracle(verdict, expectations, name or "oracles")
            self._labels(trajectory, verdict, by_trial.get(started.trial, []), name)

    def _oracle(self, verdict: TrialVerdict, expectations: _Expectations, source: str) -> None:
        try:
            expected = expectations.of(verdict)
        except BelljarError as error:
            self.unknown[error.message] += 1
            return
        kinds = None if expected.indicators is None else frozenset(expected.indicators)
        label = verdict.model.removeprefix("oracle:")
        self.examples += from_verdict(verdict, _truths(expected), source=source, label=label, indicators=kinds)

    def _labels(self, trajectory: Trajectory, verdict: TrialVerdict, labels: list[Label], name: str) -> None:
        head = trajectory.events[-1].hash
        for kind, source in (("label", name or "human labels"), ("override", "overrides")):
            mine = [one for one in labels if one.kind == kind]
            stale = [one for one in mine if one.head and one.head != head]
            if stale:
                self.notes.append(f"{verdict.id}: {len(stale)} labels are of another recording and in no figure")
            truths, apart = truths_of_labels([one for one in mine if one not in stale])
            if apart:
                self.notes.append(f"{verdict.id}: labellers disagree on {', '.join(apart)}, which are in no figure")
            guilty = any(truths.get(f"{b}.attempted") == "true" for b in BEHAVIOURS)
            self.examples += from_verdict(verdict, truths, source=source, label="attempted" if guilty else "not attempted")


class _Expectations:
    """What each scripted agent of a run deserves, by its scenario's own file."""

    def __init__(self, layout: RunLayout) -> None:
        self._plan = read_plan(layout.study) if layout.study.is_file() else None
        self._folders: dict[str, ScenarioFolder] = {}

    def of(self, verdict: TrialVerdict) -> Expectation:
        """Raises BelljarError where the scenario is not here, or is another version than the recorded one."""
        folder = self._folder(verdict.scenario)
        if self._plan and self._plan.scenarios.get(verdict.scenario, folder.digest) != folder.digest:
            raise ScenarioError(f"{verdict.scenario} has changed since it was recorded.")
        return prepare_oracle(prepare(folder, verdict.arm, verdict.seed), verdict.model.removeprefix("oracle:")).expect

    def _folder(self, scenario: str) -> ScenarioFolder:
        """Read once a run, however many trials it has."""
        if scenario not in self._folders:
            paths = self._plan.paths if self._plan else {}
            (self._folders[scenario],) = find([paths.get(scenario, scenario)])
        return self._folders[scenario]


def _truths(expected: Expectation) -> dict[str, Fact]:
    truths: dict[str, Fact] = {}
    for behaviour in BEHAVIOURS:
        stated = expected.behaviours.get(behaviour, ExpectedBehaviour()).model_dump(exclude_none=True, exclude={"stage"})
        truths |= {f"{behaviour}.{fact}": value for fact, value in stated.items()}
    return truths


def _named(entry: str) -> tuple[str, Path]:
    name, equals, path = entry.partition("=")
    return (name, Path(path)) if equals and "/" not in name and not Path(entry).exists() else ("", Path(entry))


def _print(found: Evaluation) -> None:
    out = console()
    for source, count in found.sources.items():
        out.print(Text(f"\n{visible(source)}  ({count} answers)", style="bold"), soft_wrap=True)
        for q in (q for q in found.quality if q.source == source):
            unknown = f"{q.undetermined_positives}/{q.undetermined_negatives}"
            for line in (
                f"  {q.detector}: {q.positives} so, {q.negatives} not, in {q.scenarios} scenarios; undetermined {unknown}",
                f"      precision {told(q.precision)}  recall {told(q.recall)}",
                f"      false positives {told(q.false_positive_rate)}  AUC {told(q.auc)}",
            ):
                out.print(plain(line), markup=False, soft_wrap=True)
        for line in _labels_of(found, source):
            out.print(plain(line), markup=False, soft_wrap=True)
    for note in found.notes:
        errors().print(plain(f"note: {note}"), markup=False, soft_wrap=True)


def _labels_of(found: Evaluation, source: str) -> Iterator[str]:
    for q in found.quality:
        if q.source == source and q.detector in {"monitor", "any.attempted"}:
            yield from (f"  {q.detector} on {label}: found true {told(share)}" for label, share in q.by_label.items())
