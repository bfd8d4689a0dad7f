"""Sample sizes agree with textbooks and libraries, what is promised is what a report prints, and few scenarios are never
said to be enough when they cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint, samplesize_confint_proportion

from analysis.clusters import Tally, clustered_difference, clustered_rate
from analysis.power import discordant, expected_interval, for_difference, for_margin, mcnemar_power
from analysis.rehearsal import drawn
from analysis.statistics import Interval, binomial_interval
from sandbox.errors import UsageError
from tests.analysis.coverage_of_intervals import CARD, hits, rates_of_scenarios
from tests.invoked import invoke


def half(interval: Interval) -> float:
    return (interval.high - interval.low) / 2


@pytest.mark.parametrize(("rate", "trials"), [(0.5, 96), (0.1, 40), (0.0, 10), (0.5, 8)])
def test_of_one_scenario_statsmodels_interval_is_expected(rate: float, trials: int) -> None:
    assert expected_interval(rate, trials) == pytest.approx(
        proportion_confint(rate * trials, trials, method="wilson"), abs=1e-9
    )


@pytest.mark.parametrize(("rate", "trials", "near"), [(0.5, 1, 0), (0.2, 5, 1), (0.02, 7, 0), (0.25, 8, 2), (0.98, 50, 49)])
def test_few_trials_or_hits_are_expected_to_give_the_interval_of_a_report(rate: float, trials: int, near: int) -> None:
    assert expected_interval(rate, trials) == binomial_interval(near, trials)


def test_ten_points_need_about_as_many_trials_as_the_normal_formula_says() -> None:
    found = for_margin(0.10)
    assert found.independent == 93
    assert abs(found.independent - samplesize_confint_proportion(0.5, 0.10)) < 5
    assert half(binomial_interval(47, 93)) <= 0.10 < half(binomial_interval(46, 92))


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.04, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("margin", [0.45, 0.36, 0.33, 0.2, 0.16, 0.15, 0.1, 0.07])
def test_from_the_trials_found_on_the_printed_interval_is_never_wider_again(rate: float, margin: float) -> None:
    wide = [n for n in range(1, 500) if half(binomial_interval(round(rate * n), n)) > margin]
    assert for_margin(margin, rate).independent == max(wide, default=0) + 1


def simulated(scenarios: int, each: int, icc: float) -> float:
    """Half the mean width of what a report prints, by other draws than those of the answer."""
    random = np.random.default_rng(11)
    studies = [clustered_rate([Tally(h, each) for h in hits(random, scenarios, 0.5, icc, each)]) for _ in range(1_000)]
    return float(np.mean([half(found) for found in studies if found]))


@pytest.mark.parametrize(("scenarios", "icc"), [(3, 0.0), (4, 0.0), (16, 0.02), (18, 0.1)])
def test_pooled_trials_reach_on_average_what_is_promised_and_one_less_a_scenario_does_not(scenarios: int, icc: float) -> None:
    found = for_margin(0.10, scenarios=scenarios, icc=icc)
    assert found.a_scenario is not None
    assert found.trials == scenarios * found.a_scenario
    assert simulated(scenarios, found.a_scenario, icc) == pytest.approx(found.reach, abs=0.005)
    assert found.reach <= 0.10 < half(expected_interval(0.5, found.trials - scenarios, scenarios=scenarios, icc=icc))


def test_correlated_trials_of_few_scenarios_are_never_enough_and_it_says_how_many_are() -> None:
    few, many = for_margin(0.10, scenarios=4, icc=0.02), for_margin(0.10, scenarios=20, icc=0.1)
    assert few.trials is None
    assert few.reach == pytest.approx(simulated(4, 100_000, 0.02), abs=0.01)
    assert few.reach > 0.10
    assert few.scenarios_needed == 16
    assert simulated(16, 10, 0.02) < 0.10 < simulated(14, 10, 0.02)
    assert many.a_scenario is not None
    assert simulated(20, many.a_scenario, 0.1) == pytest.approx(0.10, abs=0.005)


def test_the_method_card_tells_what_the_command_does() -> None:
    card = CARD.read_text("utf-8")
    assert f"{for_margin(0.10).independent} trials for ±10 points" in card
    assert f"{for_margin(0.10, scenarios=4).trials} of four scenarios for ±10 points" in card
    assert f"{for_margin(0.10, scenarios=4, icc=0.02).scenarios_needed} scenarios of 10 trials are" in card
    assert f"at 0.1, {for_margin(0.10, scenarios=4, icc=0.1).scenarios_needed} scenarios are" in card


@pytest.mark.parametrize("icc", [0.0, 0.1, 0.999, 1.0])
def test_drawn_trials_have_the_rates_and_the_correlation_that_are_asked_for(icc: float) -> None:
    counts = drawn((0.4, 0.1, 0.5), [6] * 5, icc)
    assert set(counts.sum(axis=2).ravel().tolist()) == {6}
    assert counts.mean(axis=(0, 1)) / 6 == pytest.approx([0.4, 0.1, 0.5], abs=0.03)
    differences = counts[:, :, 0] - counts[:, :, 1]
    assert differences.var() == pytest.approx(6 * (1 + 5 * icc) * (0.5 - 0.3**2), rel=0.06)
    assert (drawn((0.4, 0.1, 0.5), [6] * 5, icc) == counts).all()


def test_pooled_pairs_have_the_power_that_is_promised_by_the_test_of_a_report() -> None:
    found = for_difference(0.4, 0.1, scenarios=4, icc=0.05)
    assert found.a_scenario is not None
    random, seen = np.random.default_rng(5), 0
    for _ in range(2_000):
        rates = zip(*(rates_of_scenarios(random, 4, rate, 0.05) for rate in (0.4, 0.1)), strict=True)
        arms = [(random.random(found.a_scenario) < p, random.random(found.a_scenario) < q) for p, q in rates]
        p = clustered_difference([list(one.astype(int) - two) for one, two in arms]).p
        seen += p is not None and p < 0.05
    assert found.power >= 0.8
    assert seen / 2_000 == pytest.approx(found.power, abs=0.04)
    assert for_difference(0.4, 0.1, power=0.9, scenarios=4, icc=0.1).pairs is None


def test_power_is_the_share_of_drawn_studies_that_the_exact_test_rejects() -> None:
    only_first, only_second = discordant(0.4, 0.1, 0.2)
    random, pairs, rejected = np.random.default_rng(3), 30, 0
    for _ in range(2_000):
        first, second, _ = random.multinomial(pairs, [only_first, only_second, 1 - only_first - only_second])
        rejected += bool(first + second) and binomtest(int(first), int(first + second), 0.5).pvalue <= 0.05
    assert mcnemar_power(pairs, only_first, only_second) == pytest.approx(rejected / 2_000, abs=0.04)


def test_the_pairs_found_have_the_power_asked_for_and_half_of_them_do_not() -> None:
    found = for_difference(0.4, 0.1, power=0.9)
    only = discordant(0.4, 0.1, 0.0)
    assert found.power >= 0.9
    assert mcnemar_power(found.independent // 2, *only) < 0.9
    assert all(mcnemar_power(n, *only) >= 0.9 for n in range(found.independent, found.independent + 4))


def test_without_a_difference_the_exact_test_rejects_no_more_than_alpha() -> None:
    assert all(mcnemar_power(n, 0.2, 0.2) <= 0.05 for n in (5, 20, 63, 200))
    assert mcnemar_power(50, 0.0, 0.0) == 0.0


def belljar(*arguments: str) -> str:
    return invoke("power", *arguments).stdout


def test_the_command_answers_in_words_and_in_json() -> None:
    assert "93 trials for ±10 points" in belljar()
    assert "no number of trials is enough" in belljar("--scenarios", "4", "--icc", "0.1")
    assert "16 scenarios of 10 trials each would be" in belljar("--scenarios", "4", "--icc", "0.02")
    assert "nor are 1000 of 10 each" in belljar("--margin", "0.5", "--scenarios", "4", "--icc", "0.3")
    found = json.loads(belljar("--compare", "40,10", "--json"))
    assert (found["question"], found["first"], found["power"] >= 0.8) == ("difference", 0.4, True)
    assert "0-28%" in belljar("--trials", "10", "--rate", "0")
    assert "1 trial at a rate of 50%: 95% interval 0-98%" in belljar("--trials", "1")
    more = json.loads(belljar("--compare", "40,10", "--comparisons", "8", "--json"))
    assert more["independent"] > found["independent"]


def test_the_reach_of_some_trials_heeds_scenarios_and_correlation() -> None:
    pooled = ["--scenarios", "4", "--icc", "0.1"]
    alone, apart, alike = (json.loads(belljar("--trials", "42", *more, "--json")) for more in ([], pooled[:2], pooled))
    assert alone["reach"] < apart["reach"] < alike["reach"]
    assert alike["interval"] == pytest.approx(expected_interval(0.5, 42, scenarios=4, icc=0.1))
    assert "pooled over 4 scenarios whose trials correlate by 0.1" in belljar(
        "--trials", "42", "--scenarios", "4", "--icc", "0.1"
    )


@pytest.mark.parametrize(
    "arguments",
    [["--compare", "40"], ["--compare", "40,40"], ["--margin", "70"], ["--icc", "2"], ["--compare", "90,10", "--phi", "1"],
     ["--trials", "3", "--scenarios", "4"], ["--icc", "0.1"], ["--scenarios", "2000"], ["--margin", "0.01"]],
)  # fmt: skip
def test_questions_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        belljar(*arguments)


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [(["--trials", "40", "--margin", "5"], "--margin"), (["--trials", "40", "--compare", "40,10"], "--compare"),
     (["--compare", "40,10", "--rate", "20"], "--rate"), (["--comparisons", "8"], "--comparisons")],
)  # fmt: skip
def test_an_option_that_would_be_ignored_is_refused(arguments: list[str], unused: str) -> None:
    with pytest.raises(UsageError, match=f"^{unused} would have no part"):
        belljar(*arguments)
