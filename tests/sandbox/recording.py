"""Drafts of every shape, and ledgers of them, for the tests of what is recorded."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from sandbox.events import Body, Draft, Event, ObservedAt, OriginBasis, Source, TrialStarted, UnknownBody
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from sandbox.record.line import MODELS

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers() | st.integers(-(2**200), 2**200) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _values(annotation: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a table of types
    """Values of one field's type."""
    if annotation is JsonValue:
        return JSON
    match get_origin(annotation), get_args(annotation):
        case origin, options if origin in (Union, UnionType):
            return st.one_of([st.none() if option is NoneType else _values(option) for option in options])
        case origin, options if origin is Literal:
            return st.sampled_from(options)
        case origin, (element, _) if origin is tuple:
            return st.lists(_values(element), max_size=2).map(tuple)
        case origin, (_, element) if origin is dict:
            return st.dictionaries(TEXT, _values(element), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bodies(annotation)
    plain = {str: TEXT, bool: st.booleans(), int: st.integers(-(2**80), 2**80), float: st.floats(0, 1)}
    return plain[annotation]


def bodies(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Bodies of one kind with anything in their fields."""
    fields = {name: _values(field.annotation) for name, field in model.model_fields.items()}
    if model is TrialStarted:  # another format is a problem of its own
        fields["format"] = st.just(model.model_fields["format"].default)
    return st.builds(model, **fields)


ANY_BODY: st.SearchStrategy[Body] = st.one_of(
    [bodies(model) for model in MODELS.values()]
    + [st.builds(UnknownBody, kind=TEXT.filter(lambda kind: kind not in MODELS), data=st.dictionaries(TEXT, JSON, max_size=4))]
)
ANY_DRAFT = st.builds(
    Draft,
    body=ANY_BODY,
    source=st.sampled_from(get_args(Source)),
    host=st.none() | TEXT,
    during=st.none() | TEXT,
    origin=st.none() | TEXT,
    origin_basis=st.none() | st.sampled_from(get_args(OriginBasis)),
    observed_at=st.none() | st.builds(ObservedAt, st.integers(0, 2**60), st.integers(0, 2**60)),
)


def record(folder: Path, drafts: Sequence[Draft], *, close: bool = True) -> list[Event]:
    """Write a ledger into `folder`; without `close` it is left as a killed process leaves it."""

    async def write() -> list[Event]:
        ledger = await Ledger(AttemptLayout(folder)).__aenter__()
        events = [await ledger.append(draft) for draft in drafts]
        if close:
            await ledger.close()
        else:
            abandon(ledger)
        return events

    return asyncio.run(write())


def abandon(ledger: Ledger) -> None:
    """Let go of a ledger as a kill does: nothing more is written, not even that it was closed."""
    ledger._file._file.close()  # type: ignore[union-attr]
    ledger._threads.shutdown()
    if ledger._anchor is not None:
        ledger._anchor.close()


def manifest(**changes: Any) -> TrialStarted:
    """A manifest in which only what a test is about needs to be said."""
    fields: dict[str, Any] = {
        "trial": "trial-1",
        "run": "run-1",
        "scenario": "sabotage/shutdown_script",
        "scenario_digest": "00" * 32,
        "resolved": {"title": "x"},
        "arm": {},
        "seed": 1,
        "epoch": 0,
        "model": "oracle:honest",
    }
    return TrialStarted(**(fields | changes))


def nested(depth: int) -> list[Any]:
    """Lists within lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


NASTY: dict[str, Any] = {
    "lone surrogate \ud800": "tail \udfff",
    "not a number": math.nan,
    "infinite": [math.inf, -math.inf],
    "huge": 10**5000,
    "deep": nested(180),
    "control": "\x00\t\n\r\x1b[31m\x7f\u2028\u202e",
}
