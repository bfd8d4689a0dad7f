"""JSON Schemas of the files that an author writes, for editors that complete and check as one types."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sandbox.content import content
from sandbox.library.oracle import Oracle
from sandbox.scenario import Scenario
from sandbox.world.spec import WorldSpec

FILES: dict[str, type[BaseModel]] = {
    "scenario.schema.json": Scenario,
    "oracle.schema.json": Oracle,
    "world.schema.json": WorldSpec,
}
"""The schemas that lie in `scenarios/`, by file name."""

TEMPLATE = {"type": "string", "pattern": r"\{[{%]"}
"""A text that is something else once its template is filled."""

_STRICT_TEXT = ("pattern", "format", "maxLength")


def schema_text(model: type[BaseModel]) -> str:
    """The schema of one kind of file, as it is written to a file."""
    plain = model.model_json_schema()
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **(authored(plain) if model is WorldSpec else plain)}
    return json.dumps(found, indent=1) + "\n"


def authored(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of data before its arm is chosen and its templates are filled: any entry of a list may say `when` it belongs,
    and whatever is not free text may be a template."""
    parts = {name: _mapped(_with_when(part), _or_template) for name, part in schema["$defs"].items()}
    return {**_mapped({key: value for key, value in schema.items() if key != "$defs"}, _or_template), "$defs": parts}


def _with_when(part: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in part:
        return part
    levels = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    when = {"type": "object", "additionalProperties": levels, "description": "Levels of factors where this belongs."}
    return {**part, "properties": {**part["properties"], "when": when}}


def _mapped(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """`schema` with `change` made to every schema inside it, the innermost first; names of properties are left alone."""
    if isinstance(schema, list):
        return [_mapped(item, change) for item in schema]
    if not isinstance(schema, dict):
        return schema
    named = ("properties", "patternProperties")
    inner = {
        key: {name: _mapped(part, change) for name, part in value.items()}
        if key in named
        else value
        if key in ("default", "enum", "const", "propertyNames", "required", "discriminator")
        else _mapped(value, change)
        for key, value in schema.items()
    }
    return change(inner)


def _or_template(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    strict = kind in ("integer", "number", "boolean") or "enum" in schema
    strict = strict or (kind == "string" and any(key in schema for key in _STRICT_TEXT))
    if not strict:
        return schema
    about = ("title", "description", "default")
    outer: dict[str, Any] = {key: schema[key] for key in about if key in schema}
    return {**outer, "anyOf": [{key: value for key, value in schema.items() if key not in about}, TEMPLATE]}


def schema_comment(target: Path, kind: str) -> str:
    """The first line of a YAML file at `target`, by which editors know that it is a `scenario`, a `world` or an `oracle`."""
    library = content("scenarios").resolve()
    schema = library / f"{kind}.schema.json"
    inside = target.resolve().is_relative_to(library)
    place = os.path.relpath(schema, target.resolve().parent) if inside else schema
    return f"# yaml-language-server: $schema={place}\n"
