"""Logs of Inspect AI: `.eval` archives and `.json`, log version 2; every sample is a trial.

Reading needs nothing of Inspect: an archive's entries are JSON documents, deflated or zstandard. What a sample's `messages`
say is taken; usage, times and errors come from its events. Writing goes through Inspect's own models (extra `inspect`), so
that its viewer and `read_eval_log` take it: effects of ours become `info` events there, verdicts a score named `belljar`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json

from sandbox.errors import NotReadyError, UsageError
from sandbox.events import Event, Message, StopReason, Usage
from sandbox.interop.intake import Archive, SourceFile, parse
from sandbox.interop.messages import submission, usage_of
from sandbox.interop.transcript import (
    Asked,
    Result,
    Status,
    Talk,
    Transcript,
    Turn,
    as_bytes,
    last_words,
    listing,
    mapping,
    parts_text,
    seconds,
    wall_us,
    words,
)

FORMAT = "inspect"
NEWEST = 2
_LIMITS: dict[str, StopReason] = {
    "context": "context_overflow",
    "time": "wall_seconds",
    "working": "wall_seconds",
    "message": "steps",
    "turn": "steps",
    "token": "tokens",
    "cost": "cost_usd",
    "operator": "interrupted",
}
_ERRORS: dict[str, Status] = {"timeout": "timeout", "approval": "rejected", "parsing": "unavailable"}
_PLAIN_EVENTS = {"model", "tool", "span_begin", "span_end", "step"}
_KNOWN = {"id", "content", "source", "role", "tool_calls", "tool_call_id", "function", "error", "model"}


def read_archive(source: SourceFile) -> Iterator[Transcript]:
    """The samples of an `.eval` file, one at a time. Raises UsageError."""
    archive = Archive(source.data, source.name)
    header = _header(archive, source.name)
    _check_version(header, source.name)
    samples = [name for name in archive.names if name.startswith("samples/") and name.endswith(".json")]
    if not samples:
        raise UsageError(f"{source.name}: there are no samples in it.", "The evaluation may have ended before the first.")
    for name in samples:
        data = archive.read(name)
        transcript = _sample(mapping(parse(data, f"{source.name}: {name[:200]}")), header, name)
        transcript.part, transcript.part_name = data, name
        yield transcript


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The samples of a `.json` log. Raises UsageError."""
    log = mapping(document)
    _check_version(log, name)
    samples = listing(log.get("samples"))
    if not samples:
        raise UsageError(f"{name}: there are no samples in it.", "A log's header alone is no trajectory.")
    for number, value in enumerate(samples):
        transcript = _sample(mapping(value), log, f"{name}-{number + 1}")
        if len(samples) > 1:
            transcript.part, transcript.part_name = to_json(value, inf_nan_mode="strings"), f"samples[{number}]"
        yield transcript


def write(transcript: Transcript, extras: dict[str, JsonValue], events: list[Event], suffix: str) -> bytes:
    """The log of one trial as `.eval` or `.json`. Raises NotReadyError where inspect-ai is not installed."""
    try:
        log_module = importlib.import_module("inspect_ai.log")
    except ImportError as error:
        raise NotReadyError("inspect-ai is not installed.", "pip install 'belljar[inspect]'.") from error
    log = _log(log_module, transcript, extras, events)
    with tempfile.TemporaryDirectory(prefix="belljar-inspect-") as folder:
        place = Path(folder) / f"log{suffix}"
        log_module.write_eval_log(log, str(place), format=suffix.removeprefix("."))
        return place.read_bytes()


def _header(archive: Archive, what: str) -> dict[str, Any]:
    """The finished log's header, or what was written at its start where the evaluation never ended."""
    for name in ("header.json", "_journal/start.json"):
        if name in archive.names:
            return mapping(parse(archive.read(name), f"{what}: {name}"))
    raise UsageError(f"{what} has no header: it is not a log of Inspect, or was cut.")


def _check_version(log: dict[str, Any], what: str) -> None:
    version = log.get("version")
    if not isinstance(version, int) or version > NEWEST:
        raise UsageError(f"{what}: log version {str(version)[:20]} is not read; up to {NEWEST} are.", "Update Belljar.")


def _sample(sample: dict[str, Any], log: dict[str, Any], what: str) -> Transcript:
    spec = mapping(log.get("eval"))
    identity, epoch = sample.get("id"), sample.get("epoch")
    name = f"{identity}" if epoch in (None, 1) else f"{identity}-epoch-{epoch}"
    transcript = Transcript(name if identity is not None else what, model=words(spec.get("model")))
    talk = Talk(transcript)
    attachments = mapping(sample.get("attachments"))
    for message in listing(sample.get("messages")):
        _read_message(mapping(message), attachments, talk)
    talk.close()
    _apply_events(listing(sample.get("events")), transcript)
    transcript.manifest = {
        "scenario": words(spec.get("task")) or "imported",
        "epoch": epoch if isinstance(epoch, int) and epoch > 0 else 1,
        "sampling": talk.clean_value(mapping(spec.get("model_generate_config"))),
    }
    transcript.submitted = submission(transcript)
    transcript.stop = _stop(sample, transcript)
    transcript.extras = mapping(sample.get("metadata")).get("belljar")
    _claim(sample, log, transcript, talk)
    return transcript


