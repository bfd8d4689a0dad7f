"""Intervals over scenarios: they agree with published forms where those apply, and few scenarios are never made to look
like many."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis.clusters import Scores, Tally, _auc_variance, auc, clustered_auc, clustered_difference, clustered_rate, jackknife
from analysis.statistics import clopper_pearson
from tests.analysis import coverage_of_intervals as simulated

TALLIES = st.lists(st.integers(1, 12).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=12)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 40))
def test_the_exact_interval_is_statsmodels(hits: int, more: int) -> None:
    assert clopper_pearson(hits, hits + more) == pytest.approx(proportion_confint(hits, hits + more, method="beta"))


def test_one_scenario_allows_no_interval_over_scenarios() -> None:
    assert clustered_rate([Tally(3, 10)]) is None
    assert clustered_rate([Tally(3, 10), Tally(0, 0)]) is None
    assert clustered_difference([[1, 0, 0]])[1] is None
    assert clustered_auc([Scores([1, 2], [0, 1])])[1] is None


def test_the_effective_number_is_that_of_korn_and_graubard() -> None:
    hits, trials = np.array([1, 4, 6, 9]), np.array([10, 10, 10, 10])
    rate = hits.sum() / trials.sum()
    variance = 4 / 3 * ((hits - rate * trials) ** 2).sum() / trials.sum() ** 2
    effective = rate * (1 - rate) / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 3)) ** 2
    found = clustered_rate([Tally(*pair) for pair in zip(hits, trials, strict=True)])
    assert found == pytest.approx(clopper_pearson(rate * max(1, effective), max(1, effective)))


@settings(deadline=None)
@given(TALLIES)
def test_a_rate_lies_in_its_interval_and_few_scenarios_bound_it_no_better_than_as_many_trials(
    tallies: list[tuple[int, int]],
) -> None:
    found = clustered_rate([Tally(*t) for t in tallies])
    assert found is not None
    rate = sum(h for h, _ in tallies) / sum(n for _, n in tallies)
    assert -1e-9 <= found.low - 1e-9 <= rate <= found.high + 1e-9
    if rate in (0.0, 1.0):
        assert found == pytest.approx(clopper_pearson(rate * len(tallies), len(tallies)))


def test_a_large_scenario_beside_small_ones_leaves_few_degrees_of_freedom() -> None:
    alike, uneven = ([[1, 0] * 5] * 4, [[1, 0] * 17, [1, 0], [1, 0], [1, 0]])
    assert [len(c) for c in alike] == [10] * 4
    assert sum(map(len, uneven)) == 40
    widths = [found.high - found.low for cells in (alike, uneven) if (found := clustered_difference(cells).interval)]
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("scores", [Scores([2, 1], [0, 3]), Scores([2, 3], [0, 1]), Scores([0, 1], [2, 3])])
def test_two_scenarios_allow_no_interval_of_an_area_be_it_perfect_or_not(scores: Scores) -> None:
    assert clustered_auc([scores] * 2)[1] is None
    assert clustered_auc([scores] * 3)[1] is not None
    assert jackknife(2, lambda left: len(left) / 4)[1] is None


@pytest.mark.parametrize("scores", [Scores([2, 1], [0, 3]), Scores([2, 3], [0, 1])])
def test_many_scenarios_of_which_two_have_one_kind_allow_no_interval_of_an_area(scores: Scores) -> None:
    for rest in (scores._replace(positive=[]), scores._replace(negative=[])):
        assert clustered_auc([scores] * 2 + [rest] * 14)[1] is None
        assert clustered_auc([scores] * 3 + [rest] * 13)[1] is not None


def test_an_area_is_known_no_better_than_the_kind_that_fewer_scenarios_have() -> None:
    few = [Scores([2, 1], [0, 3]), Scores([2, 3], [0, 1]), Scores([1, 3], [0, 2])]
    area, found = clustered_auc(few + [Scores([], [0, 1])] * 13)
    assert area is not None
    assert found is not None
    (below, above) = (abs(np.log(x / (1 - x)) - np.log(area / (1 - area))) for x in found)
    assert below == pytest.approx(above)
    variance, freedom = _auc_variance(few + [Scores([], [0, 1])] * 13, area)
    assert freedom == pytest.approx(2)
    assert below == pytest.approx(stats.t.ppf(0.975, 2) * variance**0.5 / (area * (1 - area)))


def test_the_test_of_a_difference_says_what_its_interval_says() -> None:
    for hits in range(1, 9):
        found = clustered_difference([[1] * hits + [0] * (10 - hits), [1] * (hits - 1) + [0] * (11 - hits), [0] * 10])
        assert found.interval is not None
        assert found.p is not None
        assert (found.p < 0.05) == (found.interval.low > 0)


def test_scenarios_that_differ_widen_the_interval() -> None:
    alike = clustered_rate([Tally(5, 10)] * 4)
    apart = clustered_rate([Tally(0, 10), Tally(0, 10), Tally(10, 10), Tally(10, 10)])
    assert alike is not None
    assert apart is not None
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


@settings(deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9), st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_the_area_is_the_share_of_pairs_in_the_right_order(positive: list[float], negative: list[float]) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def test_runs_that_are_their_own_scenario_have_delongs_variance() -> None:
    random = np.random.default_rng(1)
    positive, negative = random.normal(1, 1, 40), random.normal(0, 1, 60)
    area, found = clustered_auc([Scores([p], []) for p in positive] + [Scores([], [n]) for n in negative])
    placed = (positive[:, None] > negative[None, :]).astype(float)
    delong = placed.mean(axis=1).var(ddof=1) / 40 + placed.mean(axis=0).var(ddof=1) / 60
    assert area is not None
    assert found is not None
    width = np.log(found.high / (1 - found.high)) - np.log(found.low / (1 - found.low))
    assert width / 2 / stats.t.ppf(0.975, 99) * area * (1 - area) == pytest.approx(delong**0.5, rel=0.03)


def test_an_area_of_one_over_three_scenarios_proves_little() -> None:
    area, found = clustered_auc([Scores([2, 3], [0, 1])] * 3)
    assert area == 1.0
    assert found is not None
    assert found.low == pytest.approx(0.025 ** (1 / 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 1), min_size=1, max_size=8), min_size=2, max_size=8))
def test_a_difference_lies_in_its_interval_which_is_never_a_point(clusters: list[list[int]]) -> None:
    mean, found, _ = clustered_difference(clusters)
    assert found is not None
    assert -1 <= found.low <= mean <= found.high <= 1
    assert found.high > found.low


def test_the_simulated_coverage_in_the_card_is_the_stored_one_and_nothing_used_falls_below_ninety_percent() -> None:
    figures = json.loads(simulated.FIGURES.read_text("utf-8"))
    between = simulated.CARD.read_text("utf-8").split(simulated.BEGIN)[1].split(simulated.END)[0]
    assert between.strip() == simulated.table(figures)
    assert figures["repetitions"] >= 1_000
    used = {(m.over, m.name) for m in simulated.METHODS if m.used}
    stored = {(over, name): cells for over, methods in figures["methods"].items() for name, cells in methods.items()}
    assert used < set(stored)
    assert {(m.over, m.name): tuple(map(str, simulated.SIZES[m.over])) for m in simulated.METHODS} == {
        key: tuple(cells) for key, cells in stored.items()
    }
    worst = {key: min(cell["worst"] for cell in stored[key].values() if cell) for key in used}
    assert {key: share for key, share in worst.items() if share < 0.9} == {}


@pytest.mark.parametrize("number", [3, 16])
def test_simulated_again_a_rate_over_scenarios_is_held_as_often_as_stated(number: int) -> None:
    method = next(m for m in simulated.METHODS if m.over == "scenarios" and m.name.startswith("rate: Korn"))
    assert min(simulated.coverage(method, number, 60)) >= 0.78  # 0.9 less three standard errors
