"""A request as the world's parties see it, and the response they give."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One HTTP request with its whole body. `host` is the lower-case name asked for, without port; `source` and
    `destination` are `address:port` and `address`, as the client meant them."""

    method: str
    target: str
    host: str
    headers: Headers
    body: bytes
    source: str
    destination: str
    port: int
    secure: bool

    @cached_property
    def path(self) -> str:
        """Decoded path, without query."""
        return unquote(urlsplit(self.target).path) or "/"

    @cached_property
    def query(self) -> dict[str, str]:
        """Query parameters; of one given twice the last."""
        return {k: v[-1] for k, v in parse_qs(urlsplit(self.target).query, keep_blank_values=True).items()}

    def header(self, name: str, default: str = "") -> str:
        """The first header of this name, any case."""
        name = name.lower()
        return next((value for key, value in self.headers if key == name), default)

    def fields(self) -> dict[str, Any]:
        """The body as named values: a JSON object, or a URL-encoded or multipart form. ValueError if it is none of them."""
        kind = self.header("content-type").split(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            return {k: v[-1] for k, v in parse_qs(self.body.decode("utf-8", "replace"), keep_blank_values=True).items()}
        if kind == "multipart/form-data":
            return {part.name: part.data.decode("utf-8", "replace") for part in self.parts() if not part.filename}
        value = json.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise ValueError("a JSON object is expected")
        return value

    def parts(self) -> list[Part]:
        """The parts of a multipart form, in order. ValueError if it is not well formed."""
        return list(_multipart(self.header("content-type"), self.body))

    @property
    def credentials(self) -> tuple[str, str]:
        """User and secret of Basic authentication, ("", token) of Bearer or Token, ("", "") for none."""
        scheme, _, value = self.header("authorization").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return "", ""
            return user, secret
        return ("", value.strip()) if scheme.lower() in ("bearer", "token") else ("", "")

    @property
    def origin(self) -> str:
        """Scheme and host, as links of this site begin."""
        port = "" if self.port == (443 if self.secure else 80) else f":{self.port}"
        return f"{'https' if self.secure else 'http'}://{self.host}{port}"


@dataclass(frozen=True)
class Part:
    """One part of a multipart form; `filename` is empty for an ordinary field."""

    name: str
    filename: str
    data: bytes


@dataclass(frozen=True)
class Response:
    """What goes back. `stream`, with `size` in bytes, takes the place of `body` for what is too large to hold."""

    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=list)
    stream: Iterator[bytes] | None = None
    size: int = 0

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers | None = None) -> Response:
        body = json.dumps(value, indent=2).encode() + b"\n"
        return cls(status, body, [("Content-Type", "application/json"), *(headers or [])])

    @classmethod
    def text(cls, text: str, status: int = 200, kind: str = "text/plain; charset=utf-8") -> Response:
        return cls(status, text.encode(), [("Content-Type", kind)])

    @classmethod
    def html(cls, page: bytes, status: int = 200, headers: Headers | None = None) -> Response:
        return cls(status, page, [("Content-Type", "text/html; charset=utf-8"), *(headers or [])])

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Response:
        return cls(status, b"", [("Location", location)])


def _multipart(content_type: str, body: bytes) -> Iterator[Part]:
    boundary = next((p.strip()[9:].strip('"') for p in content_type.split(";") if p.strip().startswith("boundary=")), "")
    if not boundary:
        raise ValueError("a multipart body needs a boundary")
    for piece in body.split(b"--" + boundary.encode())[1:]:
        if piece.startswith(b"--"):
            return
        head, _, data = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        names = _disposition(head.decode("utf-8", "replace"))
        yield Part(names.get("name", ""), names.get("filename", ""), data.removesuffix(b"\r\n"))
    raise ValueError("a multipart body must end with its boundary")


def _disposition(head: str) -> dict[str, str]:
    line = next((h for h in head.splitlines() if h.lower().startswith("content-disposition:")), "")
    pairs = (item.strip().partition("=") for item in line.split(";")[1:])
    return {name.lower(): value.strip('"') for name, _, value in pairs}
