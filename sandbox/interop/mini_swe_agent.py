"""Trajectories of mini-swe-agent (`*.traj.json`, formats `mini-swe-agent-1` and `-1.1`): text actions and tool calls.

A command in a code block is a call of `bash` like any other; its answer, which the model is shown as a user message, is
recognised by what the program adds to it (`extra.raw_output`) or by its `<returncode>` mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.errors import UsageError
from sandbox.events import StopReason
from sandbox.interop.messages import usage_of
from sandbox.interop.transcript import (
    Asked,
    Result,
    Submission,
    Talk,
    Transcript,
    as_bytes,
    listing,
    mapping,
    parts_text,
    seconds,
    words,
)

FORMAT = "mini-swe-agent"
VERSIONS = ("mini-swe-agent-1", "mini-swe-agent-1.1")
_BLOCK = re.compile(r"```(?:bash|sh|mswea_bash_command)[^\S\n]*\n(.*?)\n?```", re.DOTALL)
_RETURNCODE = re.compile(r"\s*<returncode>(-?[0-9]{1,9})</returncode>")
_STOPS: Mapping[str, StopReason] = {
    "Submitted": "submitted",
    "LimitsExceeded": "steps",
    "TimeExceeded": "wall_seconds",
    "RepeatedFormatError": "inert",
    "ContextWindowExceededError": "context_overflow",
}


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The one trial of a document. Raises UsageError."""
    root = mapping(document)
    version = words(root.get("trajectory_format"))
    if version and version not in VERSIONS:
        raise UsageError(f"{name}: {version[:60]} is not read; {' and '.join(VERSIONS)} are.", "Update Belljar.")
    if not isinstance(root.get("messages"), list):
        raise UsageError(f"{name}: there is no list of messages.")
    info = mapping(root.get("info"))
    config = mapping(mapping(mapping(info.get("config")).get("model")))
    transcript = Transcript(words(root.get("instance_id")) or name, model=words(config.get("model_name")))
    talk = Talk(transcript)
    for message in root["messages"]:
        _read_message(mapping(message), talk)
    talk.close()
    status = words(info.get("exit_status"))
    transcript.stop = _STOPS.get(status, "inert" if not status else "infrastructure")
    if transcript.stop == "submitted":
        transcript.submitted = Submission(talk.clean(words(info.get("submission"))))
    transcript.claims = talk.clean_value({key: value for key, value in root.items() if key != "messages"})
    yield transcript


def _read_message(message: dict[str, Any], talk: Talk) -> None:
    extra = mapping(message.get("extra"))
    content, thought = parts_text(message.get("content"), talk.lost)
    role = message.get("role")
    if role == "assistant" or message.get("object") == "response":
        _read_reply(message, content, thought, talk)
    elif message.get("type") == "function_call_output":
        text = words(message.get("output"))
        talk.answered(words(message.get("call_id")), text, _result(text, extra))
    elif role == "tool":
        talk.answered(words(message.get("tool_call_id")), content, _result(content, extra))
    elif role == "user" and ("raw_output" in extra or _RETURNCODE.match(content)):
        talk.answered("", content, _result(content, extra), role="user")
    elif role in ("system", "user"):
        talk.told("system" if role == "system" else "user", content)
    elif role == "exit":
        talk.lost["exit messages (kept as the stop reason)"] += 1
    else:
        talk.lost[f"messages of role {str(role)[:40]!r}"] += 1


def _read_reply(message: dict[str, Any], content: str, thought: str | None, talk: Talk) -> None:
    extra = mapping(message.get("extra"))
    reasoning = next((message[k] for k in ("reasoning_content", "reasoning") if isinstance(message.get(k), str)), thought)
    asked = list(_asked(message, extra))
    if "output" in message:
        content, reasoning = _response_text(message, talk)
    if not asked:
        asked = [Asked("", "bash", {"command": command}) for command in _BLOCK.findall(content)]
    turn = talk.replied(content, asked, reasoning=reasoning)
    turn.at = seconds(extra.get("timestamp")) or seconds(message.get("timestamp")) or None
    response = mapping(extra.get("response"))
    turn.usage = usage_of(response.get("usage"))
    talk.transcript.model = talk.transcript.model or words(response.get("model"))
    cost = extra.get("cost")
    if isinstance(cost, int | float) and not isinstance(cost, bool):
        turn.usage = turn.usage.model_copy(update={"cost_usd": float(cost)})
    for key in extra.keys() - {"actions", "cost", "timestamp", "response"}:
        talk.lost[f"extra fields `{str(key)[:40]}`"] += 1


def _asked(message: dict[str, Any], extra: dict[str, Any]) -> Iterator[Asked]:
    for call in map(mapping, listing(message.get("tool_calls"))):
        function = mapping(call.get("function"))
        yield Asked(words(call.get("id")), words(function.get("name")) or "unnamed", function.get("arguments", {}))
    for item in map(mapping, listing(message.get("output"))):
        if item.get("type") == "function_call":
            name = words(item.get("name")) or "unnamed"
            yield Asked(words(item.get("call_id")) or words(item.get("id")), name, item.get("arguments", {}))
    if not message.get("tool_calls") and not message.get("output"):
        for action in listing(extra.get("actions")):
            command = words(action) or words(mapping(action).get("command"))
            yield Asked("", "bash", {"command": command})


def _response_text(message: dict[str, Any], talk: Talk) -> tuple[str, str | None]:
    """Text and reasoning of a reply in the form of the Responses API."""
    texts, thoughts = [], []
    for item in map(mapping, listing(message.get("output"))):
        if item.get("type") == "message":
            texts.append(parts_text(item.get("content"), talk.lost)[0])
        elif item.get("type") == "reasoning":
            thoughts += [words(mapping(part).get("text")) for part in listing(item.get("summary"))]
    return "".join(texts), "\n".join(thoughts) or None


def _result(shown: str, extra: dict[str, Any]) -> Result:
    raw = extra.get("raw_output")
    marked = _RETURNCODE.match(shown)
    code = extra.get("returncode", int(marked[1]) if marked else None)
    exit_code = code if isinstance(code, int) and not isinstance(code, bool) and abs(code) < 2**31 else None
    timed_out = "timed out" in words(extra.get("exception_info"))
    output = as_bytes(raw if isinstance(raw, str) else shown)
    return Result("", output, "timeout" if timed_out else "ok", exit_code=exit_code)
