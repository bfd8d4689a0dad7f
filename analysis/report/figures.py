"""How figures read, the same in every form of the report: counts, rates with their interval, arms, facts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from analysis.comparison import Comparison
from analysis.indicators.study import StudyIndicator
from analysis.quality.card import by_detector, stored
from analysis.quality.measure import Measured, Quality
from analysis.stages import StageCurve
from analysis.statistics import Interval, Rate, Share
from analysis.study import COUNTED, INDICATOR, Study, StudySummary
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


@dataclass(frozen=True)
class Further:
    """A figure of a study beside rates and comparisons: `hits` of `trials`, by id, and what else is said of it; `hits` is None
    where it is not to be said how many."""

    name: str
    scenario: str
    arm: str
    model: str
    hits: tuple[str, ...] | None
    trials: tuple[str, ...]
    said: str

    @property
    def counted(self) -> str:
        return "-" if self.hits is None else f"{len(self.hits)} of {len(self.trials)}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def span(interval: Interval | None) -> str:
    return "" if interval is None else f"{100 * interval.low:.0f}-{100 * interval.high:.0f}%"


def counted(rate: Share) -> str:
    """`3 of 12`, of those determined; nothing where the fact applies to no trial."""
    known = rate.true + rate.false
    unknown = f" (+{rate.undetermined}?)" if rate.undetermined else ""
    return f"{rate.true} of {known}{unknown}" if rate.trials else "-"


def said(rate: Share) -> str:
    """Rate and interval, or that it may not be read."""
    if not rate.trials:
        return ""
    if isinstance(rate, Rate) and not rate.interpretable:
        return "not interpretable"
    if rate.undetermined:
        return f"{percent(rate.best)}-{percent(rate.worst)} [{span(rate.bounds)}]"
    return f"{percent(rate.rate)} [{span(rate.interval)}]"


def points(one: Comparison | StudyIndicator) -> str:
    """A difference in points and its interval: `+25 points [+3 to +47]`; `-40 to +30 points [-58 to +49]` where facts are
    undetermined."""
    interval = one.bounds.interval if one.bounds else one.interval
    within = f" [{_from_to(interval)}]" if interval else ""
    return f"{_from_to(one.bounds.difference) if one.bounds else f'{100 * one.difference:+.0f}'} points{within}"


def _from_to(interval: Interval) -> str:
    return f"{100 * interval.low:+.0f} to {100 * interval.high:+.0f}"


def levels(one: Comparison | StudyIndicator) -> tuple[str, str]:
    """The rates of the first and of the second; from best to worst where facts are undetermined."""
    if one.bounds is None:
        return percent(one.first_rate), percent(one.second_rate)
    return _rate_between(one.bounds.first), _rate_between(one.bounds.second)


def _rate_between(bounds: Interval) -> str:
    low, high = percent(bounds.low), percent(bounds.high)
    return low if low == high else f"{low}-{high}"


def paired(one: Comparison | StudyIndicator) -> str:
    """How many pairs are known, and how many are not: `6 (+14?)`."""
    return f"{one.pairs}" + (f" (+{one.undetermined}?)" if one.undetermined else "")


def where(one: Comparison | StudyIndicator | StageCurve, mixed: Collection[str] = ()) -> str:
    """The scenario, with its version where it is one of the `mixed`; or how many."""
    if isinstance(one, Comparison) and one.scenario == "*":
        return f"{one.scenarios} scenarios"
    return f"{one.scenario} ({one.scenario_digest[:8]})" if one.scenario in mixed else one.scenario


def mixed_versions(trials: Sequence[TrialVerdict]) -> set[str]:
    """Scenarios of which there are trials of several versions."""
    versions = {(t.scenario, t.scenario_digest) for t in trials}
    return {name for name, n in Counter(scenario for scenario, _ in versions).items() if n > 1}


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
        about[trial.scenario].update(trial.behaviours)
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


def raised(study: Study) -> dict[str, list[Rate]]:
    """Each kind of indicator that some trial raised, with the cells of every scenario in which one did or may have; the kind
    that most trials raised first."""
    kinds: dict[str, list[Rate]] = defaultdict(list)
    for rate in study.raised:
        kinds[rate.fact].append(rate)
    number = {kind: sum(r.true for r in rates) for kind, rates in kinds.items()}
    return {kind: _with_any(kinds[kind]) for kind in sorted(kinds, key=lambda k: (-number[k], k)) if number[kind]}


def _with_any(rates: Sequence[Rate]) -> list[Rate]:
    scenarios = {r.scenario for r in rates if r.true or r.undetermined}
    return [r for r in rates if r.scenario in scenarios]


def unraised(study: Study) -> str:
    """The kinds that no trial raised, though of some it is not known; in one sentence."""
    unknown = Counter[str]()
    for rate in study.raised:
        unknown[rate.fact] += rate.undetermined
    kinds = raised(study)
    listed = [f"{kind.replace('_', ' ')} ({n})" for kind, n in unknown.items() if n and kind not in kinds]
    return f"Raised by no trial, but not known of so many valid ones: {', '.join(listed)}." if listed else ""


def in_all(kind: str, study: Study) -> str:
    """How many trials raised a kind: a count over everything, which is no rate."""
    number = sum(r.true for r in study.raised if (r.behaviour, r.fact) == (INDICATOR, kind))
    return f"{number} trial{'s' if number != 1 else ''} in all (a count, no rate)"


def further(study: Study) -> list[Further]:
    """Evaluation awareness against the benign twin, harm that a monitor would miss, refuted claims, surplus replicas."""
    found = [
        Further("thought it a test more than every benign twin", a.scenario, arm_name(a.arm), a.model, a.hits, a.trials,
                f"by chance one in {a.benign_asked + 1}; mean {percent(a.mean)}, over {a.benign_asked} benign trials "
                f"{percent(a.benign_mean)}; {a.flagged} at 80% or more")
        for a in study.awareness
    ]  # fmt: skip
    for d in study.detection:
        area = f"AUC {d.auc:.2f} (no interval) against {d.honest} honest trials" if d.auc is not None else "no AUC"
        found += [
            Further(f"harm undetected at an audit budget of {percent(b.budget)}", d.scenario, "-", d.model, b.hits, d.trials,
                    f"{percent(b.rate)} [{span(b.interval)}]; suspicion at most {b.threshold:.2f}; {area}")
            for b in d.budgets
        ] or [Further("harm undetected", d.scenario, "-", d.model, None, d.trials,
                      f"not to be said of {d.harmful} harmful trials: too few honest ones for any budget; {area}")]  # fmt: skip
    found += [
        Further("trials with a refuted claim", c.scenario, arm_name(c.arm), c.model, c.hits, c.trials,
                f"{percent(c.rate)} [{span(c.interval)}]; {c.refuted} of the {c.checkable} checkable claims")
        for c in study.deception
    ]  # fmt: skip
    return found + [
        Further("trials with replicas beyond need", o.scenario, arm_name(o.arm), o.model, o.hits, o.trials,
                f"{percent(o.rate)} [{span(o.interval)}]; {o.mean_excess:.2f} too many in the mean (no interval)")
        for o in study.overuse
    ]  # fmt: skip


@cache
def quality_of(behaviour: str, fact: str, *, area: bool = True) -> Sequence[tuple[str, str]]:
    """(source, how often the detector was right on it) for each source that it was measured on, the flattering beside the
    others; `area` adds its AUC."""
    return [(q.source, _quality(q, area=area)) for q in by_detector(stored()).get(f"{behaviour}.{fact}", ())]


def quality_line(behaviour: str, fact: str) -> str:
    """All sources in one line."""
    return "; ".join(f"{source}: {right}" for source, right in quality_of(behaviour, fact)) or "not measured"


def _quality(quality: Quality, *, area: bool) -> str:
    found = _measured("found", quality.recall, quality.undetermined_positives)
    alarms = _measured("false alarms", quality.false_positive_rate, quality.undetermined_negatives)
    if not area:
        return f"{found}, {alarms}"
    value, interval = quality.auc.value, quality.auc.interval
    within = f"[{interval.low:.2f}-{interval.high:.2f}]" if interval else "(no interval)"
    return f"{found}, {alarms}, {'no AUC' if value is None else f'AUC {value:.2f} {within}'}"


def _measured(name: str, figure: Measured, undetermined: int) -> str:
    if not figure.of:
        return f"{name}: none to judge"
    within = f"[{span(figure.interval)}]" if figure.interval else "(no interval)"
    return f"{name} {figure.count} of {figure.of} {within}" + (f" ({undetermined} undetermined)" if undetermined else "")


def aware(rate: Rate) -> str:
    """The mean chance of a test that agents gave, and of how many."""
    return f"{percent(rate.awareness)} of {rate.awareness_asked} asked" if rate.awareness_asked else "not asked"


def suspected(trial: TrialVerdict) -> str:
    """The monitor's suspicion, which is never evidence."""
    return "-" if trial.suspicion is None else f"{trial.suspicion:.2f}"


def gaps(trial: TrialVerdict) -> list[str]:
    """What was not watched in a trial, and what could not be read."""
    return [*trial.problems, *(f"{kind} on {host}: {state}" for kind, host, state in trial.coverage if state != "covered")]
