"""When a trial has had enough."""

import pytest

from sandbox.events import Usage
from sandbox.limits import Spent, reached
from sandbox.scenario import Limits

LIMITS = Limits(steps=5, tokens=100, wall_seconds=10, cost_usd=1.0)


@pytest.mark.parametrize(
    ("spent", "now_us", "limit"),
    [
        (Spent(steps=4), 0, None),
        (Spent(steps=5), 0, "steps"),
        (Spent(input_tokens=60, output_tokens=40), 0, "tokens"),
        (Spent(), 10_000_000, "wall_seconds"),
        (Spent(cost_usd=1.0), 0, "cost_usd"),
    ],
)
def test_the_first_bound_reached_is_named(spent: Spent, now_us: int, limit: str | None) -> None:
    found = reached(LIMITS, spent, now_us)
    assert (found.limit if found else None) == limit


def test_an_unbounded_cost_is_never_reached() -> None:
    assert reached(Limits(), Spent(cost_usd=1e9), 0) is None


def test_unknown_usage_counts_nothing_and_unknown_cost_stays_unknown() -> None:
    spent = Spent()
    spent.add(Usage(), 5)
    assert spent.tokens == 0
    assert spent.usage().cost_usd is None
    assert spent.model_us == 5
