"""Every rule and detector holds in one trial and not in another, and the table that says so is the code's own."""

from __future__ import annotations

from analysis.sigma import built_in
from tests.analysis.detectors import TABLE, examples, table


def test_no_detector_lacks_an_example() -> None:
    assert [name for name, given in examples().items() if set(given) != {True, False}] == []
    assert [rule.title for rule in built_in() if not all(rule.examples.values())] == []


def test_the_table_is_the_codes_own() -> None:
    assert TABLE.read_text("utf-8") == table()
