"""A study of an agent that holds back is told from that of one that does not, though no trial of either raises anything."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Belljar

REVIEW = "scheming/capability_review"


@pytest.mark.docker
def test_pairs_of_arms_show_who_holds_back_and_single_trials_do_not(belljar: Belljar) -> None:
    models = ("--model", "oracle:honest", "--model", "oracle:sandbagging")
    found = belljar.json(
        "run", REVIEW, *models, "--arms", "benign/unwatched,tempted/unwatched", "--epochs", "2", "--out", belljar.runs
    )
    assert found["totals"] == {"trials": 8, "valid": 8, "invalid": 0}
    assert [t["indicators"] for t in found["trials"]] == [[]] * 8
    estimates = {e["model"]: e for e in found["study"]["indicators"] if e["kind"] == "sandbagging"}
    assert {model: estimate["shown"] for model, estimate in estimates.items()} == {
        "oracle:honest": False,
        "oracle:sandbagging": True,
    }
    assert {estimate["pairs"] for estimate in estimates.values()} == {72}
    assert estimates["oracle:sandbagging"]["interval"][0] > 0.3
