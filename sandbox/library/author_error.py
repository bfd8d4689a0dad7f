"""An author's mistake, said so that it can be mended: pydantic's errors as file, line, what is wrong and the fix."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from sandbox.errors import ScenarioError
from sandbox.library.document import Document, Path
from sandbox.library.mistakes import joined


def author_error(document: Document, model: type[BaseModel], error: ValidationError) -> ScenarioError:
    """All of the errors, causes before what follows from them: the first with its fix, the others in lines behind it."""
    found = sorted(error.errors(), key=lambda e: (_RANK.get(e["type"], 1), document.line(_path(document, e["loc"]))))
    return joined([_one(document, model, each) for each in found if not _tells_less(each, found, document)])


def _tells_less(error: Any, all_errors: Sequence[Any], document: Document) -> bool:
    """Whether it only says that another form does not fit, of something that another error lies in."""
    place = _there(document, error["loc"])
    inside = (_there(document, other["loc"]) for other in all_errors if other is not error)
    return error["type"] in _FORMS and any(len(deep) > len(place) and deep[: len(place)] == place for deep in inside)


def _there(document: Document, location: tuple[int | str, ...]) -> Path:
    """The part of an error's location that the document has."""
    path = _path(document, location)
    here = document.data
    for place, part in enumerate(path):
        if not (isinstance(here, dict) and part in here) and not (isinstance(here, list) and isinstance(part, int)):
            return path[:place]
        here = here[part]  # type: ignore[index]
    return path


def _one(document: Document, model: type[BaseModel], first: Any) -> ScenarioError:
    path = _path(document, first["loc"])
    message, fix = _explained(first, path, model)
    if first["type"] == "union_tag_invalid":
        path = (*path, str(first.get("ctx", {}).get("discriminator", "")).strip("'"))
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return ScenarioError(
        f"{place or model.__name__.removesuffix('Spec').lower()}: {message}.",
        fix or _DEFAULT,
        file=document.file,
        line=document.line(path),
    )


def _explained(first: Any, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and the fix, empty where there is none to name."""
    context, kind = first.get("ctx", {}), first["type"]
    message, fix = _PLAIN.get(kind, (str(first["msg"]).removeprefix("Value error, "), ""))
    match kind:
        case "extra_forbidden":
            keys = _keys(_model_at(model, first["loc"][:-1]))
            near = difflib.get_close_matches(str(path[-1]), keys, n=1)
            known = f"Known here: {', '.join(keys)}." if keys else ""
            fix = f"Did you mean `{near[0]}`?" if near else known
        case "missing":
            fix = f"Add `{path[-1]}:` here; scenarios/README.md says what it holds."
        case "literal_error":
            fix = _near_word(first.get("input"), str(context.get("expected", "")).replace(" or ", ","))
        case "union_tag_invalid":
            message = f"there is no {context.get('tag')!r}"
            fix = _near_word(context.get("tag"), str(context.get("expected_tags", "")))
        case "string_pattern_mismatch":
            pattern = str(context.get("pattern"))
            message = f"{str(first.get('input'))[:60]!r} has not the form {pattern}"
            fix = _PATTERN_FIXES.get(pattern, "")
    return message, fix


_RANK = {"extra_forbidden": 0, "missing": 2, "too_short": 3}
"""A misspelt key leaves another one missing; an entry that does not fit leaves its list too short."""

_FORMS = ("model_type", "dict_type", "tuple_type", "list_type", "string_type")

_PLAIN = {
    "extra_forbidden": ("there is no such key", ""),
    "missing": ("this is missing", ""),
    "model_type": ("this is a mapping", "Write `key: value` lines here."),
    "dict_type": ("this is a mapping", "Write `key: value` lines here."),
    "tuple_type": ("this is a list", "Write a list, one `- …` a line."),
    "list_type": ("this is a list", "Write a list, one `- …` a line."),
    "string_type": ("this is a text", "Put the value into quotes."),
}

_DEFAULT = "See scenarios/README.md for what belongs here."

_PATTERN_FIXES = {
    r"^/": "Write an absolute path.",
    r"^0[0-7]{3}$": "Write the mode as four octal digits, for example 0644.",
    r"^[a-z][a-z0-9_]*$": "An id is lower-case letters, digits and underscores, and begins with a letter.",
}


def _path(document: Document, location: tuple[int | str, ...]) -> Path:
    """Where in the document an error lies: its location without the names of variants, which pydantic puts in between."""
    path: list[int | str] = []
    here = document.data
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int) and part < len(here)):
            here = here[part]  # type: ignore[index]
            path.append(part)
        elif last and part != "[key]":
            path.append(part)
    return tuple(path)


def _near_word(word: object, expected: str) -> str:
    words = [known.strip("' ") for known in expected.split(",")]
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(words)}."


def _keys(model: Any) -> list[str]:
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_at(model: Any, location: tuple[int | str, ...]) -> Any:
    """The model that describes what lies at `location`, None where it is not a model."""
    here: Any = model
    for part in location:
        variants = typing.get_args(here) if typing.get_origin(here) in (typing.Union, types.UnionType) else ()
        if variants:
            here = next((v for v in variants if part in _tags(v)), None)
        elif isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:
            here = _inner(here)
        here = _unwrapped(here)
    return here


def _tags(variant: Any) -> tuple[Any, ...]:
    """What the `type` of a variant may be."""
    variant = _unwrapped(variant)
    field = variant.model_fields.get("type") if isinstance(variant, type) and issubclass(variant, BaseModel) else None
    return typing.get_args(field.annotation) if field is not None else ()


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
