"""Ordinary web sites, from data: pages and small JSON APIs, redirects, robots.txt, paywalls, logins and rate limits."""

from __future__ import annotations

import base64
import json
import mimetypes
import random
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from . import page
from .budget import Refused
from .collection import Collection
from .message import Headers, Request, Response, byte_range
from .past import moment
from .surroundings import Surroundings

STREAM_BLOCK = 256 * 1024


class Site:
    """One site. Options are those of `SiteSpec` in `sandbox/world/spec.py`."""

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._options = options
        self.server: str = options["server"]
        self._routes = {(route["method"], route["path"]): route for route in options["routes"]}
        self._paths = {path for _, path in self._routes}
        self._taken: dict[str, list[int]] = {}
        self._collections = [Collection(around, collection) for collection in options.get("collections", ())]

    async def answer(self, request: Request) -> Response:
        """The declared answer, behind the site's own barriers, in the order a real server raises them."""
        if self._options["https_only"] and not request.secure:
            return self._moved(301, f"https://{request.host}{request.target}")
        return self._limited(request) or self._locked(request) or self._found(request)

    def state(self) -> dict[str, Any]:
        return {collection.path: collection.state() for collection in self._collections}

    def _limited(self, request: Request) -> Response | None:
        limit = self._options["rate_limit"]
        if limit is None:
            return None
        since = self._around.clock.step - limit["per_steps"]
        client = request.source.rpartition(":")[0]
        recent = [step for step in self._taken.get(client, []) if step > since]
        self._taken[client] = recent
        if len(recent) >= limit["requests"]:
            self._barrier("rate_limited", request)
            return Response.html(page.error(429, self.server), 429, [("Retry-After", "60")])
        recent.append(self._around.clock.step)
        return None

    def _locked(self, request: Request) -> Response | None:
        """401 or 403 for a path behind a login; what the attempt was is recorded either way."""
        for lock in self._options["locks"]:
            if not request.path.startswith(lock["path"]):
                continue
            user, secret = request.credentials
            whose = "own" if user in lock["own"] or secret in lock["own"] else "other" if user or secret else "none"
            if secret and ([user, secret] in lock["users"] or (not user and secret in lock["tokens"])):
                self._barrier("passed", request, user, whose)
                return None
            self._barrier("denied", request, user, whose)
            if lock["challenge"]:
                return Response.html(
                    page.error(401, self.server), 401, [("WWW-Authenticate", f'Basic realm="{lock["realm"]}"')]
                )
            return Response.html(lock["page"].encode() or page.error(403, self.server), lock["status"])
        return None

    def _found(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        path = request.path
        route = self._routes.get((method, path)) or self._routes.get((method, path.rstrip("/") + "/index.html"))
        route = route or self._under_prefix(method, path)
        if route is not None:
            return self._given(route, request)
        if collection := next((each for each in self._collections if each.holds(path)), None):
            return collection.answer(request)
        if path in self._paths or (method not in ("GET", "POST") and not self._paths):
            return Response.html(page.error(405, self.server), 405)
        return Response.html(self._options["not_found"].encode() or page.error(404, self.server), 404)

    def _under_prefix(self, method: str, path: str) -> dict[str, Any] | None:
        """The longest route that ends in `*` and begins this path."""
        fitting = [
            route
            for (route_method, route_path), route in self._routes.items()
            if route_method == method and route_path.endswith("*") and path.startswith(route_path[:-1])
        ]
        return max(fitting, key=lambda route: len(route["path"]), default=None)

    def _given(self, route: dict[str, Any], request: Request) -> Response:
        headers: Headers = [(key, value) for key, value in route["headers"].items()]
        if route["meaning"]:
            self._around.meant(route["meaning"], {"path": request.path, "method": request.method}, request.body)
        if route["redirect"]:
            return self._moved(route["status"], route["redirect"], headers)
        body, kind = _body(route)
        headers = _completed(headers, [("Content-Type", kind)])
        return self._file(route, body, headers, request) if _is_file(route) else Response(route["status"], body, headers)

    def _moved(self, status: int, location: str, headers: Headers | None = None) -> Response:
        told = _completed(headers or [], [("Location", location), ("Content-Type", "text/html")])
        return Response(status, page.error(status, self.server), told)

    def _file(self, route: dict[str, Any], body: bytes, headers: Headers, request: Request) -> Response:
        """A file as servers send it: whole, or the range that is asked for, or 304 to who has it; one of only a `size` has
        bytes that the seed decides."""
        size, made = route["size"] or len(body), moment(self._around.host, route["path"])
        marks = [("Last-Modified", formatdate(made, usegmt=True)), ("ETag", f'"{made:x}-{size:x}"'), ("Accept-Ranges", "bytes")]
        headers = _completed(headers, marks)
        told = {key.lower(): value for key, value in headers}
        if _is_known(request, told):
            return Response(304, b"", [(key, value) for key, value in headers if key.lower() != "content-type"])
        fits = request.method == "GET" and request.header("if-range") in ("", told["etag"], told["last-modified"])
        try:
            wanted = byte_range(request.header("range"), size) if fits else None
        except Refused as error:
            return Response.html(page.error(error.status, self.server), error.status, error.headers)
        first, last = wanted or (0, size - 1)
        if wanted:
            headers.append(("Content-Range", f"bytes {first}-{last}/{size}"))
        if not route["size"]:
            return Response(206 if wanted else 200, body[first : last + 1], headers)
        stream = _noise(f"{self._around.id}{route['path']}", first, last + 1)
        return Response(206 if wanted else 200, b"", headers, stream, last + 1 - first)

    def _barrier(self, what: str, request: Request, user: str = "", login: str = "none") -> None:
        subject = {"path": request.path, "host": request.host, "user": user, "login": login}
        self._around.meant(f"barrier.{what}", subject)


def _completed(headers: Headers, more: Headers) -> Headers:
    """Headers with those of `more` that are not among them."""
    given = {key.lower() for key, _ in headers}
    return [*headers, *((key, value) for key, value in more if key.lower() not in given)]


def _is_file(route: dict[str, Any]) -> bool:
    """Whether a server would have this on its disk, and not make it for each request."""
    return bool(route["size"]) or (
        (route["method"], route["status"], route["json"]) == ("GET", 200, None) and not route["path"].endswith("*")
    )


def _is_known(request: Request, told: dict[str, str]) -> bool:
    """Whether the client has what it asks for, by the mark or the date that it was told before (RFC 9110, 13.1)."""
    if request.method not in ("GET", "HEAD"):
        return False
    if marks := request.header("if-none-match"):
        return marks.strip() == "*" or told["etag"] in [mark.strip().removeprefix("W/") for mark in marks.split(",")]
    return request.header("if-modified-since") == told["last-modified"]


def _body(route: dict[str, Any]) -> tuple[bytes, str]:
    """The bytes of a route and their type, as the author gave them or as the path's ending says."""
    if route["size"]:
        return b"", "application/octet-stream"
    if route["json"] is not None:
        return json.dumps(route["json"], indent=2).encode() + b"\n", "application/json"
    if route["base64"] is not None:
        return base64.b64decode(route["base64"]), _type(route["path"], "application/octet-stream")
    if route["html"] is not None:
        return route["html"].encode(), "text/html; charset=utf-8"
    return (route["text"] or "").encode(), _type(route["path"], "text/plain; charset=utf-8")


def _type(path: str, default: str) -> str:
    kind = mimetypes.guess_type(path)[0]
    return default if kind is None else f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def _noise(seed: str, start: int, size: int) -> Iterator[bytes]:
    """Bytes `start` to before `size` of an endless file: one seeded block over and over."""
    block = random.Random(seed).randbytes(STREAM_BLOCK)  # noqa: S311 - contents of a file, not a secret
    while start < size:
        offset = start % STREAM_BLOCK
        piece = block[offset : offset + size - start]
        start += len(piece)
        yield piece
