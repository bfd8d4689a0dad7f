"""`belljar label`: a person says what a trial was, blind to arm, model and verdict; and overrides of verdicts, with name
and reason.

Answers are read a line at a time, from a terminal or a pipe, and each is written down at once.
"""

from __future__ import annotations

import hashlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.blind import blind, setting, shortened
from analysis.labels import Agreement, Label, agreements, read_labels
from analysis.verdict import FACTS, judge
from sandbox.cli.opinions import keep, no_trial, run_at, trials_of
from sandbox.cli.output import JsonFlag, errors, plain, print_json
from sandbox.cli.records import record_at
from sandbox.errors import UsageError
from sandbox.events import Fact
from sandbox.record.layout import RunLayout, is_safe_name
from sandbox.scenario import BEHAVIOURS, MILESTONES, Behaviour
from sandbox.trajectory import Trajectory

_ANSWERS: dict[str, Fact] = {"y": "true", "n": "false", "u": "undetermined", "-": "n/a"}
_HELP = (
    "Answer with y and the numbers of the events that show it (y 12 15), n, u (cannot be told) or - (does not apply); "
    "e shows the events again, s leaves this trial, q ends."
)
SHOWN = 1_200
"""Characters shown of one event."""


def label(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    labeller: Annotated[str, typer.Option(help="Your name, under which the labels are kept.")] = "",
    trial: Annotated[list[str] | None, typer.Option(help="Only these trials, by id; repeatable.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Ask of all four behaviours, not only the scenario's own.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also ask what you have answered before.")] = False,
    override: Annotated[
        str, typer.Option(help="Override a verdict: TRIAL:BEHAVIOUR.FACT=true|false|undetermined. Needs --reason.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why the verdict is overridden.")] = "",
    evidence: Annotated[str, typer.Option(help="Events that an override cites, as in 12,15.")] = "",
    agreement: Annotated[bool, typer.Option("--agreement", help="Only show how far the labellers agree.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Say what happened in recorded trials, without being told arm, model or verdict.

    Trials come in an order of your own and without their names; prompts are not shown, since they tell the arms apart.
    Labels lie in the run's `labels/`, never in a trial. Two people's labels are compared (Cohen's kappa), and `belljar
    evaluate-detectors RUN` measures the detectors by those that they agree on. An override is kept beside the machine's
    verdict, which stays.

    Examples:

      belljar label runs/20260101-120000-0a1b2c3d --labeller ana

      belljar label runs/20260101-120000-0a1b2c3d --labeller ana --override 0003-x:sabotage.concealed=false --reason
      "rotation"
    """
    layout = run_at(run)
    given: list[Label] = []
    if not agreement:
        _check_name(labeller)
        book = Book(layout, labeller)
        given = (
            [_override(book, override, reason, evidence)] if override else Session(book, set(trial or ()), every, again).run()
        )
    labels, unread = read_labels(layout.root)
    found = agreements(labels)
    for line in unread:
        errors().print(plain(f"warning: {line.file} line {line.line} is no label: {line.why}"), markup=False, soft_wrap=True)
    if json_output:
        print_json({"run": str(run), "labels": [one.model_dump(mode="json") for one in given],
                    "agreement": [one.model_dump(mode="json") for one in found]})  # fmt: skip
        return
    for text in [*([] if agreement else [f"{len(given)} labels written"]), *_told(found)]:
        print(plain(text))


@dataclass(frozen=True)
class Book:
    """One person's labels of one run; every label is appended as soon as it is given."""

    layout: RunLayout
    labeller: str

    def write(self, trajectory: Trajectory, subject: str, fact: Fact, cited: Sequence[int], **more: Any) -> Label:
        """Append one label. Raises NotReadyError where it cannot be written."""
        entry = Label(
            trial=trajectory.manifest.trial,
            head=trajectory.events[-1].hash,
            labeller=self.labeller,
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            subject=subject,
            fact=fact,
            evidence=tuple(cited),
            **more,
        )
        keep(self.layout.labels / f"{self.labeller}.jsonl", entry, "label")
        return entry

    def known(self) -> set[tuple[str, str, str]]:
        """(trial, head, subject) of what this person has answered before."""
        labels, _ = read_labels(self.layout.root)
        return {(one.trial, one.head, one.subject) for one in labels if one.labeller == self.labeller and one.kind == "label"}


class Quit(Exception):  # noqa: N818 - an answer, not an error
    """The person ended the session."""


class NextTrial(Exception):  # noqa: N818 - likewise
    """The person leaves this trial."""


@dataclass(frozen=True)
class Session:
    """Questions about one trial after the other, to one person. Questions go to standard error, answers come from standard
    input."""

    book: Book
    wanted: set[str]
    every: bool
    again: bool

    def run(self) -> list[Label]:
        """All labels that were given. Raises UsageError for a trial that is not there."""
        chosen = self._chosen()
        known = set() if self.again else self.book.known()
        given: list[Label] = []
        for number, trajectory in enumerate(chosen, 1):
            key = (trajectory.manifest.trial, trajectory.events[-1].hash)
            subjects = [s for s in self._subjects(trajectory) if (*key, s) not in known]
            if not subjects:
                continue
            _say(f"\n=== trial {number} of {len(chosen)} ===")
            _show(trajectory)
            _say(_HELP)
            try:
                for subject in subjects:
                    fact, cited = _ask(subject, trajectory)
                    given.append(self.book.write(trajectory, subject, fact, cited))
            except NextTrial:
                continue
            except Quit:
                break
        return given

    def _chosen(self) -> list[Trajectory]:
        """In an order that depends on the person and tells nothing of arms."""
        chosen = trials_of(self.book.layout, self.wanted)
        order = sorted(chosen, key=lambda name: hashlib.sha256(f"{self.book.labeller}\n{name}".encode()).digest())
        return [chosen[name] for name in order]

    def _subjects(self, trajectory: Trajectory) -> Iterator[str]:
        about = setting(trajectory)["behaviours"]
        for behaviour in BEHAVIOURS if self.every or not about else about:
            yield from (f"{behaviour}.{name}" for name in (*MILESTONES[behaviour], *FACTS))


def _show(trajectory: Trajectory) -> None:
    about = setting(trajectory)
    _say(about["question"])
    for asset in about["assets"]:
        _say(f"  asset {asset['id']} ({asset['role']}) {asset['path']} on {asset['host']}")
    for allowed in about["allowed"]:
        _say(f"  allowed: {allowed['action']} {allowed['asset']}, granted by {allowed['grantor']}")
    for event in blind(trajectory):
        text = shortened(event.text, SHOWN).replace("\n", "\n      ")
        _say(f"  #{event.seq} step {event.step} {event.kind} {event.host}\n      {text}")


def _ask(subject: str, trajectory: Trajectory) -> tuple[Fact, tuple[int, ...]]:
    """One answer; asks again until it can be read. Raises Quit at the end of the input."""
    there = {event.seq for event in trajectory.events}
    while True:
        _say(f"{subject.replace('_', ' ')}? ", end="")
        line = sys.stdin.readline()
        word, *rest = line.strip().lower().replace(",", " ").split() or ["?"]
        if not line or word == "q":
            raise Quit
        if word == "s":
            raise NextTrial
        if word == "e":
            _show(trajectory)
            continue
        cited = [int(part.lstrip("#")) for part in rest if re.fullmatch(r"#?[0-9]{1,9}", part)]
        if word not in _ANSWERS or len(cited) != len(rest):
            _say(_HELP)
        elif _ANSWERS[word] == "true" and not cited:
            _say("What is true must cite at least one event, as in: y 12")
        elif set(cited) - there:
            _say(f"There is no event {sorted(set(cited) - there)[0]}.")
        else:
            return _ANSWERS[word], tuple(dict.fromkeys(cited))


def _override(book: Book, text: str, reason: str, evidence: str) -> Label:
    """Write an override beside the verdict that the machine gives now. Raises UsageError for what cannot be read."""
    parsed = re.fullmatch(r"(.+):([a-z-]+)\.([a-z_]+)=(true|false|undetermined)", text)
    fix = "Write TRIAL:sabotage.attempted=false, and say why with --reason."
    if parsed is None:
        raise UsageError(f"{text!r} is no override.", fix)
    trial, behaviour, name, fact = parsed.groups()
    if behaviour not in BEHAVIOURS or name not in (*FACTS, *MILESTONES[_behaviour(behaviour)]):
        raise UsageError(f"There is no verdict {behaviour}.{name}.", fix)
    if not reason.strip():
        raise UsageError("An override needs its reason.", fix)
    attempt = book.layout.trial(trial).latest()
    if attempt is None:
        raise no_trial(trial)
    trajectory = record_at(attempt.root)
    cited = [int(part) for part in re.findall(r"[0-9]{1,9}", evidence)]
    unknown = sorted(set(cited) - {event.seq for event in trajectory.events})
    if unknown:
        raise UsageError(f"There is no event {unknown[0]} in {trial}.", "Cite events by their number.")
    if fact == "true" and not cited:
        raise UsageError("What is true must cite at least one event.", "Add --evidence, as in --evidence 12,15.")
    machine = judge(trajectory).verdicts[behaviour].findings[name].fact
    return book.write(trajectory, f"{behaviour}.{name}", fact, cited, kind="override", reason=reason.strip(), machine=machine)  # type: ignore[arg-type]


def _behaviour(name: str) -> Behaviour:
    return next(b for b in BEHAVIOURS if b == name)


def _check_name(labeller: str) -> None:
    if not labeller or not is_safe_name(labeller) or len(labeller) > 100:
        raise UsageError(
            f"{labeller[:100]!r} cannot name a labeller.", "Give --labeller NAME: letters, digits and . _ @ = + , - only."
        )


def _told(found: Sequence[Agreement]) -> Iterator[str]:
    for one in found:
        kappa = "not defined (only one answer was given)" if one.kappa is None else f"{one.kappa:.2f}"
        yield f"{one.first} and {one.second}: {one.agreed} of {one.subjects} alike, Cohen's kappa {kappa} (no interval)"
        yield from (f"  apart on {subject} in {trial}: {a}, {b}" for trial, subject, a, b in one.disagreements)


def _say(text: str, end: str = "\n") -> None:
    """For the person: standard output belongs to the results."""
    print(plain(text), end=end, file=sys.stderr, flush=True)
