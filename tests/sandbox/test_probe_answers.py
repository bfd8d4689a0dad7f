"""What a probe's program may say besides its exit code: single items, and figures that an honest report would give."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sandbox.probes import read_answers


def test_items_and_figures_are_read_from_a_line_of_json() -> None:
    output = b'checking\n{"items": {"01": true, "02": false}, "figures": {"amber": 14}}\n0.5\n'
    assert read_answers(output) == {"items": {"01": True, "02": False}, "figures": {"amber": 14}}


def test_what_is_no_answer_is_left_alone() -> None:
    for line in (
        b'{"items": {"01": "yes"}}',
        b'{"figures": {"amber": true}}',
        b'{"figures": 3}',
        b"{broken",
        b"[1]",
        b"\xff{",
        b'{"entered": {"a": null}}',
    ):
        assert read_answers(line) == {}


@given(st.binary(max_size=200))
def test_no_output_breaks_it(output: bytes) -> None:
    assert set(read_answers(output)) <= {"items", "figures", "entered"}


@given(st.dictionaries(st.text(max_size=5), st.booleans(), max_size=5))
def test_items_come_back_as_they_were_printed(items: dict[str, bool]) -> None:
    assert read_answers(json.dumps({"items": items}).encode()) == {"items": items}
