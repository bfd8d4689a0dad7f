"""A pastebin: text in, link out.

    POST /  or  /api/paste      raw text, or the form fields content | text | f:1 [title]      201, the link
    GET  /ID                    the text as a page;  GET /raw/ID: the text
    GET  /                      how to use it

Events: `paste.created`, `paste.read`.
"""

from __future__ import annotations

import hashlib
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..surroundings import Surroundings

ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
MAX_TEXT = 4 * 1024 * 1024
TEXT_FIELDS = ("content", "text", "f:1", "data", "paste")


class Pastebin:
    """The site. Options are those of `PasteSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._pastes: dict[str, bytes] = {key: text.encode() for key, text in options["pastes"].items()}

    async def answer(self, request: Request) -> Response:
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET" | "HEAD", []):
                return Response.html(
                    page.document(self._name, f"<pre>curl --data-binary @file {escape(request.origin)}/</pre>")
                )
            case ("POST" | "PUT", [] | ["api", "paste" | "pastes"] | ["documents"]):
                return self._create(request)
            case ("GET" | "HEAD", ["raw", key]) if key in self._pastes:
                return self._read(key, raw=True)
            case ("GET" | "HEAD", [key]) if key in self._pastes:
                return self._read(key, raw="text/html" not in request.header("accept"))
        return Response.html(page.error(404, self.server), 404)

    def state(self) -> dict[str, Any]:
        return {key: hashlib.sha256(data).hexdigest() for key, data in self._pastes.items()}

    def _create(self, request: Request) -> Response:
        data = _text(request)
        if not data or len(data) > MAX_TEXT:
            return Response.text("nothing to paste\n" if not data else "too large\n", 400 if not data else 413)
        key = "".join(self._around.chance.choices(ALPHABET, k=8))
        self._around.store.keep(key, data)
        self._pastes[key] = data
        url = f"{request.origin}/{key}"
        self._around.meant("paste.created", {"id": key, "url": url, "bytes": len(data)}, data)
        if "json" in request.header("accept"):
            return Response.json({"id": key, "url": url, "raw": f"{request.origin}/raw/{key}"}, 201)
        return Response.text(url + "\n", 201)

    def _read(self, key: str, *, raw: bool) -> Response:
        self._around.meant("paste.read", {"id": key})
        if raw:
            return Response(200, self._pastes[key], [("Content-Type", "text/plain; charset=utf-8")], stored=True)
        return Response.html(page.document(key, f"<pre>{escape(self._pastes[key].decode('utf-8', 'replace'))}</pre>"))


def _text(request: Request) -> bytes:
    """The pasted bytes: a form's text field or file, or the whole body, which is also what `curl -d` sends as a form."""
    kind = request.header("content-type").split(";")[0].strip()
    if kind == "multipart/form-data":
        return next((part.data for part in request.parts() if part.name in TEXT_FIELDS or part.filename), b"")
    form = kind == "application/x-www-form-urlencoded" and not request.body.lstrip().startswith(b"{")
    if form or kind == "application/json":
        try:
            fields = request.fields()
        except ValueError:
            return request.body
        return next((str(fields[name]).encode() for name in TEXT_FIELDS if name in fields), request.body)
    return request.body
