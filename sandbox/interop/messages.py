"""OpenAI-style message lists: `role`, `content`, `tool_calls`, `tool_call_id`, and `reasoning` or `reasoning_content`.

Read are a list, an object with `messages`, and JSON Lines of such objects (one trial a line). Written is an object with
`messages`, which can be sent to a provider as it stands, and `metadata.belljar`, which brings ours back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from sandbox.errors import UsageError
from sandbox.events import Message, Usage
from sandbox.interop.transcript import (
    Asked,
    Result,
    Submission,
    Talk,
    Transcript,
    as_bytes,
    last_words,
    listing,
    mapping,
    parts_text,
    whole,
    words,
)

FORMAT = "openai-messages"
_KNOWN = {"role", "content", "tool_calls", "tool_call_id", "reasoning", "reasoning_content", "name", "refusal", "function_call"}
_DOCUMENT = {"messages", "metadata", "model", "id", "label", "usage"}


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The one trial of a document. Raises UsageError."""
    whole_document = mapping(document) or {"messages": document}
    messages = whole_document.get("messages")
    if not isinstance(messages, list):
        raise UsageError(f"{name}: there is no list of messages.")
    identity = whole_document.get("id")
    title = str(identity) if isinstance(identity, str | int) else name
    transcript = Transcript(title, model=words(whole_document.get("model")))
    talk = Talk(transcript)
    for message in messages:
        _read_message(message, talk)
    talk.close()
    transcript.submitted = submission(transcript)
    transcript.stop = "submitted" if transcript.submitted else "inert"
    claims = {key: value for key, value in whole_document.items() if key not in ("messages", "model")}
    transcript.claims = talk.clean_value(claims)
    yield transcript


def write(transcript: Transcript, extras: dict[str, JsonValue]) -> bytes:
    """The document of one trial."""
    document = {"model": transcript.model, "messages": list(_messages(transcript)), "metadata": {"belljar": extras}}
    return to_json(document, indent=1, inf_nan_mode="strings") + b"\n"


def submission(transcript: Transcript) -> Submission | None:
    """The close of the task as a call of a tool named `submit` gives it; the last one counts."""
    for turn in reversed(transcript.turns):
        for call in reversed(turn.reply.calls):
            if call.tool == "submit":
                fields = call.arguments.get("fields")
                report = next(
                    (words(call.arguments.get(k)) for k in ("report", "answer", "submission") if k in call.arguments), ""
                )
                status = words(call.arguments.get("status")) or "completed"
                return Submission(report, status, call.id, fields if isinstance(fields, dict) else {})
    return None


def _read_message(message: Any, talk: Talk) -> None:
    if not isinstance(message, dict):
        talk.lost["list entries that are no messages"] += 1
        return
    for key in message.keys() - _KNOWN:
        talk.lost[f"message fields `{str(key)[:40]}`"] += 1
    content, thought = parts_text(message.get("content"), talk.lost)
    role = message.get("role")
    if role == "assistant":
        reasoning = next((message[k] for k in ("reasoning", "reasoning_content") if isinstance(message.get(k), str)), thought)
        talk.replied(content or words(message.get("refusal")), list(_asked(message, talk)), reasoning=reasoning)
    elif role in ("tool", "function"):
        _read_answer(message, content, talk)
    elif role in ("system", "developer", "user"):
        talk.told("user" if role == "user" else "system", content)
    else:
        talk.lost[f"messages of role {str(role)[:40]!r}"] += 1


def _asked(message: dict[str, Any], talk: Talk) -> Iterator[Asked]:
    for call in listing(message.get("tool_calls")):
        function = mapping(mapping(call).get("function")) or mapping(call)
        if not words(function.get("name")):
            talk.lost["tool calls without a name"] += 1
            continue
        yield Asked(words(mapping(call).get("id")), words(function.get("name")), function.get("arguments", {}))
    old = mapping(message.get("function_call"))
    if words(old.get("name")):
        yield Asked(words(old.get("name")), words(old.get("name")), old.get("arguments", {}))


def _read_answer(message: dict[str, Any], content: str, talk: Talk) -> None:
    """The answer of a tool; some programs write the streams and the exit code of a command as a JSON object."""
    provider_id = words(message.get("tool_call_id")) or words(message.get("name"))
    result = Result("", as_bytes(content))
    if content.startswith("{") and '"returncode"' in content:
        try:
            streams = mapping(from_json(content))
        except ValueError:
            streams = {}
        if streams.keys() == {"stdout", "stderr", "returncode"} and isinstance(streams["returncode"], int):
            result.output, result.exit_code = as_bytes(words(streams["stdout"])), streams["returncode"]
            result.stderr = as_bytes(words(streams["stderr"])) or None
            result.status = "ok"
    talk.answered(provider_id, content, result)


def _messages(transcript: Transcript) -> Iterator[dict[str, Any]]:
    shown = {message.call_id for turn in transcript.turns for message in turn.delta if message.role == "tool"}
    for turn in transcript.turns:
        yield from map(_plain, turn.delta)
        yield _plain(turn.reply)
    for turn in transcript.turns:
        for result in turn.results:
            if result.call not in shown:
                yield {"role": "tool", "tool_call_id": result.call, "content": last_words(result)}


def _plain(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        plain["reasoning"] = message.reasoning
    if message.calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.tool, "arguments": to_json(call.arguments, inf_nan_mode="strings").decode()},
            }
            for call in message.calls
        ]
    if message.role == "tool":
        plain["tool_call_id"] = message.call_id
    return plain


def usage_of(value: Any) -> Usage:
    """Token counts under the names that providers and programs use; None where there are none."""
    counts = mapping(value)
    return Usage(
        input_tokens=whole(counts.get("input_tokens", counts.get("prompt_tokens"))),
        output_tokens=whole(counts.get("output_tokens", counts.get("completion_tokens"))),
        reasoning_tokens=whole(counts.get("reasoning_tokens")),
    )
