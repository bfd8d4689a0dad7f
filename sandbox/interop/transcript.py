"""A trajectory as other programs know it: messages, calls and outputs, without effects; every format passes through it.

`Talk` builds one in the order in which things were said. It gives calls ids of our own (`c1`, `c2`, ...), since others'
repeat, and counts in `lost` whatever finds no place: nothing is dropped unsaid.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from sandbox.errors import UsageError
from sandbox.events import Body, Call, Content, Message, StopReason, Usage
from sandbox.interop.intake import MAX_TURNS
from sandbox.models.model import UNPARSED

Status = Literal["ok", "error", "timeout", "rejected", "unavailable", "shell_restarted"]
Lost = Counter[str]
"""What a format could not carry, by a short description in the plural: how many of it."""


@dataclass
class Result:
    """What one call gave. `output` is the whole; `shown` is it, bounded, where a source brings that itself."""

    call: str
    output: bytes
    status: Status = "ok"
    stderr: bytes | None = None
    exit_code: int | None = None
    duration_us: int = 0
    shown: Content | None = None
    shown_stderr: Content | None = None


@dataclass
class Turn:
    """One exchange with the model and what came of its calls. `at` is wall time in microseconds, None where unknown;
    `altered` holds the arguments that a call was carried out with where a reviewer had changed them, by call."""

    delta: list[Message]
    reply: Message
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    latency_us: int = 0
    retries: tuple[str, ...] = ()
    purpose: Literal["turn", "interview", "fork"] = "turn"
    at: int | None = None
    results: list[Result] = field(default_factory=list)
    altered: dict[str, dict[str, JsonValue]] = field(default_factory=dict)
    notes: list[Body] = field(default_factory=list)


@dataclass
class Submission:
    """How the agent closed its task; `call` is empty where it did so otherwise than by a call."""

    report: str
    status: str = "completed"
    call: str = ""
    fields: dict[str, JsonValue] = field(default_factory=dict)


@dataclass
class Transcript:
    """One trial. `manifest` holds what is known of `TrialStarted`; `claims` what the source says of itself (scores,
    verdicts, metadata), which is never evidence; `part` the bytes of the source that hold this trial, `part_name` where
    they stand in it; `extras` our own metadata as found there, not yet applied."""

    name: str
    turns: list[Turn] = field(default_factory=list)
    model: str = ""
    manifest: dict[str, Any] = field(default_factory=dict)
    stop: StopReason = "inert"
    submitted: Submission | None = None
    claims: dict[str, JsonValue] = field(default_factory=dict)
    lost: Lost = field(default_factory=Counter)
    extras: Any = None
    part: bytes = b""
    part_name: str = ""


class Asked:
    """A call as a source writes it."""

    def __init__(self, provider_id: str, tool: str, arguments: Any) -> None:
        self.provider_id, self.tool, self.arguments = provider_id, tool, arguments


class Talk:
    """Builds the turns of a transcript as a source is read from its beginning."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.lost = transcript.lost
        self._pending: list[Message] = []
        self._open: dict[str, list[tuple[str, Turn]]] = {}
        self._calls = 0

    def told(self, role: Literal["system", "user", "tool"], content: str, call_id: str = "") -> None:
        """A message that the model is shown with its next turn."""
        self._pending.append(Message(role=role, content=self.clean(content), call_id=call_id))

    def replied(self, content: str, asked: Sequence[Asked] = (), *, reasoning: str | None = None) -> Turn:
        """A reply of the model, which ends its turn. Raises UsageError beyond `MAX_TURNS`."""
        turns = self.transcript.turns
        if len(turns) >= MAX_TURNS:
            raise UsageError(f"The trajectory has more than {MAX_TURNS:,} model turns.", "Split it.")
        calls = tuple(self._call(one) for one in asked)
        reasoning = None if reasoning is None else self.clean(reasoning)
        reply = Message(role="assistant", content=self.clean(content), calls=calls, reasoning=reasoning)
        turn = Turn(self._pending, reply)
        self._pending = []
        turns.append(turn)
        for call in calls:
            self._open.setdefault(call.provider_id, []).append((call.id, turn))
        return turn

    def answered(
        self, provider_id: str, shown: str, result: Result | None = None, *, role: Literal["tool", "user"] = "tool"
    ) -> Result | None:
        """A tool's answer, as the model is shown it and, where a source tells more, as it was.

        Answers go to the oldest call of that id in the latest turn that is still open; one that answers nothing stays in the
        conversation and is counted.
        """
        provider_id = self._id(provider_id)
        waiting = self._open.get(provider_id)
        if not waiting:
            self.lost["tool messages that answer no call (kept in the conversation)"] += 1
            self.told("tool", shown)
            return None
        latest = waiting[-1][1]
        position = next(i for i, (_, turn) in enumerate(waiting) if turn is latest)
        call, turn = waiting.pop(position)
        if not waiting:
            del self._open[provider_id]
        self.told(role, shown, call)
        result = result or Result("", as_bytes(shown))
        result.call = call
        turn.results.append(result)
        return result

    def close(self) -> None:
        """No more will come: what still waits to be shown to the model is counted, unless a result event holds it."""
        left = sum(not message.call_id for message in self._pending)
        if left:
            self.lost["messages after the last reply"] += left
        unanswered = sum(len(waiting) for waiting in self._open.values())
        if unanswered:
            self.lost["calls without an answer (kept as calls)"] += unanswered
        if not self.transcript.turns:
            raise UsageError(f"{self.transcript.name[:200]}: there is no reply of a model in it.", "Is it a trajectory at all?")

    def clean(self, text: str) -> str:
        """Text as UTF-8 can carry it."""
        try:
            text.encode()
        except UnicodeEncodeError:
            self.lost["texts with lone surrogates (replaced)"] += 1
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def _call(self, asked: Asked) -> Call:
        self._calls += 1
        arguments = self._arguments(asked.arguments)
        return Call(
            id=f"c{self._calls}",
            tool=self.clean(asked.tool)[:1000],
            arguments=arguments,
            provider_id=self._id(asked.provider_id),
        )

    def _id(self, provider_id: str) -> str:
        return self.clean(provider_id)[:1000]

    def _arguments(self, value: Any) -> dict[str, JsonValue]:
        if isinstance(value, str):
            try:
                parsed = from_json(value or "{}")
            except ValueError:
                parsed = value
            value = parsed if isinstance(parsed, dict) else value
        if not isinstance(value, dict):
            self.lost["arguments that are no JSON object (kept as text)"] += 1
            value = {UNPARSED: value if isinstance(value, str) else to_json(value, inf_nan_mode="strings").decode()}
        cleaned: dict[str, JsonValue] = self.clean_value(value)
        return cleaned

    def clean_value(self, value: Any) -> Any:
        """A JSON value, every text in it cleaned."""
        match value:
            case str():
                return self.clean(value)
            case Mapping():
                return {self.clean(str(name)): self.clean_value(part) for name, part in value.items()}
            case list() | tuple():
                return [self.clean_value(part) for part in value]
            case _:
                return value


