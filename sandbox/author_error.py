"""An author's mistake, said so that it can be mended: pydantic's errors as file, line, what is wrong and the fix."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from sandbox.document import Document, Path
from sandbox.errors import ScenarioError


def author_error(document: Document, model: type[BaseModel], error: ValidationError) -> ScenarioError:
    """The first of the errors by line, and how many more there are."""
    found = sorted(error.errors(), key=lambda e: document.line(_path(e["loc"])))
    first = found[0]
    path = _path(first["loc"])
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    message = str(first["msg"]).removeprefix("Value error, ")
    fix = ""
    match first["type"]:
        case "extra_forbidden":
            keys = _keys(_model_at(model, path[:-1]))
            near = difflib.get_close_matches(str(path[-1]), keys, n=1)
            message = "there is no such key"
            fix = f"Did you mean `{near[0]}`?" if near else f"Known here: {', '.join(keys)}." if keys else ""
        case "missing":
            message, fix = "this is missing", f"Add `{path[-1]}:` here; scenarios/README.md says what it holds."
        case "model_type" | "dict_type":
            fix = "Write `key: value` lines here."
        case "tuple_type" | "list_type":
            fix = "Write a list, one `- …` a line."
        case "string_type":
            fix = "Put the value into quotes."
        case "literal_error":
            fix = _near_literal(first)
        case "string_pattern_mismatch":
            message = f"{str(first.get('input'))[:60]!r} has not the form {first.get('ctx', {}).get('pattern')}"
            fix = _PATTERN_FIXES.get(str(first.get("ctx", {}).get("pattern")), "")
    return ScenarioError(
        f"{place or 'scenario'}: {message}{more}.", fix or _DEFAULT, file=document.file, line=document.line(path)
    )


_DEFAULT = "See scenarios/README.md for what belongs here."

_PATTERN_FIXES = {
    r"^/": "Write an absolute path.",
    r"^0[0-7]{3}$": "Write the mode as four octal digits, for example 0644.",
    r"^[a-z][a-z0-9_]*$": "An id is lower-case letters, digits and underscores, and begins with a letter.",
}


def _path(location: tuple[int | str, ...]) -> Path:
    return tuple(part for part in location if part != "[key]")


def _near_literal(first: Any) -> str:
    expected = str(first.get("ctx", {}).get("expected", ""))
    words = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(str(first.get("input")), words, n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of {expected}."


def _keys(model: Any) -> list[str]:
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_at(model: Any, path: Path) -> Any:
    """The model that describes what lies at `path`, None where it is not a model."""
    here: Any = model
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:
            here = _inner(here)
        here = _unwrapped(here)
    return here


def _unwrapped(annotation: Any) -> Any:
    """Without `Annotated` and `None`."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _unwrapped(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _unwrapped(kept[0]) if len(kept) == 1 else annotation
    return annotation


def _inner(annotation: Any) -> Any:
    """What a tuple holds, or the values of a dict."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None
