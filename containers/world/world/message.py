"""A request as the world's parties see it, and the response they give."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .budget import Refused

Headers = list[tuple[str, str]]

MAX_FIELDS = 4 * 1024 * 1024
"""Largest body that is read as named values: parsed, it is many times as large."""

MAX_VALUES = 1000
MAX_PARTS = 1000
MAX_PART_HEAD = 16 * 1024
SLICE = 64 * 1024
"""Bytes that are sent at a time."""


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
        return _values(urlsplit(self.target).query)

    def header(self, name: str, default: str = "") -> str:
        """The first header of this name, any case."""
        name = name.lower()
        return next((value for key, value in self.headers if key == name), default)

    def fields(self) -> dict[str, Any]:
        """The body as named values: a JSON object, or a URL-encoded or multipart form; JSON that `curl -d` calls a form is
        read as JSON. ValueError if it is none of them, Refused if it is too large to be one."""
        kind = self.header("content-type").split(";")[0].strip().lower()
        if kind == "multipart/form-data":
            return values_of(self.parts())
        _small_enough(len(self.body))
        if kind == "application/x-www-form-urlencoded" and not self.body.lstrip().startswith(b"{"):
            return dict(_values(self.body.decode("utf-8", "replace")))
        value = json.loads(self.body or b"{}", parse_constant=_finite, parse_float=_finite)
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
    """What goes back. `stream`, with `size` in bytes, takes the place of `body` for what is too large to hold. `stored` says
    that the body is kept anyway, so that to send it costs no memory; `held` are bytes of the budget for what is under way
    that it has taken already, to be released once it is sent."""

    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=list)
    stream: Iterator[bytes] | None = None
    size: int = 0
    stored: bool = False
    held: int = 0

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


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a `Range` header asks for of `size`; None where the whole is to be sent (RFC 9110, 14.2).

    Refused with 416 where there is no such byte.
    """
    asked = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", header.strip())
    if not asked or asked[1] == asked[2] == "":
        return None
    first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
    last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if asked[1] and asked[2] and int(asked[2]) < first:
        return None
    if first >= size:
        raise Refused(416, "no such range", ("Content-Range", f"bytes */{size}"))
    return first, last


def slices(data: bytes, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """`data` from `start` to before `end`, in pieces that can be sent one by one."""
    stop = len(data) if end is None else end
    for place in range(start, stop, SLICE):
        yield data[place : min(place + SLICE, stop)]


def values_of(parts: list[Part]) -> dict[str, str]:
    """The ordinary fields of a form. Refused when they are too large together."""
    fields = [part for part in parts if not part.filename]
    _small_enough(sum(len(part.data) for part in fields))
    return {part.name: part.data.decode("utf-8", "replace") for part in fields}


def _finite(number: str) -> float:
    """A number that JSON can hold, which NaN and the infinities are not."""
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:20]} is no number in JSON")
    return value


def _small_enough(size: int) -> None:
    if size > MAX_FIELDS:
        raise Refused(413, f"{size} bytes are too many for named values")


def _values(text: str) -> dict[str, str]:
    """The values of a query; of one given twice the last. ValueError for too many."""
    return {k: v[-1] for k, v in parse_qs(text, keep_blank_values=True, max_num_fields=MAX_VALUES).items()}


def _multipart(content_type: str, body: bytes) -> Iterator[Part]:
    """The parts between the boundaries, which begin a line (RFC 2046, 5.1.1)."""
    boundary = next((p.strip()[9:].strip('"') for p in content_type.split(";") if p.strip().startswith("boundary=")), "")
    if not boundary:
        raise ValueError("a multipart body needs a boundary")
    mark = b"\r\n--" + boundary.encode()
    first = -2 if body.startswith(mark[2:]) else body.find(mark)
    if first == -1:
        raise ValueError("a multipart body must begin with its boundary")
    place = first + len(mark)
    for _ in range(MAX_PARTS):
        if body.startswith(b"--", place):
            return
        end = body.find(mark, place)
        if end < 0:
            raise ValueError("a multipart body must end with its boundary")
        start = body.find(b"\r\n\r\n", place, min(end + 2, place + MAX_PART_HEAD))
        if start < 0:
            raise ValueError("a part of a multipart body needs a head")
        names = _disposition(body[place:start].decode("utf-8", "replace"))
        yield Part(names.get("name", ""), names.get("filename", ""), body[start + 4 : end])
        place = end + len(mark)
    raise ValueError("a multipart body has too many parts")


def _disposition(head: str) -> dict[str, str]:
    line = next((h for h in head.splitlines() if h.lower().startswith("content-disposition:")), "")
    pairs = (item.strip().partition("=") for item in line.split(";")[1:])
    return {name.lower(): value.strip('"') for name, _, value in pairs}
