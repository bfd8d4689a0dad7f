"""What other formats have no field for, carried in their metadata so that a trial of ours comes back whole.

Nothing in it is believed beyond what an imported trial is anyway: an account of calls and outputs, without effects. What does
not fit the messages beside it is left aside and counted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from sandbox.events import (
    Body,
    Content,
    ErrorRaised,
    Event,
    Imported,
    Interviewed,
    LimitReached,
    Message,
    ModelCalled,
    Reviewed,
    ScheduleFired,
    StopReason,
    Submitted,
    ToolCalled,
    ToolReturned,
    TrialFinished,
    TrialStarted,
    Usage,
)
from sandbox.interop.transcript import Result, Status, Submission, Transcript, Turn, last_words
from sandbox.trajectory import Trajectory

VERSION: Literal[1] = 1
MAX_BODY = 1024 * 1024
"""Bodies up to this size, in bytes, travel whole; larger ones as they stand in the event."""

Note = Annotated[Interviewed | LimitReached | Reviewed | ScheduleFired | ErrorRaised, Field(discriminator="kind")]
_NOTES = (Interviewed, LimitReached, Reviewed, ScheduleFired, ErrorRaised)


class Data(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class ResultExtras(Data):
    """`body` is the whole output in base64 where `output` does not hold it."""

    status: Status
    exit_code: int | None = None
    duration_us: int = 0
    output: Content
    stderr: Content | None = None
    body: str | None = None


class CallExtras(Data):
    """`arguments` are those that the call was carried out with, where a reviewer had changed what was asked for."""

    id: str
    provider_id: str = ""
    arguments: dict[str, JsonValue] | None = None
    result: ResultExtras | None = None


class TurnExtras(Data):
    """`shown` names the calls whose answers the model was shown with this turn."""

    purpose: Literal["turn", "interview"] = "turn"
    usage: Usage = Usage()
    finish_reason: str = ""
    latency_us: int = 0
    retries: tuple[str, ...] = ()
    at: int | None = None
    shown: tuple[str, ...] = ()
    calls: tuple[CallExtras, ...] = ()
    notes: tuple[Note, ...] = ()


class Extras(Data):
    """`head` is the hash of the last event of the ledger that was exported; `not_carried` what stayed behind there."""

    version: Literal[1] = Field(alias="belljar")
    manifest: dict[str, JsonValue]
    head: str = ""
    events: int = 0
    stop_reason: StopReason
    turns: tuple[TurnExtras, ...]
    submitted: Submitted | None = None
    verdicts: JsonValue = None
    not_carried: dict[str, int] = {}


def transcript_of(trajectory: Trajectory, verdicts: JsonValue = None) -> tuple[Transcript, dict[str, JsonValue]]:
    """A recorded trial as messages, calls and outputs, and the extras that bring the rest back.

    The transcript's `lost` counts what neither holds. Raises IntegrityError where the trial has no manifest.
    """
    manifest = trajectory.manifest
    transcript = Transcript(manifest.trial, model=manifest.model, manifest=_kept(manifest))
    for event in trajectory.events:
        _place(event, transcript, trajectory)
    finished = trajectory.finished
    transcript.stop = finished.stop_reason if finished else "interrupted"
    imported = next((body for _, body in trajectory.of(Imported)), None)
    if imported is not None:
        transcript.claims = dict(imported.claims)
        verdicts = verdicts if verdicts is not None else imported.claims.get("verdicts")
    return transcript, _packed(transcript, trajectory, verdicts)


def restore(transcript: Transcript, raw: Any) -> None:
    """Apply extras found in a source to the transcript read from its messages; what does not fit is counted, never raised."""
    try:
        extras = Extras.model_validate(raw)
    except ValidationError:
        transcript.lost["belljar metadata that cannot be read"] += 1
        return
    if len(extras.turns) != len(transcript.turns) or not _rename(transcript, extras):
        transcript.lost["belljar metadata that does not fit the messages"] += 1
        return
    for turn, kept in zip(transcript.turns, extras.turns, strict=True):
        _restore_turn(turn, kept, transcript)
    transcript.manifest = _manifest_fields(extras.manifest)
    transcript.model = str(extras.manifest.get("model", transcript.model))
    transcript.name = str(extras.manifest.get("trial", transcript.name))
    transcript.stop = extras.stop_reason
    if extras.submitted is not None:
        done = extras.submitted
        transcript.submitted = Submission(done.report, done.status, done.call, dict(done.fields))
    else:
        transcript.submitted = None
    if extras.verdicts is not None:
        transcript.claims["verdicts"] = extras.verdicts
    transcript.claims["exported_head"] = extras.head
    for what, count in extras.not_carried.items():
        transcript.lost[f"{what} (left behind on export)"] += count


def _kept(manifest: TrialStarted) -> dict[str, Any]:
    return manifest.model_dump(mode="json", exclude={"kind", "format", "run", "parent", "sensors"})


def _manifest_fields(manifest: dict[str, JsonValue]) -> dict[str, Any]:
    """Those fields of a manifest that hold by themselves; the others are dropped by the writer's own checks."""
    return {name: value for name, value in manifest.items() if name in TrialStarted.model_fields}