def _read_message(message: dict[str, Any], attachments: dict[str, Any], talk: Talk) -> None:
    content, thought = parts_text(_resolved(message.get("content"), attachments), talk.lost)
    for key in message.keys() - _KNOWN:
        if message[key]:
            talk.lost[f"message fields `{str(key)[:40]}`"] += 1
    match message.get("role"):
        case "assistant":
            asked = [
                Asked(words(call.get("id")), words(call.get("function")) or "unnamed", call.get("arguments", {}))
                for call in map(mapping, listing(message.get("tool_calls")))
            ]
            turn = talk.replied(content, asked, reasoning=thought)
            turn.finish_reason = words(message.get("id"))
        case "tool":
            error = mapping(message.get("error"))
            shown = content or words(error.get("message"))
            status = _ERRORS.get(words(error.get("type")), "error") if error else "ok"
            talk.answered(words(message.get("tool_call_id")), shown, Result("", as_bytes(shown), status))
        case "system":
            talk.told("system", content)
        case "user":
            talk.told("user", content)
        case role:
            talk.lost[f"messages of role {str(role)[:40]!r}"] += 1


def _resolved(content: Any, attachments: dict[str, Any]) -> Any:
    """Content with `attachment://` references replaced by what they stand for."""
    if isinstance(content, str) and content.startswith("attachment://"):
        return attachments.get(content.removeprefix("attachment://"), content)
    if isinstance(content, list):
        return [
            {key: _resolved(value, attachments) if isinstance(value, str) else value for key, value in part.items()}
            if isinstance(part, dict)
            else part
            for part in content
        ]
    return content


def _apply_events(events: list[Any], transcript: Transcript) -> None:
    """Usage, latency and time of each turn and call, from the events that tell of the same message or call."""
    models: dict[str, dict[str, Any]] = {}
    tools: dict[str, dict[str, Any]] = {}
    for event in map(mapping, events):
        kind = words(event.get("event"))
        if kind == "model":
            choices = listing(mapping(event.get("output")).get("choices"))
            message = mapping(mapping(choices[0]).get("message")) if choices else {}
            models[words(message.get("id"))] = event
        elif kind == "tool":
            tools[words(event.get("id"))] = event
        if kind not in _PLAIN_EVENTS:
            transcript.lost[f"`{kind[:40]}` events of Inspect"] += 1
    told = {turn.finish_reason for turn in transcript.turns}
    unseen = len(models.keys() - told - {""})
    if unseen:
        transcript.lost["model calls whose reply is not in the final messages"] += unseen
    for turn in transcript.turns:
        _apply_model(turn, models.get(turn.finish_reason, {}))
        names = {call.id: call.provider_id for call in turn.reply.calls}
        for result in turn.results:
            result.duration_us = seconds(tools.get(names.get(result.call, ""), {}).get("working_time"))


def _apply_model(turn: Turn, event: dict[str, Any]) -> None:
    output = mapping(event.get("output"))
    choices = listing(output.get("choices"))
    turn.finish_reason = words(mapping(choices[0]).get("stop_reason")) if choices else ""
    turn.usage = usage_of(output.get("usage"))
    turn.latency_us = seconds(event.get("working_time"))
    turn.at = wall_us(event.get("timestamp"))


def _stop(sample: dict[str, Any], transcript: Transcript) -> StopReason:
    if sample.get("error"):
        return "infrastructure"
    limit = words(mapping(sample.get("limit")).get("type"))
    if limit:
        return _LIMITS.get(limit, "inert")
    return "submitted" if transcript.submitted else "inert"


def _claim(sample: dict[str, Any], log: dict[str, Any], transcript: Transcript, talk: Talk) -> None:
    """What the log says of the sample beside its messages."""
    claims: dict[str, Any] = {
        key: sample[key] for key in ("id", "epoch", "input", "target", "scores", "metadata", "error", "limit") if key in sample
    }
    claims |= {key: log[key] for key in ("eval", "status", "results") if key in log}
    claims["metadata"] = {key: value for key, value in mapping(claims.get("metadata")).items() if key != "belljar"}
    transcript.claims = talk.clean_value(claims)
    if mapping(sample.get("store")):
        transcript.lost["sample stores"] += 1


