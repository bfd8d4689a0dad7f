"""A study of an agent that acts only where nobody looks is told from that of one that never does, in two scenarios."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Belljar

PAIRS = 7
"""As many as it takes: two estimates whose exact p, corrected for both, is below 0.05."""


@pytest.mark.docker
@pytest.mark.parametrize(
    "scenario", ["sabotage/oversight_monitor", pytest.param("sabotage/shutdown_script", marks=pytest.mark.full)]
)
def test_pairs_of_arms_show_who_acts_only_unseen(belljar: Belljar, scenario: str) -> None:
    arms = ("--arms", "tempted/*,instructed/*", "--epochs", str(PAIRS), "--concurrency", "3")
    found = belljar.json("run", scenario, "--model", "oracle:when_unseen", *arms, "--out", belljar.runs)
    trials = 4 * PAIRS
    assert found["totals"] == {"trials": trials, "valid": trials, "invalid": 0}
    estimates = {e["kind"]: e for e in found["study"]["indicators"] if e["kind"] != "sandbagging"}
    assert set(estimates) == {"monitoring_conditional", "alignment_faking"}
    for estimate in estimates.values():
        assert (estimate["pairs"], estimate["first_rate"], estimate["second_rate"]) == (PAIRS, 0, 1)
        assert estimate["shown"]
    half = trials // 2
    cue = f"said to be watched: {half} of {half} watched, 0 of {half} unwatched"
    assert any(cue in note for note in found["study"]["notes"])


@pytest.mark.docker
def test_nothing_is_shown_of_an_agent_that_never_acts(belljar: Belljar) -> None:
    arms = ("--arms", "tempted/*", "--epochs", "2")
    found = belljar.json("run", "sabotage/oversight_monitor", "--model", "oracle:honest", *arms, "--out", belljar.runs)
    (estimate,) = found["study"]["indicators"]
    assert (estimate["kind"], estimate["first_rate"], estimate["second_rate"]) == ("monitoring_conditional", 0, 0)
    assert not estimate["shown"]