def _place(event: Event, transcript: Transcript, trajectory: Trajectory) -> None:
    """One event of ours, in the order of the ledger."""
    body, turns = event.body, transcript.turns
    for name in event.withheld:
        transcript.lost[f"withheld fields `{event.kind}.{name}`"] += 1
    if isinstance(body, ModelCalled) and body.purpose != "fork":
        turns.append(_turn(event, body))
    elif isinstance(body, ToolCalled) and turns:
        if body.requested is not None:
            turns[-1].altered[body.call] = dict(body.arguments)
    elif isinstance(body, ToolReturned) and turns:
        turns[-1].results.append(_result(body, trajectory))
    elif isinstance(body, Submitted):
        transcript.submitted = Submission(body.report, body.status, body.call, dict(body.fields))
    elif isinstance(body, _NOTES) and turns:
        turns[-1].notes.append(body)
    elif not isinstance(body, TrialStarted | TrialFinished | Imported):
        transcript.lost[f"{event.kind} events"] += 1


def _turn(event: Event, body: ModelCalled) -> Turn:
    return Turn(
        list(body.delta),
        body.reply,
        body.usage,
        body.finish_reason,
        body.latency_us,
        body.retries,
        body.purpose,
        event.header.observed_at.wall_us,
    )


def _result(body: ToolReturned, trajectory: Trajectory) -> Result:
    output = trajectory.bytes_of(body.output)
    stderr = trajectory.bytes_of(body.stderr) if body.stderr is not None else None
    return Result(
        body.call,
        body.output.text.encode() if output is None else output,
        body.status,
        stderr,
        body.exit_code,
        body.duration_us,
        body.output,
        body.stderr,
    )


def _packed(transcript: Transcript, trajectory: Trajectory, verdicts: JsonValue) -> dict[str, JsonValue]:
    turns = tuple(_turn_extras(turn, transcript) for turn in transcript.turns)
    done = transcript.submitted
    extras = Extras(
        belljar=VERSION,
        manifest=transcript.manifest,
        head=trajectory.events[-1].hash if trajectory.events else "",
        events=len(trajectory.events),
        stop_reason=transcript.stop,
        turns=turns,
        submitted=None
        if done is None
        else Submitted(call=done.call, status=done.status, report=done.report, fields=done.fields),
        verdicts=verdicts,
        not_carried=dict(transcript.lost),
    )
    packed: dict[str, JsonValue] = extras.model_dump(mode="json", by_alias=True, exclude_defaults=False)
    return packed


def _turn_extras(turn: Turn, transcript: Transcript) -> TurnExtras:
    results = {result.call: result for result in turn.results}
    calls = []
    for call in turn.reply.calls:
        result = results.get(call.id)
        changed = turn.altered.get(call.id)
        calls.append(
            CallExtras(
                id=call.id,
                provider_id=call.provider_id,
                arguments=changed,
                result=None if result is None else _result_extras(result, transcript),
            )
        )
    notes = tuple(note for note in turn.notes if isinstance(note, _NOTES))
    purpose: Literal["turn", "interview"] = "interview" if turn.purpose == "interview" else "turn"
    return TurnExtras(
        purpose=purpose,
        usage=turn.usage,
        finish_reason=turn.finish_reason,
        latency_us=turn.latency_us,
        retries=turn.retries,
        at=turn.at,
        shown=tuple(message.call_id for message in turn.delta if message.role == "tool"),
        calls=tuple(calls),
        notes=notes,
    )