def as_bytes(text: str) -> bytes:
    """Text as bytes; lone surrogates become bytes that are not UTF-8, which the ledger keeps as a blob."""
    return text.encode("utf-8", "surrogatepass")


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """`value` if it is a JSON array, otherwise an empty one."""
    return value if isinstance(value, list) else []


def words(value: Any) -> str:
    """`value` if it is text, otherwise nothing."""
    return value if isinstance(value, str) else ""


def whole(value: Any) -> int | None:
    """`value` if it is a count, otherwise None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62 else None


def seconds(value: Any) -> int:
    """Seconds as microseconds, 0 where they are not given."""
    plausible = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
    return int(value * 1_000_000) if plausible else 0


def parts_text(value: Any, lost: Lost) -> tuple[str, str | None]:
    """Text and reasoning of a message's content, which may be text, a list of parts, or nothing.

    Parts that are neither become `[image]` and the like, and are counted.
    """
    if isinstance(value, str) or value is None:
        return value or "", None
    if not isinstance(value, list):
        lost["contents that are neither text nor parts"] += 1
        return "", None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in value:
        kind = words(mapping(part).get("type")) if not isinstance(part, str) else "text"
        if isinstance(part, str):
            texts.append(part)
        elif kind in ("text", "input_text", "output_text", "refusal"):
            texts.append(words(part.get("text")) or words(part.get("refusal")))
        elif kind in ("reasoning", "thinking"):
            thoughts.append(words(part.get("reasoning")) or words(part.get("thinking")) or words(part.get("text")))
            if part.get("signature") or part.get("redacted"):
                lost["signed or redacted reasoning parts (signature not carried)"] += 1
        elif kind not in ("tool_use", "tool_call"):
            lost[f"{kind[:40] or 'unnamed'} parts of messages"] += 1
            texts.append(f"[{kind[:40] or 'part'}]")
    if len(texts) > 1:
        lost["messages of several text parts (joined)"] += 1
    return "".join(texts), "\n".join(thoughts) if thoughts else None


def wall_us(value: Any) -> int | None:
    """An ISO 8601 time in microseconds since the epoch, None where it is none."""
    try:
        moment = datetime.fromisoformat(words(value).replace("Z", "+00:00"))
        stamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return int(stamp * 1_000_000) if stamp >= 0 else None


def last_words(result: Result) -> str:
    """What the model would have been shown of an answer that no later turn held."""
    if result.shown is not None:
        return result.shown.text
    return result.output.decode("utf-8", "replace")
