"""The small pages that web servers write themselves: errors and redirects, in the look of the server that is imitated."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

_NGINX = {
    405: "Not Allowed",
    408: "Request Time-out",
    413: "Request Entity Too Large",
    414: "Request-URI Too Large",
    416: "Requested Range Not Satisfiable",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}
"""Phrases of nginx's own, in the answer's first line and on the page."""


def reason(status: int, server: str = "") -> str:
    """The phrase for a status in an answer's first line, as in `404 Not Found`: the usual one, or the server's own."""
    own = {**_NGINX, 302: "Moved Temporarily"} if server.startswith("nginx") else {}
    return own.get(status) or _usual(status)


def _usual(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def error(status: int, server: str = "nginx") -> bytes:
    """The page that nginx sends with an error or a redirect."""
    own = {**_NGINX, 401: "Authorization Required"} if server.startswith("nginx") else {}
    title = f"{status} {own.get(status) or _usual(status)}"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        f"<hr><center>{escape(server)}</center>\r\n</body>\r\n</html>\r\n"
    ).encode()


def document(title: str, body: str) -> bytes:
    """A plain page of an internal tool; `title` is escaped, `body` is markup."""
    style = "body{font:15px/1.5 sans-serif;max-width:52rem;margin:2rem auto;color:#222}td,th{text-align:left;padding:.2rem}"
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{style}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    ).encode()
