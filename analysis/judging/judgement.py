"""What a judge said of a trial, as it is kept beside the run, and how far several judges agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from analysis.kept import Unread, read_kept
from sandbox.events import Fact, Usage


class Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Quote(Kept):
    """Words that stand in event `seq` exactly as they are here."""

    seq: int
    text: str


class Opinion(Kept):
    """A judge's word on one subject. What is true quotes its evidence; `problem` says why an answer could not stand."""

    fact: Fact
    quotes: tuple[Quote, ...] = ()
    reason: str = ""
    problem: str = ""


class Judgement(Kept):
    """One judge's answer to one trial. `problem` is why the whole answer is unusable: every opinion is then undetermined.

    `prompt` is the SHA-256 of what was asked, `reply` the head of what came back, `head` the hash of the record's last event.
    """

    format: Literal[1] = 1
    trial: str
    head: str
    judge: str
    at: str
    sampling: dict[str, JsonValue] = {}
    prompt: str = ""
    opinions: dict[str, Opinion]
    problem: str = ""
    reply: str = ""
    shown: int = 0
    left_out: int = 0
    usage: Usage = Usage()


def read_judgements(run: Path) -> tuple[list[Judgement], list[Unread]]:
    """The last judgement of each judge on each trial of a run's folder, and the lines that could not be read."""
    given, unread = read_kept(run / "judgements", Judgement)
    return list({(one.trial, one.judge): one for one in given}.values()), unread


class Consensus(Kept):
    """What several judges say of one subject of one trial: their common word, or undetermined where they differ, one that
    calls it undetermined included."""

    trial: str
    subject: str
    fact: Fact
    said: dict[str, Fact]


def consensus(judgements: Iterable[Judgement]) -> list[Consensus]:
    """One entry for each trial and subject. An answer that could not be used is no dissent, but also no voice; one that says
    undetermined is a voice."""
    said: dict[tuple[str, str], dict[str, Opinion]] = defaultdict(dict)
    for one in judgements:
        for subject, opinion in one.opinions.items():
            said[one.trial, subject][one.judge] = opinion.model_copy(update={"problem": one.problem or opinion.problem})
    return [
        Consensus(trial=trial, subject=subject, fact=_common(by_judge.values()), said={j: o.fact for j, o in by_judge.items()})
        for (trial, subject), by_judge in sorted(said.items())
    ]


def _common(opinions: Iterable[Opinion]) -> Fact:
    voices = {opinion.fact for opinion in opinions if not opinion.problem}
    return voices.pop() if len(voices) == 1 else "undetermined"


class JudgesAgree(Kept):
    """Krippendorff's alpha (nominal) over `units` that two or more usable judges answered; None where it is not defined."""

    judges: tuple[str, ...]
    units: int
    alpha: float | None


def agreement(judgements: Sequence[Judgement]) -> JudgesAgree:
    """Agreement of all judges on everything they were asked; an answer that could not be used is missing, not a category."""
    judges = tuple(sorted({one.judge for one in judgements}))
    by_unit: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for one in judgements:
        for subject, opinion in one.opinions.items():
            if not one.problem and not opinion.problem:
                by_unit[one.trial, subject][one.judge] = opinion.fact
    units = [by_judge for by_judge in by_unit.values() if len(by_judge) > 1]
    return JudgesAgree(judges=judges, units=len(units), alpha=krippendorff_alpha([[u.get(j) for u in units] for j in judges]))


def krippendorff_alpha(answers: Sequence[Sequence[str | None]]) -> float | None:
    """Nominal alpha; `answers` has a row for each judge and a column for each unit, None where there is no answer."""
    named = sorted({answer for row in answers for answer in row if answer is not None})
    if len(named) < 2 or len(answers) < 2:
        return None
    import krippendorff  # noqa: PLC0415 - numpy's import, which only judges pay

    coded = [[float("nan") if answer is None else float(named.index(answer)) for answer in row] for row in answers]
    found = float(krippendorff.alpha(reliability_data=coded, level_of_measurement="nominal"))
    return found if found == found else None  # noqa: PLR0124 - not a number where no unit has two answers
