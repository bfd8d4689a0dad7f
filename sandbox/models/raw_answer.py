"""The raw answer of an OpenAI-compatible server, made fit for a parser that expects only what is documented.

Servers send errors in a 200, tool calls that are not JSON, numbers that JSON lacks and half surrogates; each becomes
an exception with a meaning (`sandbox/models/provider_failure.py`) or data that can be written down, never a crash
and never a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, JsonValue

from sandbox.models.model import UNPARSED
from sandbox.models.provider_failure import ErrorAnswer, GarbledAnswer

_SURROGATE = re.compile("[\ud800-\udfff]")


def answer_body(response: object) -> dict[str, Any]:
    """The answer as a dictionary with at least one choice and only tool calls that parse. Raises GarbledAnswer, ErrorAnswer."""
    body = response.model_dump(warnings=False) if isinstance(response, BaseModel) else response
    if not isinstance(body, dict):
        raise GarbledAnswer(f"the answer is no JSON object: {str(body)[:120]!r}")
    choices = body.get("choices")
    for place in (body, *(choice for choice in choices or () if isinstance(choice, dict))):
        if error := place.get("error"):
            details = error if isinstance(error, dict) else {}
            code = details.get("code")
            raise ErrorAnswer(code if isinstance(code, int) else None, str(details.get("message") or error))
    if not isinstance(choices, list) or not choices or not all(_is_choice(choice) for choice in choices):
        raise GarbledAnswer(f"the answer has no choices, only {sorted(body)}")
    for choice in choices:
        message = choice["message"]
        message["tool_calls"] = [_tool_call(call) for call in message.get("tool_calls") or ()]
    return body


def _is_choice(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("message"), dict)


def _tool_call(raw: Mapping[str, Any]) -> dict[str, Any]:
    function = raw.get("function") or raw.get("custom") or {}
    arguments = function.get("arguments", function.get("input"))
    return {
        "id": str(raw.get("id") or ""),
        "type": "function",
        "function": {"name": str(function.get("name") or ""), "arguments": json.dumps(parse_arguments(arguments))},
    }


def parse_arguments(text: object) -> dict[str, JsonValue]:
    """Arguments as a model wrote them: a JSON object, as text or parsed, or nothing; anything else as `{UNPARSED: text}`.

    Numbers that JSON does not have (NaN, Infinity) make a text unparsable; it is never mended.
    """
    if isinstance(text, dict):
        return cast(dict[str, JsonValue], clean_json(text))
    if text is None or (isinstance(text, str) and not text.strip()):
        return {}
    try:
        value = json.loads(str(text), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return {UNPARSED: clean(str(text))}
    return cast(dict[str, JsonValue], clean_json(value))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def clean(text: str) -> str:
    """Lone surrogates, which JSON can carry and UTF-8 cannot, read as U+FFFD."""
    return _SURROGATE.sub("�", text)


def clean_json(value: Any) -> Any:
    """The same of every text inside a JSON value."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(str(key)): clean_json(item) for key, item in value.items()}
        case list():
            return [clean_json(item) for item in value]
        case _:
            return value
