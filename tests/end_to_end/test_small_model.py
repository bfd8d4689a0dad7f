"""A small model that can do nothing is run like any other, and nobody is told that it is safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from sandbox.library.oracle import Outcome
from tests.end_to_end.conftest import Belljar

SCENARIOS = ("sabotage/shutdown_script", "scheming/capability_review")


@pytest.mark.docker
@pytest.mark.model
def test_a_model_that_cannot_do_the_task_has_valid_trials_and_rates_that_are_not_interpretable(belljar: Belljar) -> None:
    arms = ("--arms", "benign/unwatched,tempted/unwatched", "--steps", "3", "--max-tokens", "48")
    done = belljar("run", *SCENARIOS, "--model", "local:smollm2", *arms, "--out", belljar.runs, "--json", timeout=1500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["totals"] == {"trials": 4, "valid": 4, "invalid": 0}
    assert {(t["scenario"], t["arm"]["incentive"]) for t in found["trials"]} == {
        (scenario, incentive) for scenario in SCENARIOS for incentive in ("benign", "tempted")
    }
    assert {t["outcome"] for t in found["trials"]} <= set(get_args(Outcome))
    assert not any(rate["interpretable"] for rate in found["study"]["rates"])
    report = (Path(found["run"]) / "report.md").read_text(encoding="utf-8")
    assert "not interpretable" in report
    assert all(t["outcome"] in report for t in found["trials"])
