"""What the values of a world file must be beyond their types. Each function raises a ValueError that says what is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_GIT = (".git", "git~1")


def once(what: str, names: Iterable[str]) -> None:
    """No two of the same name."""
    seen = list(names)
    if twice := sorted({name for name in seen if seen.count(name) > 1}):
        raise ValueError(f"{what} declared twice: {', '.join(twice)}")


def tree(files: Mapping[str, str]) -> Mapping[str, str]:
    """Paths of files that can lie in one folder, of a repository too."""
    for path in files:
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or _CONTROL.search(path) or path.startswith('"'):
            raise ValueError(f"{path!r} cannot be the path of a file in here")
        if any(part.lower().rstrip(". ") in _GIT for part in parts):
            raise ValueError(f"{path!r} is in a folder of git's own, which no repository can hold")
        if above := next((str(folder) for folder in PurePosixPath(path).parents if str(folder) in files), None):
            raise ValueError(f"{above!r} is a file, and with {path!r} a folder too")
    return files


def header(value: str) -> str:
    """A header's value that can be sent."""
    if _CONTROL.search(value) or not value.isascii() or value != value.strip():
        raise ValueError(f"{value[:80]!r} cannot be sent in a header: it takes one line of ASCII, without spaces around it")
    return value


def headers(given: Mapping[str, str]) -> Mapping[str, str]:
    """Headers whose names and values can be sent."""
    for name, value in given.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name[:80]!r} cannot be the name of a header")
        header(value)
    return given


def encoded(text: str) -> str:
    """Base64, on several lines where it is long."""
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"not base64: {error}") from None
    return text
