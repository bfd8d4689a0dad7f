"""What a search engine of the world knows: the open pages of its sites and the articles of its news wires, as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

from sandbox.world.services import NewsSpec, PartySpec
from sandbox.world.spec import SiteSpec

FIRST_ARTICLE = 1001
"""Number of a news wire's first article (`containers/world/world/services/news.py`)."""

MAX_TEXT = 20_000
"""Characters that are kept of one page."""

Page = dict[str, str]
"""A page's `url`, `title` and `text`."""


def web_index(parties: Iterable[PartySpec]) -> list[Page]:
    """Every page that anybody could have found by following links: no locked part of a site, nothing its robots.txt forbids."""
    return [page for party in parties for page in _pages(party)]


def _pages(party: PartySpec) -> Iterator[Page]:
    if isinstance(party, SiteSpec):
        yield from _site(party)
    elif isinstance(party, NewsSpec):
        base = _base(party)
        for number, article in enumerate(party.articles, FIRST_ARTICLE):
            yield {"url": f"{base}/articles/{number}", "title": article.headline, "text": article.body[:MAX_TEXT]}


def _site(site: SiteSpec) -> Iterator[Page]:
    shut = (*(lock.path for lock in site.locks), *_disallowed(site.robots or ""))
    for route in site.options()["routes"]:
        path, body = str(route["path"]), route["html"] or route["text"]
        hidden = route["method"] != "GET" or route["status"] != 200 or path.endswith("*") or path == "/robots.txt"
        if body and not hidden and not path.startswith(shut or ("\0",)):
            title, text = _read(str(body))
            shown = title or f"{site.host}{path}".rstrip("/")
            yield {"url": f"{_base(site)}{quote(path)}", "title": shown, "text": text[:MAX_TEXT]}


def _base(party: PartySpec) -> str:
    """How addresses there begin."""
    scheme, port, usual = ("https", party.https, 443) if party.https else ("http", party.http, 80)
    host = party.host.removeprefix("*.")
    return f"{scheme}://{host}" if port in (usual, None) else f"{scheme}://{host}:{port}"


def _disallowed(robots: str) -> Iterator[str]:
    for line in robots.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "disallow" and (path := urlsplit(value.strip()).path):
            yield path


class _Reader(HTMLParser):
    """Collects a page's title and the text that a person sees."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.words: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("title", "script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        inside = self._inside[-1] if self._inside else ""
        if inside == "title":
            self.title += data
        elif not inside:
            self.words += data.split()


def _read(body: str) -> tuple[str, str]:
    """Title and text of a page, or of a plain text, whose title is empty."""
    if not body.lstrip().startswith("<"):
        return "", " ".join(body.split())
    reader = _Reader()
    reader.feed(body)
    reader.close()
    return " ".join(reader.title.split()), " ".join(reader.words)