def _log(module: Any, transcript: Transcript, extras: dict[str, JsonValue], events: list[Event]) -> Any:
    """One `EvalLog` with one sample, made of Inspect's own models."""
    model_module = importlib.import_module("inspect_ai.model")
    scorer = importlib.import_module("inspect_ai.scorer")
    manifest = transcript.manifest
    created = datetime.fromtimestamp((transcript.turns[0].at or 0) / 1e6 if transcript.turns else 0, UTC).isoformat()
    messages = list(chat(model_module, transcript))
    verdicts = extras.get("verdicts")
    scores = {}
    if verdicts is not None:
        scores["belljar"] = scorer.Score(value=_verdict_value(verdicts), metadata={"verdicts": verdicts})
    replies = [message for message in messages if message.role == "assistant"]
    output = model_module.ModelOutput.from_message(replies[-1]) if replies else model_module.ModelOutput()
    output.model = transcript.model
    sample = module.EvalSample(
        id=transcript.name,
        epoch=manifest.get("epoch", 1) or 1,
        input=next((m.text for m in messages if m.role == "user"), ""),
        target="",
        messages=messages,
        output=output,
        scores=scores or None,
        metadata={"belljar": extras},
        events=list(_events(transcript, messages, events)),
    )
    spec = module.EvalSpec(
        created=created,
        task=str(manifest.get("scenario", "belljar")),
        dataset=module.EvalDataset(name="belljar", samples=1, sample_ids=[transcript.name]),
        model=transcript.model or "unknown",
        config=module.EvalConfig(),
    )
    return module.EvalLog(version=NEWEST, status="success", eval=spec, samples=[sample])


def chat(model_module: Any, transcript: Transcript) -> Iterator[Any]:
    """The conversation as Inspect's messages; a reply's id is its turn's number, so that events can name it."""
    shown = {message.call_id for turn in transcript.turns for message in turn.delta if message.role == "tool"}
    tools = {call.id: call.tool for turn in transcript.turns for call in turn.reply.calls}
    for number, turn in enumerate(transcript.turns, 1):
        for message in turn.delta:
            yield chat_message(model_module, message, tools, None, transcript.model)
        yield chat_message(model_module, turn.reply, tools, f"turn-{number}", transcript.model)
    for turn in transcript.turns:
        for result in turn.results:
            if result.call not in shown:
                late = Message(role="tool", content=last_words(result), call_id=result.call)
                yield chat_message(model_module, late, tools, None, transcript.model)


def chat_message(module: Any, message: Message, tools: dict[str, str], identity: str | None, model: str) -> Any:
    match message.role:
        case "system":
            return module.ChatMessageSystem(content=message.content)
        case "user":
            return module.ChatMessageUser(content=message.content)
        case "tool":
            name = tools.get(message.call_id)
            return module.ChatMessageTool(content=message.content, tool_call_id=message.call_id, function=name)
    content: Any = message.content
    if message.reasoning is not None:
        content = [module.ContentReasoning(reasoning=message.reasoning), module.ContentText(text=message.content)]
    tool = importlib.import_module("inspect_ai.tool")
    calls = [tool.ToolCall(id=c.id, function=c.tool, arguments=c.arguments, type="function") for c in message.calls]
    return module.ChatMessageAssistant(id=identity, content=content, tool_calls=calls or None, model=model, source="generate")


def _events(transcript: Transcript, messages: list[Any], events: list[Event]) -> Iterator[Any]:
    """Inspect's transcript: each turn and call, and of our effects an `info` event each, in the order of the ledger."""
    module = importlib.import_module("inspect_ai.event")
    replies = iter([m for m in messages if m.role == "assistant"])
    turns = iter(transcript.turns)
    results = {result.call: result for turn in transcript.turns for result in turn.results}
    for event in events:
        at = datetime.fromtimestamp(event.header.observed_at.wall_us / 1e6, UTC)
        body: Any = event.body
        if event.kind == "model.called" and body.purpose != "fork":
            turn, reply = next(turns), next(replies)
            yield _model_event(turn, reply, transcript.model, at)
        elif event.kind == "tool.called":
            result = results.get(body.call)
            shown = "" if result is None else last_words(result)
            yield module.ToolEvent(
                id=body.call, function=body.tool, arguments=dict(body.arguments), result=shown, events=[], timestamp=at
            )
        elif event.kind not in ("tool.returned", "trial.started", "model.called", "imported"):
            data = {"seq": event.seq, **body.model_dump(mode="json")}
            yield module.InfoEvent(source=f"belljar/{event.kind}", data=data, timestamp=at)


def _model_event(turn: Turn, reply: Any, model: str, at: datetime) -> Any:
    module = importlib.import_module("inspect_ai.model")
    output = module.ModelOutput.from_message(reply)
    output.model = model
    output.usage = _usage(module, turn.usage)
    return importlib.import_module("inspect_ai.event").ModelEvent(
        model=model or "unknown",
        input=[],
        tools=[],
        tool_choice="auto",
        config=module.GenerateConfig(),
        output=output,
        timestamp=at,
        working_time=turn.latency_us / 1e6,
    )


def _usage(model_module: Any, usage: Usage) -> Any:
    read_, written = usage.input_tokens, usage.output_tokens
    if read_ is None and written is None:
        return None
    total = (read_ or 0) + (written or 0)
    return model_module.ModelUsage(
        input_tokens=read_ or 0, output_tokens=written or 0, total_tokens=total, reasoning_tokens=usage.reasoning_tokens
    )


def _verdict_value(verdicts: JsonValue) -> Any:
    """What Inspect's viewer shows as the score: the outcome where the verdicts have one."""
    found = mapping(verdicts)
    return str(found.get("outcome", "see metadata"))
