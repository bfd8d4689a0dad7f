"""ATIF, the Agent Trajectory Interchange Format of Harbor (RFC 0001), versions 1.0 to 1.8; written is 1.7.

A step of source `agent` is a turn, its `observation` the answers of its calls. What ATIF has no field for stands in
`extra.belljar` of the root. Newer minor versions are refused, since fields may have changed their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

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
    wall_us,
    words,
)

FORMAT = "atif"
WRITTEN = "ATIF-v1.7"
_VERSION = re.compile(r"ATIF-v1\.([0-9]{1,3})")
_NEWEST = 8
_ROOT = {"schema_version", "session_id", "trajectory_id", "agent", "steps", "extra", "notes", "final_metrics"}
_STEP = {"step_id", "timestamp", "source", "message", "reasoning_content", "tool_calls", "observation", "metrics"}
_CALL = {"tool_call_id", "function_name", "arguments"}
_RESULT = {"source_call_id", "content"}
_METRICS = {"prompt_tokens", "completion_tokens", "cost_usd"}


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The one trial of a document; embedded sub-agents are counted as lost. Raises UsageError."""
    root = mapping(document)
    version = _VERSION.fullmatch(words(root.get("schema_version")))
    if version is None or int(version[1]) > _NEWEST:
        raise UsageError(
            f"{name}: {words(root.get('schema_version'))[:40] or 'no schema version'} is not read; "
            f"ATIF-v1.0 to ATIF-v1.{_NEWEST} are.",
            "Update Belljar, or export it in an older version.",
        )
    agent = mapping(root.get("agent"))
    title = words(root.get("trajectory_id")) or words(root.get("session_id")) or name
    transcript = Transcript(title, model=words(agent.get("model_name")))
    talk = Talk(transcript)
    _count_rest(root, _ROOT, "trajectory", talk)
    for step in listing(root.get("steps")):
        _read_step(mapping(step), talk)
    talk.close()
    transcript.submitted = submission(transcript)
    transcript.stop = "submitted" if transcript.submitted else "inert"
    claims = {key: root[key] for key in ("schema_version", "session_id", "agent", "final_metrics", "notes") if key in root}
    transcript.claims = talk.clean_value(claims)
    yield transcript


def write(transcript: Transcript, extras: dict[str, JsonValue]) -> bytes:
    """The document of one trial."""
    return to_json(document(transcript, extras), indent=1, inf_nan_mode="strings") + b"\n"


def document(transcript: Transcript, extras: dict[str, JsonValue]) -> dict[str, Any]:
    """As `write`, before it becomes bytes."""
    steps = list(_steps(transcript))
    for number, step in enumerate(steps, 1):
        step["step_id"] = number
    return {
        "schema_version": WRITTEN,
        "session_id": transcript.name,
        "trajectory_id": transcript.name,
        "agent": {"name": "belljar", "version": "1", "model_name": transcript.model},
        "steps": steps,
        "final_metrics": _final_metrics(transcript),
        "extra": {"belljar": extras},
    }


def _read_step(step: dict[str, Any], talk: Talk) -> None:
    source = step.get("source")
    _count_rest(step, _STEP, "step", talk)
    content, thought = parts_text(step.get("message"), talk.lost)
    if source == "agent":
        asked = list(_asked(step, talk))
        turn = talk.replied(content, asked, reasoning=step["reasoning_content"] if _said(step) else thought)
        turn.at = wall_us(step.get("timestamp"))
        metrics = mapping(step.get("metrics"))
        _count_rest(metrics, _METRICS, "metrics", talk)
        cost = metrics.get("cost_usd")
        turn.usage = usage_of(metrics).model_copy(update={"cost_usd": float(cost) if isinstance(cost, int | float) else None})
    elif source in ("system", "user"):
        if content or not step.get("observation"):
            talk.told("system" if source == "system" else "user", content)
    else:
        talk.lost[f"steps of source {str(source)[:40]!r}"] += 1
        return
    for result in listing(mapping(step.get("observation")).get("results")):
        _read_result(mapping(result), talk)


def _said(step: dict[str, Any]) -> bool:
    return isinstance(step.get("reasoning_content"), str)


def _asked(step: dict[str, Any], talk: Talk) -> Iterator[Asked]:
    for call in map(mapping, listing(step.get("tool_calls"))):
        _count_rest(call, _CALL, "tool call", talk)
        if not words(call.get("function_name")):
            talk.lost["tool calls without a name"] += 1
            continue
        yield Asked(words(call.get("tool_call_id")), words(call.get("function_name")), call.get("arguments", {}))


def _read_result(result: dict[str, Any], talk: Talk) -> None:
    _count_rest(result, _RESULT, "observation", talk)
    content, _ = parts_text(result.get("content"), talk.lost)
    provider_id = result.get("source_call_id")
    if isinstance(provider_id, str):
        talk.answered(provider_id, content, Result("", as_bytes(content)))
    else:
        talk.told("tool", content)
        talk.lost["observations without a call (kept in the conversation)"] += 1


def _count_rest(found: dict[str, Any], known: set[str], what: str, talk: Talk) -> None:
    for key in found.keys() - known:
        if found[key] is not None:
            talk.lost[f"{what} fields `{str(key)[:40]}`"] += 1


def _steps(transcript: Transcript) -> Iterator[dict[str, Any]]:
    told = {message.call_id: message.content for turn in transcript.turns for message in turn.delta if message.call_id}
    for turn in transcript.turns:
        for message in turn.delta:
            if message.role == "tool" and not message.call_id:
                yield {"source": "system", "message": "", "observation": {"results": [{"content": message.content}]}}
            elif message.role in ("system", "user"):
                yield {"source": message.role, "message": message.content}
            elif message.role == "assistant":
                yield _agent_step(message)
        yield _agent_step(turn.reply) | _outcome(turn, told)


def _agent_step(message: Message) -> dict[str, Any]:
    step: dict[str, Any] = {"source": "agent", "message": message.content}
    if message.reasoning is not None:
        step["reasoning_content"] = message.reasoning
    if message.calls:
        step["tool_calls"] = [
            {"tool_call_id": call.id, "function_name": call.tool, "arguments": call.arguments} for call in message.calls
        ]
    return step


def _outcome(turn: Turn, told: dict[str, str]) -> dict[str, Any]:
    """Time, cost and answers of a turn."""
    rest: dict[str, Any] = {}
    if turn.at is not None:
        rest["timestamp"] = datetime.fromtimestamp(turn.at / 1e6, UTC).isoformat()
    usage = turn.usage
    metrics = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cost_usd": usage.cost_usd,
    }
    if any(value is not None for value in metrics.values()):
        rest["metrics"] = {name: value for name, value in metrics.items() if value is not None}
    if turn.results:
        rest["observation"] = {
            "results": [
                {"source_call_id": result.call, "content": told.get(result.call, last_words(result))} for result in turn.results
            ]
        }
    return rest


def _final_metrics(transcript: Transcript) -> dict[str, Any]:
    totals = {
        "total_prompt_tokens": sum(turn.usage.input_tokens or 0 for turn in transcript.turns),
        "total_completion_tokens": sum(turn.usage.output_tokens or 0 for turn in transcript.turns),
    }
    return {name: value for name, value in totals.items() if value}
