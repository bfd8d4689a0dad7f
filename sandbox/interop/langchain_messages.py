"""LangChain messages, as `messages_to_dict`, `dumpd` and `model_dump` write them; written is the first of the three.

Files are parsed as data: nothing of LangChain's loader, which makes objects from names, is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import JsonValue
from pydantic_core import to_json

from sandbox.errors import UsageError
from sandbox.events import Message
from sandbox.interop.messages import submission, usage_of
from sandbox.interop.transcript import (
    Asked,
    Result,
    Talk,
    Transcript,
    Turn,
    as_bytes,
    last_words,
    listing,
    mapping,
    parts_text,
    words,
)

FORMAT = "langchain-messages"
_TYPES = {
    "HumanMessage": "human",
    "AIMessage": "ai",
    "SystemMessage": "system",
    "ToolMessage": "tool",
    "FunctionMessage": "function",
    "AIMessageChunk": "ai",
    "HumanMessageChunk": "human",
}
_KNOWN = {"content", "type", "tool_calls", "tool_call_id", "usage_metadata", "status", "invalid_tool_calls", "example", "id"}


class Entry(NamedTuple):
    """A message of any of the three forms: its type in lower case, and its fields."""

    type: str
    fields: dict[str, Any]


def entry(value: Any) -> Entry | None:
    """`value` as a message, None where it is none of LangChain's."""
    plain = mapping(value)
    if isinstance(plain.get("data"), dict) and isinstance(plain.get("type"), str):
        return Entry(_TYPES.get(plain["type"], plain["type"]), plain["data"])
    if plain.get("lc") == 1 and isinstance(plain.get("kwargs"), dict):
        names = listing(plain.get("id"))
        last = names[-1] if names and isinstance(names[-1], str) else ""
        return Entry(_TYPES.get(last, last), plain["kwargs"])
    kind = plain.get("type")
    if isinstance(kind, str) and "role" not in plain and "content" in plain:
        return Entry(_TYPES.get(kind, kind), plain)
    return None


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The one trial of a list of messages, or of an object, such as a graph's state, that holds them. Raises UsageError."""
    state = mapping(document) or {"messages": document}
    messages = state.get("messages")
    if not isinstance(messages, list):
        raise UsageError(f"{name}: there is no list of messages.")
    transcript = Transcript(name)
    talk = Talk(transcript)
    for value in messages:
        message = entry(value)
        if message is None:
            talk.lost["list entries that are no messages"] += 1
        else:
            _read_message(message, talk)
    talk.close()
    transcript.submitted = submission(transcript)
    transcript.stop = "submitted" if transcript.submitted else "inert"
    transcript.claims = talk.clean_value({key: value for key, value in state.items() if key != "messages"})
    yield transcript


def write(transcript: Transcript, extras: dict[str, JsonValue]) -> bytes:
    """The document of one trial."""
    messages = []
    shown = {message.call_id for turn in transcript.turns for message in turn.delta if message.role == "tool"}
    for turn in transcript.turns:
        messages += [_plain(message, None) for message in turn.delta]
        messages.append(_plain(turn.reply, turn))
    late = [result for turn in transcript.turns for result in turn.results if result.call not in shown]
    messages += [_plain(Message(role="tool", content=last_words(r), call_id=r.call), None) for r in late]
    document = {"messages": messages, "metadata": {"belljar": extras}}
    return to_json(document, indent=1, inf_nan_mode="strings") + b"\n"


def _read_message(message: Entry, talk: Talk) -> None:
    fields = message.fields
    more = mapping(fields.get("additional_kwargs"))
    content, thought = parts_text(fields.get("content"), talk.lost)
    for key in fields.keys() - _KNOWN - {"additional_kwargs"}:
        if fields[key]:
            talk.lost[f"message fields `{str(key)[:40]}`"] += 1
    for key in more.keys() - {"reasoning_content", "tool_calls", "refusal"}:
        talk.lost[f"additional_kwargs `{str(key)[:40]}`"] += 1
    match message.type:
        case "ai":
            given = more.get("reasoning_content")
            reasoning = given if isinstance(given, str) else thought
            turn = talk.replied(content, list(_asked(fields, talk)), reasoning=reasoning)
            turn.usage = usage_of(fields.get("usage_metadata"))
        case "tool" | "function":
            result = Result("", as_bytes(content), "error" if fields.get("status") == "error" else "ok")
            talk.answered(words(fields.get("tool_call_id")) or words(fields.get("name")), content, result)
        case "human":
            talk.told("user", content)
        case "system":
            talk.told("system", content)
        case _:
            talk.lost[f"messages of type {message.type[:40]!r}"] += 1


def _asked(fields: dict[str, Any], talk: Talk) -> Iterator[Asked]:
    for call in map(mapping, listing(fields.get("tool_calls"))):
        if not words(call.get("name")):
            talk.lost["tool calls without a name"] += 1
            continue
        yield Asked(words(call.get("id")), words(call.get("name")), call.get("args", {}))
    for call in map(mapping, listing(fields.get("invalid_tool_calls"))):
        yield Asked(words(call.get("id")), words(call.get("name")) or "unnamed", call.get("args"))


def _plain(message: Message, turn: Turn | None) -> dict[str, Any]:
    kind = {"user": "human", "assistant": "ai"}.get(message.role, message.role)
    data: dict[str, Any] = {"content": message.content, "additional_kwargs": {}, "response_metadata": {}, "type": kind}
    if message.role == "assistant":
        data["tool_calls"] = [
            {"name": call.tool, "args": call.arguments, "id": call.id, "type": "tool_call"} for call in message.calls
        ]
        if message.reasoning is not None:
            data["additional_kwargs"] = {"reasoning_content": message.reasoning}
        if turn is not None and turn.usage.input_tokens is not None and turn.usage.output_tokens is not None:
            read_, written = turn.usage.input_tokens, turn.usage.output_tokens
            data["usage_metadata"] = {"input_tokens": read_, "output_tokens": written, "total_tokens": read_ + written}
    if message.role == "tool":
        data["tool_call_id"] = message.call_id
    return {"type": kind, "data": data}
