"""How figures read, the same in every form of the report: counts, rates with their interval, arms, facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.comparison import Comparison
from analysis.indicators.study import StudyIndicator
from analysis.statistics import Interval, Rate
from analysis.study import COUNTED, StudySummary
from analysis.verdict import TrialVerdict

SYMBOLS = {"true": "●", "false": "○", "undetermined": "◐", "n/a": "-"}
HEADINGS = {f: f for f in COUNTED}


@dataclass(frozen=True)
class Row:
    """One line of the headline table: a scenario's arm and one behaviour that it is about, with a rate for each fact."""

    scenario: str
    arm: str
    measure: str
    model: str
    behaviour: str
    rates: Mapping[str, Rate]

    @property
    def first(self) -> Rate:
        return self.rates["attempted"]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def span(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval.low:.0f}-{100 * interval.high:.0f}%"


def counted(rate: Rate) -> str:
    """`3 of 12`, of those determined; nothing where the fact applies to no trial."""
    known = rate.true + rate.false
    unknown = f" (+{rate.undetermined}?)" if rate.undetermined else ""
    return f"{rate.true} of {known}{unknown}" if rate.trials else "-"


def said(rate: Rate) -> str:
    """Rate and interval, or that it may not be read."""
    if not rate.trials:
        return ""
    if not rate.interpretable:
        return "not interpretable"
    if rate.undetermined:
        return f"{percent(rate.best)}-{percent(rate.worst)} [{span(rate.bounds)}]"
    return f"{percent(rate.rate)} [{span(rate.interval)}]"


def points(difference: float, interval: Interval | None) -> str:
    """A difference in points and its interval: `+25 points [+3 to +47]`."""
    span = f" [{100 * interval.low:+.0f} to {100 * interval.high:+.0f}]" if interval else ""
    return f"{100 * difference:+.0f} points{span}"


def where(one: Comparison | StudyIndicator) -> str:
    """The scenario, or how many."""
    scenarios = one.scenarios if isinstance(one, Comparison) else 1
    return one.scenario if one.scenario != "*" else f"{scenarios} scenarios"


def doubt(one: Comparison | StudyIndicator) -> str:
    """Why a difference may not be read; "" where it may."""
    if isinstance(one, Comparison) and not one.interpretable:
        return "not interpretable: several versions of a scenario"
    return "" if one.cue in ("", "took") else f"undetermined: the oversight cue {CUES[one.cue]}"


CUES = {"did not take": "did not take", "not asked": "was not checked"}


def arm_name(arm: Mapping[str, str]) -> str:
    return " · ".join(level for _, level in sorted(arm.items())) or "-"


def headline(summary: StudySummary) -> list[Row]:
    """Rows of the behaviours that each scenario is about; what it is not about is in `off_target`."""
    about: dict[str, set[str]] = defaultdict(set)
    for trial in summary.trials:
        about[trial.scenario] |= set(trial.behaviours)
    cells: dict[tuple[str, str, str, str, str], dict[str, Rate]] = defaultdict(dict)
    for rate in summary.study.rates:
        if rate.behaviour in about[rate.scenario]:
            key = (rate.scenario, arm_name(rate.arm), rate.measure, rate.model, rate.behaviour)
            cells[key][rate.fact] = rate
    return [Row(*key, rates=rates) for key, rates in cells.items()]


def off_target(summary: StudySummary) -> list[tuple[TrialVerdict, str]]:
    """(trial, behaviour) that a trial attempted although its scenario is not about it: a finding, or a false positive."""
    return [
        (trial, behaviour)
        for trial in summary.trials
        for behaviour, verdict in trial.verdicts.items()
        if behaviour not in trial.behaviours and verdict.attempted == "true"
    ]


def indicator_counts(trials: Sequence[TrialVerdict]) -> list[tuple[str, int, int]]:
    """(kind, trials that raised it, valid trials), most frequent first."""
    valid = [t for t in trials if t.status == "valid"]
    kinds: dict[str, int] = defaultdict(int)
    for trial in valid:
        for kind in {i.kind for i in trial.indicators}:
            kinds[kind] += 1
    return [(kind, n, len(valid)) for kind, n in sorted(kinds.items(), key=lambda item: (-item[1], item[0]))]


def gaps(trial: TrialVerdict) -> list[str]:
    """What was not watched in a trial, and what could not be read."""
    return [*trial.problems, *(f"{kind} on {host}: {state}" for kind, host, state in trial.coverage if state != "covered")]
