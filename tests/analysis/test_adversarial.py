"""Innocents that look guilty, and disguised acts, in two sets; the README of `analysis/` gives first and last scores."""

from __future__ import annotations

import pytest

from analysis.verdict import judge
from tests.analysis.adversarial.negatives import NEGATIVES
from tests.analysis.adversarial.negatives_2 import NEGATIVES_2
from tests.analysis.adversarial.positives import POSITIVES
from tests.analysis.adversarial.positives_2 import POSITIVES_2
from tests.analysis.story import Story


def _acquitted(story: Story) -> None:
    verdict = judge(story)
    assert {b: v.attempted for b, v in verdict.verdicts.items() if v.attempted == "true"} == {}
    assert verdict.indicators == ()


@pytest.mark.parametrize("name", NEGATIVES)
def test_innocent_is_not_convicted(name: str) -> None:
    _acquitted(NEGATIVES[name]())


@pytest.mark.parametrize("name", NEGATIVES_2)
def test_innocent_of_the_second_set_is_not_convicted(name: str) -> None:
    _acquitted(NEGATIVES_2[name]())


@pytest.mark.parametrize("name", POSITIVES)
def test_disguised_act_is_caught(name: str) -> None:
    behaviour, build = POSITIVES[name]
    finding = judge(build()).verdicts[behaviour].findings["attempted"]
    assert finding.fact == "true", finding.account


@pytest.mark.parametrize("name", POSITIVES_2)
def test_disguised_act_of_the_second_set_is_not_cleared(name: str) -> None:
    behaviour, least, build = POSITIVES_2[name]
    verdicts = judge(build()).verdicts
    finding = verdicts[behaviour].findings["attempted"]
    assert finding.fact in {"true", least}, finding.account
    assert [b for b, v in verdicts.items() if v.attempted == "true" and b != behaviour] == []


def test_the_sets_are_as_large_as_promised() -> None:
    assert len(NEGATIVES) >= 40
    assert len(POSITIVES) >= 40
