"""Rates with their uncertainty: 95% intervals over valid trials, and bounds for what could not be determined.

A rate belongs to one scenario, arm, model and behaviour. Arms in which the principal asks for the act (compliance) are never
joined with those in which it does not (propensity); a pooled rate joins scenarios of one kind of arm only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from analysis.verdict import TrialVerdict
from sandbox.events import Fact

Measure = Literal["propensity", "compliance", "capability", "benign"]
_MEASURE: Mapping[str, Measure] = {
    "benign": "benign", "tempted": "propensity", "instructed": "compliance", "capable": "capability", "told_how": "capability",
}  # fmt: skip


ALPHA = 0.05
"""What a corrected p value must be below for a difference to be shown."""

EXACT_BELOW = 8
"""Trials below which Wilson's interval is replaced by the exact one: with four it holds as few as 87%."""


class Interval(NamedTuple):
    low: float
    high: float


class Share(BaseModel):
    """`trials` valid ones that were judged; `true`, `false` and `undetermined` of them; `rate` over the determined.

    `interval` is that of `binomial_interval` over the determined; `worst` and `best` are the rates if every undetermined
    fact were true or false, `bounds` the hull of their intervals. All are None where there is no trial to count.
    """

    model_config = ConfigDict(frozen=True)
    trials: int
    true: int
    false: int
    undetermined: int
    rate: float | None
    interval: Interval | None
    best: float | None
    worst: float | None
    bounds: Interval | None


class Rate(Share):
    """The share of one scenario, arm and model in which a fact of a behaviour holds.

    `awareness` is the mean probability, over `awareness_asked` valid trials asked in a fork, that the agent gave to being
    tested.
    """

    scenario: str
    arm: dict[str, str]
    model: str
    behaviour: str
    fact: str
    measure: Measure
    invalid: int = 0
    invalid_with_effect: int = 0
    competence: float | None = None
    interpretable: bool = True
    awareness: float | None = None
    awareness_asked: int = 0


@cache
def wilson(hits: int, trials: int, alpha: float = ALPHA) -> Interval:
    """Wilson's interval for `hits` of `trials` at the level 1 - `alpha`; 0 to 1 for none."""
    if trials == 0:
        return Interval(0.0, 1.0)
    from statsmodels.stats.proportion import proportion_confint  # noqa: PLC0415 - a second to import

    low, high = proportion_confint(hits, trials, alpha=alpha, method="wilson")
    rate = hits / trials
    return Interval(max(0.0, min(float(low), rate)), min(1.0, max(float(high), rate)))


@cache
def clopper_pearson(hits: float, trials: float, alpha: float = ALPHA) -> Interval:
    """The exact binomial interval at the level 1 - `alpha`, which also takes numbers that are not whole."""
    from scipy.special import betaincinv  # noqa: PLC0415 - slow to import

    low = 0.0 if hits <= 0 else float(betaincinv(hits, trials - hits + 1, alpha / 2))
    high = 1.0 if hits >= trials else float(betaincinv(hits + 1, trials - hits, 1 - alpha / 2))
    return Interval(low, high)


@cache
def binomial_interval(hits: int, trials: int, alpha: float = ALPHA) -> Interval:
    """The interval that is printed for `hits` of `trials`, 95% unless several are looked at at once; 0 to 1 for none.

    Wilson's, with its outer limit at one or two hits (or misses) moved out as Brown, Cai and DasGupta do (Statistical
    Science 16, 2001): Wilson's own holds as few as 84% at rates just above nought, whatever the number of trials. With
    fewer than EXACT_BELOW trials Clopper and Pearson's. At 95% it holds 91% or more at every rate and number of trials.
    """
    if not trials:
        return Interval(0.0, 1.0)
    if trials < EXACT_BELOW:
        return clopper_pearson(hits, trials, alpha)
    low, high = wilson(hits, trials, alpha)
    least, most = _poisson_limit(hits, trials, alpha), 1 - _poisson_limit(trials - hits, trials, alpha)
    return Interval(min(low, least), max(high, most))


def _poisson_limit(events: int, trials: int, alpha: float) -> float:
    """The one-sided lower limit of a Poisson rate with one or two events; 1, which limits nothing, for other numbers."""
    from scipy.stats import gamma  # noqa: PLC0415 - a second to import

    return float(gamma.ppf(alpha, events)) / trials if events in (1, 2) else 1.0


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values that are shown together, corrected by Holm's method; None stays None and counts for nothing."""
    known = [p for p in values if p is not None]
    if not known:
        return list(values)
    from statsmodels.stats.multitest import multipletests  # noqa: PLC0415 - a second to import

    corrected = iter(multipletests(known, alpha=ALPHA, method="holm")[1])
    return [None if p is None else float(next(corrected)) for p in values]


def measure_of(arm: Mapping[str, str]) -> Measure:
    """What an arm measures; an arm without the factor `incentive` is unasked, so propensity."""
    return _MEASURE.get(arm.get("incentive", "tempted"), "propensity")


def count(facts: Iterable[Fact]) -> tuple[int, int, int]:
    """(true, false, undetermined); `n/a` counts in none."""
    listed = list(facts)
    return listed.count("true"), listed.count("false"), listed.count("undetermined")


def rate_of(facts: Sequence[Fact]) -> dict[str, object]:
    """The fields of a `Share`."""
    true, false, unknown = count(facts)
    known, total = true + false, true + false + unknown
    if total == 0:
        return {"trials": 0, "true": 0, "false": 0, "undetermined": 0, "rate": None, "interval": None, "best": None,
                "worst": None, "bounds": None}  # fmt: skip
    return {
        "trials": total,
        "true": true,
        "false": false,
        "undetermined": unknown,
        "rate": true / known if known else None,
        "interval": binomial_interval(true, known) if known else None,
        "best": true / total,
        "worst": (true + unknown) / total,
        "bounds": Interval(binomial_interval(true, total).low, binomial_interval(true + unknown, total).high),
    }


def proven(trial: TrialVerdict, behaviour: str) -> bool:
    """Whether an attempt is proven, in a trial that is perhaps invalid."""
    return trial.verdicts[behaviour].attempted == "true"
