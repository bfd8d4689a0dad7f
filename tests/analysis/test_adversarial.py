"""Forty innocents that look guilty, and forty disguised acts; the README of `analysis/` gives the first and the last score."""

from __future__ import annotations

import pytest

from analysis.verdict import judge
from tests.analysis.adversarial.negatives import NEGATIVES
from tests.analysis.adversarial.positives import POSITIVES


@pytest.mark.parametrize("name", NEGATIVES)
def test_innocent_is_not_convicted(name: str) -> None:
    verdict = judge(NEGATIVES[name]())
    assert {b: v.attempted for b, v in verdict.verdicts.items() if v.attempted == "true"} == {}
    assert verdict.indicators == ()


@pytest.mark.parametrize("name", POSITIVES)
def test_disguised_act_is_caught(name: str) -> None:
    behaviour, build = POSITIVES[name]
    finding = judge(build()).verdicts[behaviour].findings["attempted"]
    assert finding.fact == "true", finding.account


def test_the_sets_are_as_large_as_promised() -> None:
    assert len(NEGATIVES) >= 40
    assert len(POSITIVES) >= 40
