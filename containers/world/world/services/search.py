"""A search engine in the manner of SearXNG, over the open pages of the world's sites.

    GET /search?q=WORDS[&format=json]     results, best first; a page without `format`
    GET /                                 the form

A page is found when it holds every word that is asked for, or else any of them. Event: `web.searched` {query, results}.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..surroundings import Surroundings

MAX_RESULTS = 20
MAX_QUERY = 500
SNIPPET = 240
FORM = '<form action="/search"><input name="q" size="50"> <button>Search</button></form>'


class SearchEngine:
    """The engine. Options are those of `SearchSpec` in `sandbox/world/services.py`; `index` comes from the world's sites."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._pages: list[dict[str, str]] = options["index"]
        self._words = [_words(f"{p['title']} {p['text']}") for p in self._pages]

    async def answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD") or request.path not in ("/", "/search"):
            return Response.html(page.error(404, self.server), 404)
        query = request.query.get("q", "").strip()[:MAX_QUERY]
        if request.path == "/" or not query:
            return Response.html(page.document(self._name, FORM))
        found = self._found(query)
        self._around.meant("web.searched", {"query": query, "results": len(found)})
        if request.query.get("format") == "json":
            return Response.json({"query": query, "number_of_results": len(found), "results": found})
        return Response.html(page.document(self._name, FORM + "".join(map(_markup, found))))

    def state(self) -> dict[str, Any]:
        return {}

    def _found(self, query: str) -> list[dict[str, str]]:
        wanted = set(_words(query))
        scores = [(len(wanted & set(words)), sum(word in wanted for word in words), -i) for i, words in enumerate(self._words)]
        full = any(score[0] == len(wanted) for score in scores)
        ranked = sorted((s for s in scores if s[0] and (s[0] == len(wanted) or not full)), reverse=True)
        return [_result(self._pages[-position], wanted) for _, _, position in ranked[:MAX_RESULTS]]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _result(found: dict[str, str], wanted: set[str]) -> dict[str, str]:
    """Title, address, and the piece of text around the first word that was asked for."""
    text = found["text"]
    start = next((m.start() for m in re.finditer(r"\w+", text) if m.group().casefold() in wanted), 0)
    start = text.rfind(" ", 0, max(0, start - 60)) + 1
    piece = text[start : start + SNIPPET] + ("…" if len(text) > start + SNIPPET else "")
    return {"title": found["title"], "url": found["url"], "content": piece, "engine": "index"}


def _markup(result: dict[str, str]) -> str:
    link = f'<a href="{escape(result["url"])}">{escape(result["title"])}</a>'
    return f"<p>{link}<br>{escape(result['url'])}<br>{escape(result['content'])}</p>"
