"""A trial as a comparison sees it: turns, their calls, what each gave, and its effects without what changes from run to run.

Process ids, times, inode numbers and ports of clients are left out of an effect's line, so that two runs of the same seed
compare as equal where the same was done.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.events import (
    CanaryEffect,
    Event,
    FileEffect,
    Message,
    ModelCalled,
    NetworkEffect,
    ProcessEffect,
    ScheduleFired,
    ServiceEffect,
    ToolCalled,
    ToolReturned,
    UnknownBody,
)
from sandbox.trajectory import Trajectory

_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9]+")


@dataclass
class CallStep:
    """One call: `asked` is its arguments as JSON with sorted names, `output` what came back, error output after it."""

    id: str
    step: int
    seq: int
    tool: str
    asked: str
    output: str = ""
    status: str = "unanswered"
    exit_code: int | None = None
    answered_seq: int | None = None
    effects: Counter[str] = field(default_factory=Counter)

    @property
    def key(self) -> tuple[str, str]:
        """What makes two calls the same call."""
        return self.tool, self.asked


@dataclass
class TurnStep:
    """One exchange: `told` is what the model was newly shown, answers of its calls left out."""

    step: int
    seq: int
    told: str
    said: str
    reasoning: str
    calls: list[CallStep] = field(default_factory=list)


@dataclass
class Steps:
    """A trial in order; `loose` are effects outside any call, and the scenario's own time."""

    turns: list[TurnStep] = field(default_factory=list)
    calls: list[CallStep] = field(default_factory=list)
    loose: Counter[str] = field(default_factory=Counter)

    @property
    def effects(self) -> Counter[str]:
        """All effects, in calls and outside."""
        return sum((call.effects for call in self.calls), Counter(self.loose))


def steps_of(trajectory: Trajectory) -> Steps:
    """Read the events of a trial once, in order."""
    steps = Steps()
    calls: dict[str, CallStep] = {}
    for event in trajectory.events:
        body = event.body
        if isinstance(body, ModelCalled) and body.purpose != "fork":
            steps.turns.append(_turn(event, body))
        elif isinstance(body, ToolCalled):
            call = CallStep(body.call, event.header.step, event.seq, body.tool, canonical(body.arguments))
            calls[body.call] = call
            steps.calls.append(call)
            if steps.turns:
                steps.turns[-1].calls.append(call)
        elif isinstance(body, ToolReturned) and body.call in calls:
            _answer(calls[body.call], event, body)
        elif line := effect_line(event):
            cause = calls.get(event.header.origin or event.header.during or "")
            (cause.effects if cause is not None else steps.loose)[line] += 1
    return steps


def effect_line(event: Event) -> str:
    """An effect in one line without pids, times and client ports; empty for what is no effect."""
    describe = _DESCRIBED.get(type(event.body))
    line = describe(event.body) if describe is not None else ""
    return f"{event.header.host}: {line}" if line and event.header.host else line


def _file(body: FileEffect) -> str:
    after = body.after
    content = f" sha256 {after.sha256[:12]}" if after is not None and after.sha256 else ""
    source = f" from {body.renamed_from}" if body.renamed_from else ""
    return f"file {body.action} {body.path}{source}{content}"


def _process(body: ProcessEffect) -> str:
    """A process that nothing is known of but its pid cannot be compared."""
    known = " ".join(body.argv) or body.exe
    return f"process {body.action} {known}" if known else ""


def _network(body: NetworkEffect) -> str:
    port = f":{body.port}" if body.port is not None else ""
    status = f" -> {body.status}" if body.status is not None else ""
    asked = f"{body.method} {body.target}".strip()
    return " ".join(f"network {body.action} {body.protocol} {body.name or body.destination}{port} {asked}{status}".split())


def _unknown(body: UnknownBody) -> str:
    return f"{body.kind} (not known to this version)" if body.kind.startswith("effect.") else ""


_DESCRIBED: dict[type[Any], Callable[[Any], str]] = {
    FileEffect: _file,
    ProcessEffect: _process,
    NetworkEffect: _network,
    ServiceEffect: lambda body: f"service {body.service} {body.name} {canonical(body.subject)}",
    CanaryEffect: lambda body: f"canary {body.canary} in {body.where} {body.location}".rstrip(),
    ScheduleFired: lambda body: f"schedule {body.id} {body.action} at step {body.at_step}",
    UnknownBody: _unknown,
}


def canonical(value: object) -> str:
    """JSON with sorted names, one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def masked(text: str) -> str:
    """A text with every number replaced, to tell what only times, sizes and pids make different."""
    return _NUMBER.sub("#", text)


def _turn(event: Event, body: ModelCalled) -> TurnStep:
    told = "\n".join(f"{m.role}: {m.content}" for m in body.delta if not _answers(m))
    return TurnStep(event.header.step, event.seq, told, body.reply.content, body.reply.reasoning or "")


def _answers(message: Message) -> bool:
    return message.role == "tool" or bool(message.call_id)


def _answer(call: CallStep, event: Event, body: ToolReturned) -> None:
    errors = body.stderr.text if body.stderr is not None else ""
    call.output = body.output.text + (f"\n[standard error]\n{errors}" if errors else "")
    if not body.output.complete:
        call.output += f"\n[sha256 {body.output.sha256}]"
    call.status, call.exit_code, call.answered_seq = body.status, body.exit_code, event.seq
