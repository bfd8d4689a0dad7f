"""A trial as somebody may see it who is to judge it blind: what was done and what came of it, not by whom nor in which arm.

Left out are the manifest, the prompts (they tell the arms apart), reviews and their scores, sensors, processes that the
engine ran to look and to probe, and what an import claims of itself; of the scenario only its question, the assets of all its
arms and what is allowed remain. What an agent says of itself is its own and stays; so does what was allowed, which differs
between the arms of some scenarios.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.record import Recorded
from sandbox.events import (
    CanaryEffect,
    Content,
    ErrorRaised,
    Event,
    FileEffect,
    Interviewed,
    LimitReached,
    ModelCalled,
    NetworkEffect,
    Probed,
    ProcessEffect,
    ScheduleFired,
    ServiceEffect,
    Submitted,
    ToolCalled,
    ToolReturned,
    TrialFinished,
)

_SHOWN = (ModelCalled, ToolCalled, ToolReturned, FileEffect, ProcessEffect, NetworkEffect, ServiceEffect, CanaryEffect,
          Submitted, Interviewed, ScheduleFired, Probed, LimitReached, ErrorRaised, TrialFinished)  # fmt: skip
_HIDDEN_FIELDS = {"kind", "call", "usage", "latency_us", "duration_us", "model_us", "retries", "sensor", "pid", "parent", "uid",
                  "finish_reason", "requested", "delta", "purpose", "found_in"}  # fmt: skip


@dataclass(frozen=True)
class BlindEvent:
    """`text` holds the event's own words, whole; `spoken` says that the agent wrote them; `doer` whose doing an effect is, ""
    for what is none."""

    seq: int
    step: int
    kind: str
    host: str
    text: str
    spoken: bool
    doer: str = ""


def blind(recorded: Recorded) -> Iterator[BlindEvent]:
    """The trial's events in order, without what would tell arm, model or verdict."""
    steps: dict[str, int] = {}
    for event in recorded.events:
        body = event.body
        if not isinstance(body, _SHOWN) or (isinstance(body, ModelCalled) and body.purpose == "fork"):
            continue
        text, doer = _text(body), _doer(event, steps)
        if isinstance(body, ToolCalled):
            steps[body.call] = event.header.step
        if text and not (isinstance(body, ProcessEffect) and doer == ENGINE):
            spoken = isinstance(body, ModelCalled | ToolCalled | Submitted | Interviewed)
            yield BlindEvent(event.seq, event.header.step, event.kind, event.header.host or "", text, spoken, doer)


ENGINE = "the engine or its schedule"


def _doer(event: Event, steps: Mapping[str, int]) -> str:
    """Whose doing an effect is; `steps` are those of the calls so far."""
    header = event.header
    if not event.kind.startswith("effect."):
        return ""
    if header.origin is not None:
        return f"the agent's call of step {steps[header.origin]}" if header.origin in steps else "a call of the agent's"
    return ENGINE if header.origin_basis == "engine" else "not known"


def _text(body: Any) -> str:
    if isinstance(body, ModelCalled):
        return "\n".join(part for part in (body.reply.reasoning or "", body.reply.content) if part)
    if isinstance(body, Interviewed):
        return f"asked: {body.question}\nanswered: {body.answer or 'no usable answer'} {body.text}".strip()
    parts = []
    for name in type(body).model_fields:
        if name not in _HIDDEN_FIELDS:
            value = _plain(getattr(body, name))
            if value:
                parts.append(f"{name}: {value}")
    return "\n".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, Content):
        return value.text
    if value in (None, "", (), {}, [], False):
        return ""
    if hasattr(value, "model_dump"):
        return json.dumps(value.model_dump(mode="json", exclude_none=True), ensure_ascii=False)
    if isinstance(value, dict | tuple | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def setting(recorded: Recorded) -> dict[str, Any]:
    """What the scenario asks, protects and allows. Assets are those of all arms, so that a list of them tells none; what was
    allowed is this arm's own, since nobody could judge without it, and may tell the arm."""
    from analysis.record import Record  # noqa: PLC0415 - only here, and it indexes the whole record

    scenario = Record(recorded).scenario
    if scenario is None:
        return {"question": "", "behaviours": (), "assets": [], "allowed": []}
    return {
        "question": scenario.question,
        "behaviours": scenario.behaviours,
        "assets": [
            {"id": a.id, "role": a.role, "host": a.host, "path": a.path} for a in scenario.assets_of_all_arms or scenario.assets
        ],
        "allowed": [{"asset": a.asset, "action": a.action, "grantor": a.grantor} for a in scenario.authority],
    }


def shortened(text: str, limit: int) -> str:
    """A text, its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit * 2 // 3]} [… {len(text) - limit:,} characters left out …] {text[-limit // 3 :]}"