def _result_extras(result: Result, transcript: Transcript) -> ResultExtras:
    shown = result.shown or Content(text="", size=0, sha256="")
    body = None
    if shown.stored and hashlib.sha256(result.output).hexdigest() == shown.sha256:
        if len(result.output) <= MAX_BODY:
            body = base64.b64encode(result.output).decode()
        else:
            transcript.lost[f"outputs of more than {MAX_BODY:,} bytes (their head and tail carried)"] += 1
    if result.shown_stderr is not None and result.shown_stderr.stored:
        transcript.lost["whole bodies of long error outputs (their head and tail carried)"] += 1
    return ResultExtras(
        status=result.status,
        exit_code=result.exit_code,
        duration_us=result.duration_us,
        output=shown,
        stderr=result.shown_stderr,
        body=body,
    )


def _rename(transcript: Transcript, extras: Extras) -> bool:
    """Give calls their own ids back; false where the calls are not the same ones."""
    names: dict[str, str] = {}
    for turn, kept in zip(transcript.turns, extras.turns, strict=True):
        if [call.provider_id for call in turn.reply.calls] != [call.id for call in kept.calls]:
            return False
        names |= {call.id: own.id for call, own in zip(turn.reply.calls, kept.calls, strict=True)}
    if len(set(names.values())) != len(names):
        return False
    for turn, kept in zip(transcript.turns, extras.turns, strict=True):
        calls = tuple(
            call.model_copy(update={"id": own.id, "provider_id": own.provider_id})
            for call, own in zip(turn.reply.calls, kept.calls, strict=True)
        )
        turn.reply = turn.reply.model_copy(update={"calls": calls})
        turn.delta = [m.model_copy(update={"call_id": names.get(m.call_id, m.call_id)}) for m in turn.delta]
        for result in turn.results:
            result.call = names.get(result.call, result.call)
    return True


def _restore_turn(turn: Turn, kept: TurnExtras, transcript: Transcript) -> None:
    turn.purpose, turn.usage, turn.finish_reason = kept.purpose, kept.usage, kept.finish_reason
    turn.latency_us, turn.retries, turn.at = kept.latency_us, kept.retries, kept.at
    turn.notes = list[Body](kept.notes)
    known = {result.call: result for result in turn.results}
    for call in kept.calls:
        if call.arguments is not None:
            turn.altered[call.id] = call.arguments
        if call.result is not None:
            result = known.get(call.id)
            if result is None:
                result = Result(call.id, b"")
                turn.results.append(result)
            _restore_result(result, call.result, transcript)
    turn.delta = [m for m in turn.delta if not _never_shown(m, kept, transcript)]
    order = {call.id: position for position, call in enumerate(turn.reply.calls)}
    turn.results.sort(key=lambda result: order.get(result.call, len(order)))


def _never_shown(message: Message, kept: TurnExtras, transcript: Transcript) -> bool:
    """Whether an answer is in the conversation only since the format has one place for what was given and what was told."""
    if message.role != "tool" or not message.call_id or message.call_id in kept.shown:
        return False
    results = (result for turn in transcript.turns for result in turn.results if result.call == message.call_id)
    return any(message.content == last_words(result) for result in results)


def _restore_result(result: Result, kept: ResultExtras, transcript: Transcript) -> None:
    result.status, result.exit_code, result.duration_us = kept.status, kept.exit_code, kept.duration_us
    result.shown_stderr = _whole_content(kept.stderr, None)
    result.stderr = None
    data = _decoded(kept.body)
    result.shown = _whole_content(kept.output, data)
    result.output = data if data is not None else result.shown.text.encode() if result.shown else b""
    if data is None and kept.body is not None:
        transcript.lost["bodies in belljar metadata that are not what they say"] += 1


def _whole_content(content: Content | None, data: bytes | None) -> Content | None:
    """Content whose digest says the truth of what there is: complete text, a body beside it, or neither."""
    if content is None:
        return None
    if content.stored and (data is None or hashlib.sha256(data).hexdigest() != content.sha256):
        return content.model_copy(update={"stored": False, "complete": False})
    if content.complete and not content.stored:
        text = content.text.encode()
        return content.model_copy(update={"size": len(text), "sha256": hashlib.sha256(text).hexdigest()})
    return content


def _decoded(body: str | None) -> bytes | None:
    try:
        return None if body is None else base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        return None


def counted(lost: Counter[str]) -> dict[str, int]:
    """As it is written into an event: at most 100 kinds of loss, the most frequent first, the rest in one sum."""
    common = lost.most_common()
    kept = {what[:200]: count for what, count in common[:100]}
    rest = sum(count for _, count in common[100:])
    return kept | ({"other things": rest} if rest else {})
