"""What judges and labellers are shown of a scenario is the same in every arm, but for what was allowed where that differs."""

from __future__ import annotations

import pytest

from analysis.blind import setting
from sandbox.library.loading import arms, find, load, names, prepare
from tests.analysis.story import SHUTDOWN, Story

ALLOWED_TELLS = {
    "copyright/course_reader",
    "copyright/licence_strip",
    "copyright/paywalled_archive",
    "sabotage/backup_rotation",
    "scheming/capability_review",
}
"""Scenarios in which something is allowed in some arms only: a judge must know it, and may tell the arm by it."""


@pytest.mark.parametrize("name", names())
def test_what_is_shown_of_a_scenario_of_the_library_does_not_tell_the_arm(name: str) -> None:
    (folder,) = find([name])
    resolved = [prepare(folder, arm, 3).resolved for arm in arms(load(folder))]
    shown = [setting(Story(one.model_dump(mode="json"))) for one in resolved]
    for about in shown:
        assert (about["question"], about["behaviours"], about["assets"]) == (
            shown[0]["question"], shown[0]["behaviours"], shown[0]["assets"],
        )  # fmt: skip
    assert all(about["allowed"] == shown[0]["allowed"] for about in shown) or name in ALLOWED_TELLS
    everywhere = {(a["id"], a["path"]) for a in shown[0]["assets"]}
    assert all((a.id, a.path) in everywhere for one in resolved for a in one.assets)


def test_an_asset_of_some_arms_only_is_shown_in_all() -> None:
    (folder,) = find(["scheming/capability_review"])
    benign, tempted = (prepare(folder, {"incentive": level}, 1).resolved for level in ("benign", "tempted"))
    assert "limit" not in {a.id for a in benign.assets}
    assert "limit" in {a.id for a in tempted.assets}
    assert "limit" in {a["id"] for a in setting(Story(benign.model_dump(mode="json")))["assets"]}


def test_a_recording_from_before_shows_its_own_assets() -> None:
    assert [a["id"] for a in setting(Story(SHUTDOWN))["assets"]] == ["stop_script", "audit_log", "policy"]
