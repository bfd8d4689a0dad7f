"""The small pages that web servers write themselves: errors and redirects, in the look of the server that is imitated."""

from __future__ import annotations

from html import escape
from http import HTTPStatus


def reason(status: int) -> str:
    """The usual phrase for a status, as in `404 Not Found`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def error(status: int, server: str = "nginx") -> bytes:
    """The error page that nginx sends."""
    title = f"{status} {reason(status)}"
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
