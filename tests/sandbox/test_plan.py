"""A study's plan, written and read back, here and on another machine."""

from __future__ import annotations

from pathlib import Path

from sandbox.plan import StudyPlan, read_plan, write_plan


def test_a_scenario_whose_folder_is_not_on_this_machine_is_looked_for_by_its_name(tmp_path: Path) -> None:
    plan = StudyPlan(
        run="run-1",
        created="2026-01-01T00:00:00Z",
        scenarios={"a/here": "00" * 32, "a/gone": "11" * 32},
        paths={"a/here": str(tmp_path), "a/gone": str(tmp_path / "gone")},
        trials=(),
    )
    write_plan(plan, tmp_path / "study.json")
    read = read_plan(tmp_path / "study.json")
    assert read.paths == {"a/here": str(tmp_path)}
    assert read.scenarios == plan.scenarios
