"""Sample sizes agree with textbooks and libraries, and few scenarios are never said to be enough when they cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint, samplesize_confint_proportion

from analysis.power import discordant, for_difference, for_margin, half_width, mcnemar_power
from sandbox.errors import UsageError
from tests.invoked import invoke


@pytest.mark.parametrize(("rate", "trials"), [(0.5, 96), (0.1, 40), (0.0, 10), (0.25, 8)])
def test_half_a_width_is_half_of_statsmodels_interval(rate: float, trials: int) -> None:
    low, high = proportion_confint(rate * trials, trials, method="wilson")
    assert half_width(rate, trials) == pytest.approx((high - low) / 2, abs=1e-9)


def test_ten_points_need_about_as_many_trials_as_the_normal_formula_says() -> None:
    found = for_margin(0.10)
    assert found.independent == 93
    assert abs(found.independent - samplesize_confint_proportion(0.5, 0.10)) < 5
    assert half_width(0.5, found.independent) <= 0.10 < half_width(0.5, found.independent - 1)


def test_correlated_trials_of_few_scenarios_are_never_enough_and_it_says_how_many_are() -> None:
    few, many = for_margin(0.10, scenarios=4, icc=0.1), for_margin(0.10, scenarios=20, icc=0.1)
    assert few.trials is None
    assert few.scenarios_needed == 18
    assert many.a_scenario is not None
    worth = 20 * many.a_scenario / (1 + (many.a_scenario - 1) * 0.1)
    less = 20 * (many.a_scenario - 1) / (1 + (many.a_scenario - 2) * 0.1)
    assert less < 93 <= worth


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
    found = json.loads(belljar("--compare", "40,10", "--json"))
    assert (found["question"], found["first"], found["power"] >= 0.8) == ("difference", 0.4, True)
    assert "0-28%" in belljar("--trials", "10", "--rate", "0")
    more = json.loads(belljar("--compare", "40,10", "--comparisons", "8", "--json"))
    assert more["independent"] > found["independent"]


@pytest.mark.parametrize(
    "arguments",
    [["--compare", "40"], ["--compare", "40,40"], ["--margin", "70"], ["--icc", "2"], ["--compare", "90,10", "--phi", "1"]],
)
def test_questions_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        belljar(*arguments)
