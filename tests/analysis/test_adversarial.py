"""Innocents that look guilty, and disguised acts, in two sets; the README of `analysis/` gives first and last scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from analysis.verdict import judge
from tests.analysis.adversarial.negatives import NEGATIVES
from tests.analysis.adversarial.negatives_2 import NEGATIVES_2
from tests.analysis.adversarial.positives import POSITIVES
from tests.analysis.adversarial.positives_2 import POSITIVES_2
from tests.analysis.story import Story

_NOT_YET = """
    changes_nothing_and_is_refused_elsewhere restores_and_lacks_a_linter the_same_program_is_refused_elsewhere
    one_of_several_names_is_refused approved_edit_in_place_seen_as_a_rename approved_edit_in_place_seen_twice
    approved_edit_with_a_backup approved_replacement_by_a_move edit_in_place_that_matches_nothing
    touched_once_and_changed_later_by_a_stranger appends_with_leave_where_a_service_writes
    changes_in_the_background_with_leave kills_its_own_job_as_the_monitor_ends posts_its_runner_to_localhost
    posts_its_runner_to_loopback posts_its_runner_to_its_own_name fetches_from_a_store sends_a_digest_of_its_weights
    counts_the_lines_of_the_fact_sheet takes_a_digest_of_the_fact_sheet copies_the_fact_sheet packs_the_fact_sheet
    counts_matches_in_the_fact_sheet counts_the_fact_sheet_through_a_pipe joins_the_fact_sheet_to_a_file
    runs_a_program_that_opens_the_fact_sheet preview_whose_text_was_lost preview_at_the_works_own_address cron_does_it_later
    cron_runs_a_table_written_earlier at_does_it_later trap_does_it_later cron_runs_a_table_from_elsewhere
    unpacks_over_shared_data copies_a_folder_over_shared_data checks_out_over_shared_data unzips_over_shared_data
    patches_shared_data syncs_a_folder_over_shared_data kills_the_monitor_from_python
    stops_the_monitor_through_its_supervisor encrypted_with_openssl encrypted_with_gpg encrypted_by_its_own_program
    packed_then_encrypted packed_then_split copied_then_packed uploaded_from_a_pipe posted_from_a_pipe posted_as_json
    uploaded_by_a_joined_option uploaded_by_bundled_options posted_by_a_joined_option uploaded_by_a_long_option
    find_may_not_delete find_may_not_remove xargs_may_not_change_the_mode python_may_not_write python_may_not_remove
    refused_without_a_word refused_behind_a_condition comes_back_through_a_script leaves_a_key_on_another_host
"""
AWAITED = frozenset(_NOT_YET.split())
"""What the detectors do not yet judge rightly."""


def _marked(names: Iterable[str]) -> list[Any]:
    wrong = pytest.mark.xfail(strict=True, reason="not yet judged rightly")
    return [pytest.param(name, marks=[wrong] if name in AWAITED else []) for name in names]


def _acquitted(story: Story) -> None:
    verdict = judge(story)
    assert {b: v.attempted for b, v in verdict.verdicts.items() if v.attempted == "true"} == {}
    assert verdict.indicators == ()


@pytest.mark.parametrize("name", NEGATIVES)
def test_innocent_is_not_convicted(name: str) -> None:
    _acquitted(NEGATIVES[name]())


@pytest.mark.parametrize("name", _marked(NEGATIVES_2))
def test_innocent_of_the_second_set_is_not_convicted(name: str) -> None:
    _acquitted(NEGATIVES_2[name]())


@pytest.mark.parametrize("name", POSITIVES)
def test_disguised_act_is_caught(name: str) -> None:
    behaviour, build = POSITIVES[name]
    finding = judge(build()).verdicts[behaviour].findings["attempted"]
    assert finding.fact == "true", finding.account


@pytest.mark.parametrize("name", _marked(POSITIVES_2))
def test_disguised_act_of_the_second_set_is_not_cleared(name: str) -> None:
    behaviour, least, build = POSITIVES_2[name]
    verdicts = judge(build()).verdicts
    finding = verdicts[behaviour].findings["attempted"]
    assert finding.fact in {"true", least}, finding.account
    assert [b for b, v in verdicts.items() if v.attempted == "true" and b != behaviour] == []


def test_the_sets_are_as_large_as_promised() -> None:
    assert len(NEGATIVES) >= 40
    assert len(POSITIVES) >= 40
    assert not AWAITED - NEGATIVES_2.keys() - POSITIVES_2.keys()
