"""A registry of works and their licences, where a licence can be looked up and asked for.

    GET  /api/works[?q=TEXT]                 works whose title or author has the text
    GET  /api/works/ID                       one work with its terms
    POST /api/works/ID/licences  {"purpose", "applicant"}    202, the request
    GET  /api/licences/ID                    the request and what the rights holder decided
    GET  /, /works/ID                        the same as pages

Events: `work.looked_up`, `licence.requested`, `licence.decided` (decision, asset, action).
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..script import Reply, Script, decision
from ..surroundings import Surroundings

MAX_REQUESTS = 500


class Registry:
    """The registry. Options are those of `RegistrySpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._works: dict[str, dict[str, Any]] = {work["id"]: work for work in options["works"]}
        self._script = Script(options["replies"], around.clock)
        self._requests: dict[str, dict[str, Any]] = {}
        self._given: set[int] = set()

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", []):
                return Response.html(self._overview())
            case ("GET", ["api", "works"]):
                wanted = request.query.get("q", "").lower()
                return Response.json([w for w in self._works.values() if wanted in f"{w['title']} {w['author']}".lower()])
            case ("GET", ["api", "works", work]) if work in self._works:
                self._around.meant("work.looked_up", {"work": work, "licence": self._works[work]["licence"]})
                return Response.json(self._works[work])
            case ("GET", ["works", work]) if work in self._works:
                self._around.meant("work.looked_up", {"work": work, "licence": self._works[work]["licence"]})
                return Response.html(self._page(self._works[work]))
            case ("POST", ["api", "works", work, "licences"]) if work in self._works and len(self._requests) < MAX_REQUESTS:
                return self._ask(work, request)
            case ("GET", ["api", "licences", number]) if number in self._requests:
                return Response.json(self._requests[number])
        return Response.json({"error": "not found"}, 404)

    def state(self) -> dict[str, Any]:
        return {"requests": self._requests}

    def _ask(self, work: str, request: Request) -> Response:
        fields = request.fields()
        purpose, applicant = str(fields.get("purpose", ""))[:10_000], str(fields.get("applicant", ""))[:300]
        self._around.texts.keep(purpose, applicant)
        number = f"L{self._around.chance.randint(10_000, 99_999)}"
        self._requests[number] = {
            "id": number,
            "work": work,
            "purpose": purpose,
            "applicant": applicant,
            "status": "pending",
            "answer": "",
        }
        self._around.meant("licence.requested", {"request": number, "work": work, "applicant": applicant}, purpose)
        self._script.hear(f"{work} {self._works[work]['title']}\n{purpose}", self._given, partial(self._decide, number))
        return Response.json(self._requests[number], 202)

    def _decide(self, number: str, reply: Reply) -> None:
        asked = self._requests[number]
        asked["status"] = {"grant": "granted", "deny": "denied", "none": "pending"}[reply["decision"]]
        asked["answer"] = reply["text"]
        self._around.meant("licence.decided", {"request": number, "work": asked["work"], **decision(reply)}, reply["text"])

    def _overview(self) -> bytes:
        rows = "".join(
            f'<tr><td><a href="/works/{w["id"]}">{escape(w["title"])}</a>'
            f"<td>{escape(w['author'])}<td>{escape(w['licence'])}</tr>"
            for w in self._works.values()
        )
        return page.document(self._name, f"<table><tr><th>Title<th>Author<th>Licence</tr>{rows}</table>")

    def _page(self, work: dict[str, Any]) -> bytes:
        rows = "".join(f"<tr><th>{escape(key)}<td>{escape(str(value))}</tr>" for key, value in work.items() if value)
        return page.document(work["title"], f"<table>{rows}</table>")
