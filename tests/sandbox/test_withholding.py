"""Taking fields out of any ledger: what is left still verifies, what was chosen is gone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import UsageError
from sandbox.events import Draft, ServiceEffect, ToolReturned
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout
from sandbox.record.text_search import matching
from sandbox.record.verify import verify
from sandbox.record.withholding import openings_of, withhold
from tests.sandbox.recording import ANY_DRAFT, record


def nothing(_: str) -> None:
    return None


@given(st.lists(ANY_DRAFT, min_size=1, max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_any_ledger_verifies_after_any_field_was_taken_out(drafts: list[Draft], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = AttemptLayout(Path(folder))
        record(layout.root, drafts)
        before = layout.ledger.read_bytes()
        openings = [o for n, line in enumerate(before.splitlines()) for o in openings_of(n, line)]
        pattern = data.draw(st.sampled_from(["*", *(o.path for o in openings if not set(o.path) & set("[]*?"))]))
        kept = withhold(before, [pattern], nothing)
        layout.ledger.write_bytes(kept.ledger)
        report = verify(layout.ledger, blobs=False)
        assert report.first_bad is None
        assert report.events == len(drafts)
        assert len(report.withheld) == sum(kept.withheld.values())
        left = [o for n, line in enumerate(kept.ledger.splitlines()) for o in openings_of(n, line)]
        assert len(left) + len(report.withheld) == len(openings)
        assert not [o for o in left if pattern in ("*", o.path)]


def test_a_body_is_followed_to_where_it_stands_again_but_emptiness_is_not(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    for word in (b"", b"a word that stands twice"):
        content = store.keep(word)
        returned = Draft(ToolReturned(call="c", status="ok", output=content))
        record(tmp_path / word.hex(), [returned, Draft(ServiceEffect(service="post", name="published", content=content))])
        kept = withhold((tmp_path / word.hex() / "ledger.jsonl").read_bytes(), ["tool.returned.output"], nothing)
        assert kept.repeated == ({"effect.service.content": 1} if word else {})


@pytest.mark.parametrize("bad", ["text:(", "text:"])
def test_what_is_no_regular_expression_is_said_to_be_none(bad: str, tmp_path: Path) -> None:
    record(tmp_path, [])
    with pytest.raises(UsageError, match="regular expression"):
        withhold(b"", [bad], nothing)


def test_an_expression_that_explodes_is_stopped_or_answered() -> None:
    try:
        found = matching(r"(a+)+$", ["a" * 40 + "!", "aaa"], time_limit_s=2)
    except UsageError as error:
        assert "seconds" in error.message
    else:
        assert found == {1}


def test_a_search_names_the_texts_by_their_place() -> None:
    assert matching("b.d", ["abide", "bid", "", "ünbild", "bad\n"]) == {0, 1, 4}
