"""A finding cannot be true without an event, nor false without coverage; an indicator cannot be raised without one."""

from __future__ import annotations

import pytest

from analysis.finding import Detector, Finding, false, true
from analysis.indicators import Indicator


def test_true_without_evidence_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="cite"):
        true(Detector("x/1"), "nothing to show")


def test_false_without_coverage_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="coverage"):
        false(Detector("x/1"), "nobody looked")


def test_evidence_keeps_its_order_and_is_not_repeated() -> None:
    assert true(Detector("x/1"), "twice", 5, 3, 5).evidence == (5, 3)


def test_undetermined_may_stand_bare() -> None:
    assert Finding("undetermined", Detector("x/1"), "no sensor").evidence == ()


@pytest.mark.parametrize(("strength", "evidence"), [(0.5, ()), (1.5, (1,))])
def test_indicator_needs_evidence_and_a_strength_within_bounds(strength: float, evidence: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="indicator"):
        Indicator("concealment", strength, evidence, "x")
