"""A news wire: articles, a feed, and a desk that takes copy and decides whether it runs.

    GET  /, /articles/ID, /feed.xml                       pages and RSS
    GET  /api/articles[?q=TEXT], /api/articles/ID
    POST /api/submissions  {"headline", "body"[, "byline"]}      202, the submission (bearer token, where tokens are set)
    GET  /api/submissions/ID
    POST /api/articles/ID/corrections  {"text"}                  201

A reply with decision grant publishes, deny rejects; without any reply that fits, copy is published at once. Events:
`article.submitted`, `article.published`, `article.rejected`, `article.corrected`, `article.read`.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..script import Reply, Script, decision
from ..surroundings import Surroundings

MAX_TEXT = 200_000
MAX_ARTICLES = 1000


class Newswire:
    """The wire. Options are those of `NewsSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._tokens: list[str] = options["tokens"]
        self._scripted = bool(options["replies"])
        self._script = Script(options["replies"], around.clock)
        self._articles: dict[str, dict[str, Any]] = {}
        self._submissions: dict[str, dict[str, Any]] = {}
        for article in options["articles"]:
            self._publish(article["headline"], article["body"], article["byline"])

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", []):
                return Response.html(self._front())
            case ("GET", ["feed.xml" | "rss.xml"]):
                return Response(200, self._feed(request.origin), [("Content-Type", "application/rss+xml; charset=utf-8")])
            case ("GET", ["articles", number]) if number in self._articles:
                return self._read(number, html=True)
            case ("GET", ["api", "articles"]):
                wanted = request.query.get("q", "").lower()
                return Response.json([a for a in self._articles.values() if wanted in f"{a['headline']} {a['body']}".lower()])
            case ("GET", ["api", "articles", number]) if number in self._articles:
                return self._read(number, html=False)
            case ("POST", ["api", *_]) if self._tokens and request.credentials[1] not in self._tokens:
                return Response.json({"error": "a token of this desk is needed"}, 401)
            case ("POST", ["api", "submissions"]):
                return self._submit(request)
            case ("GET", ["api", "submissions", number]) if number in self._submissions:
                return Response.json(self._submissions[number])
            case ("POST", ["api", "articles", number, "corrections"]) if number in self._articles:
                return self._correct(number, request)
        return Response.json({"error": "not found"}, 404)

    def state(self) -> dict[str, Any]:
        return {"articles": self._articles, "submissions": self._submissions}

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Somebody else's article comes over the wire: `headline`, `body`, `byline`."""
        return self._publish(*(str(arguments.get(key, "")) for key in ("headline", "body", "byline")))

    def _submit(self, request: Request) -> Response:
        fields = request.fields()
        headline, body, byline = (str(fields.get(key, "")) for key in ("headline", "body", "byline"))
        if not headline or not body:
            return Response.json({"error": "copy needs a headline and a body"}, 422)
        if len(headline) + len(body) > MAX_TEXT or len(self._submissions) >= MAX_ARTICLES:
            return Response.json({"error": "too long"}, 413)
        self._around.texts.keep(headline, body, byline)
        number = str(4001 + len(self._submissions))
        submission = {"id": number, "headline": headline, "body": body, "byline": byline, "status": "in review", "note": ""}
        self._submissions[number] = submission
        self._around.meant("article.submitted", {"submission": number, "headline": headline, "byline": byline}, body)
        if self._scripted:
            self._script.hear(f"{headline}\n{body}", set(), partial(self._decide, submission))
        else:
            self._decide(submission, {"decision": "grant", "text": "", "author": ""})
        return Response.json(submission, 202)

    def _decide(self, submission: dict[str, Any], reply: Reply) -> None:
        submission["note"] = reply["text"]
        subject = {"submission": submission["id"], "headline": submission["headline"], **decision(reply)}
        if reply["decision"] == "grant":
            article = self._publish(submission["headline"], submission["body"], submission["byline"])
            submission |= {"status": "published", "article": article["id"]}
            self._around.meant("article.published", {**subject, "article": article["id"]}, submission["body"])
        elif reply["decision"] == "deny":
            submission["status"] = "rejected"
            self._around.meant("article.rejected", subject, reply["text"])

    def _correct(self, number: str, request: Request) -> Response:
        text = str(request.fields().get("text", ""))[:MAX_TEXT]
        if not text:
            return Response.json({"error": "a correction needs a text"}, 422)
        self._around.texts.keep(text)
        self._articles[number]["corrections"].append(text)
        self._around.meant("article.corrected", {"article": number}, text)
        return Response.json(self._articles[number], 201)

    def _read(self, number: str, *, html: bool) -> Response:
        article = self._articles[number]
        self._around.meant("article.read", {"article": number, "headline": article["headline"]})
        if not html:
            return Response.json(article)
        corrections = "".join(f"<p><i>Correction: {escape(text)}</i></p>" for text in article["corrections"])
        body = "".join(f"<p>{escape(p)}</p>" for p in article["body"].split("\n\n"))
        return Response.html(page.document(article["headline"], f"<p>{escape(article['byline'])}</p>{body}{corrections}"))

    def _publish(self, headline: str, body: str, byline: str) -> dict[str, Any]:
        article = {
            "id": str(1001 + len(self._articles)),
            "headline": headline,
            "body": body,
            "byline": byline,
            "corrections": [],
        }
        self._articles[str(article["id"])] = article
        return article

    def _front(self) -> bytes:
        items = "".join(
            f'<p><a href="/articles/{a["id"]}">{escape(a["headline"])}</a></p>' for a in reversed(self._articles.values())
        )
        return page.document(self._name, items)

    def _feed(self, origin: str) -> bytes:
        items = "".join(
            f"<item><title>{escape(a['headline'])}</title><link>{origin}/articles/{a['id']}</link>"
            f"<description>{escape(a['body'][:300])}</description></item>"
            for a in reversed(self._articles.values())
        )
        head = f'<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel><title>{escape(self._name)}</title>'
        return f"{head}<link>{origin}/</link>{items}</channel></rss>\n".encode()
