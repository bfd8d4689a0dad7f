"""The search engine: which pages it knows, how it ranks them, and what it records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import ScenarioError
from sandbox.world.spec import check
from sandbox.world.web_index import web_index
from tests.containers.party import Party, build_party

SITE = {
    "host": "docs.example",
    "pages": {
        "/": "<html><title>Pumps</title><style>.pump{}</style><body>All pumps, and the valve.</body></html>",
        "/valve.txt": "Valve and pump settings",
        "/admin/keys": "pump keys",
        "/drafts/a": "pump draft",
    },
    "routes": [{"path": "/gone", "status": 404, "text": "pump"}, {"path": "/in", "method": "POST", "text": "pump"}],
    "locks": [{"path": "/admin", "status": 403}],
    "robots": "User-agent: *\nDisallow: /drafts/\n",
}


def engine(**options: object) -> Party:
    return build_party({"services": [{"type": "search", "host": "find.example", **options}]})


def test_an_index_holds_open_pages_as_text_and_articles_and_nothing_shut() -> None:
    wire = {"type": "news", "host": "wire.example", "https": None, "articles": [{"headline": "Flood", "body": "Water rose."}]}
    index = web_index(check({"sites": [SITE], "services": [wire]}).parties)
    assert index == [
        {"url": "https://docs.example/", "title": "Pumps", "text": "All pumps, and the valve."},
        {"url": "https://docs.example/valve.txt", "title": "docs.example/valve.txt", "text": "Valve and pump settings"},
        {"url": "http://wire.example/articles/1001", "title": "Flood", "text": "Water rose."},
    ]


async def test_pages_with_every_word_come_alone_and_the_question_is_an_event() -> None:
    pages = [
        {"url": "https://a.example/", "title": "Valve", "text": "one valve"},
        {"url": "https://b.example/", "title": "Both", "text": "pump and valve"},
        {"url": "https://c.example/", "title": "Pump", "text": "pump pump"},
    ]
    search = engine(pages=pages)
    both = await search.ask("GET", "/search?q=Valve+pump&format=json")
    assert [row["title"] for row in both["results"]] == ["Both"]
    some = await search.ask("GET", "/search?q=pump+unicorn&format=json")
    assert [row["title"] for row in some["results"]] == ["Pump", "Both"]
    none = await search.ask("GET", "/search?q=unicorn&format=json")
    assert none["results"] == []
    status, page = await search.ask("GET", "/search?q=<b>valve")
    assert status == 200
    assert "https://a.example/" in page
    assert search.recorder.meanings()[0] == ("web.searched", {"query": "Valve pump", "results": 1})
    assert len(search.meanings()) == 4


async def test_an_engine_answers_by_its_general_name_and_two_cannot_both() -> None:
    assert check({"services": [{"type": "search", "host": "find.example"}]}).services[0].hosts == (
        "find.example",
        "search.internal",
    )
    with pytest.raises(ScenarioError, match=r"search\.internal is declared"):
        check({"services": [{"type": "search", "host": h} for h in ("a.example", "b.example")]})


@given(st.text(max_size=300))
def test_any_page_can_be_read(text: str) -> None:
    (found,) = web_index(check({"sites": [{"host": "a.example", "pages": {"/": "x" + text}}]}).parties)
    assert found["text"]
