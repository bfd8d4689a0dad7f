"""What other formats have no field for, carried in their metadata so that a trial of ours comes back whole.

Nothing in it is believed beyond what an imported trial is anyway: an account of calls and outputs, without effects. What does
not fit the messages beside it is left aside and counted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from sandbox.events import (
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
"""Bodies up to this size, in bytes, travel whole, as long as all of a trial's are within `MAX_BODIES`; others as they stand
in the event."""

MAX_BODIES = 16 * 1024 * 1024

Note = Annotated[Interviewed | LimitReached | ModelCalled | Reviewed | ScheduleFired | ErrorRaised, Field(discriminator="kind")]
_OURS = ("verdicts", "exported_head")
_NOTES = (Interviewed, LimitReached, ModelCalled, Reviewed, ScheduleFired, ErrorRaised)


class Data(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=False)


class ResultExtras(Data):
    status: Status
    exit_code: int | None = None
    duration_us: int = 0
    output: Content
    stderr: Content | None = None


class CallExtras(Data):
    """`arguments` are those that the call was carried out with, where a reviewer had changed what was asked for."""

    id: str
    provider_id: str = ""
    arguments: dict[str, JsonValue] | None = None
    result: ResultExtras | None = None


class TurnExtras(Data):
    """`shown` names the calls whose answers the model was shown with this turn. Notes that are exchanges with the model are
    those of forks, which no format has a place for."""

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
    """`head` is the hash of the last event of the ledger that was exported; `bodies` are those of stored contents by SHA-256,
    in base64; `claims` are its source's, where the trial was an import itself; `not_carried` is what stayed behind."""

    version: Literal[1] = Field(alias="belljar")
    manifest: dict[str, JsonValue]
    head: str = ""
    events: int = 0
    stop_reason: StopReason
    turns: tuple[TurnExtras, ...]
    bodies: dict[str, str] = {}
    submitted: Submitted | None = None
    verdicts: JsonValue = None
    claims: dict[str, JsonValue] = {}
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
        transcript.claims = {name: value for name, value in imported.claims.items() if name not in _OURS}
        verdicts = verdicts if verdicts is not None else imported.claims.get("verdicts")
        transcript.lost["sources of an import (kept beside the trial that was exported)"] += 1
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
    bodies = _unpacked(extras.bodies, transcript)
    for turn, kept in zip(transcript.turns, extras.turns, strict=True):
        _restore_turn(turn, kept, transcript, bodies)
    transcript.manifest = _manifest_fields(extras.manifest)
    transcript.model = str(extras.manifest.get("model", transcript.model))
    transcript.name = str(extras.manifest.get("trial", transcript.name))
    transcript.stop = extras.stop_reason
    if extras.submitted is not None:
        done = extras.submitted
        transcript.submitted = Submission(done.report, done.status, done.call, dict(done.fields))
    else:
        transcript.submitted = None
    transcript.claims |= extras.claims
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
    turns = tuple(_turn_extras(turn) for turn in transcript.turns)
    bodies = _bodies(transcript)
    done = transcript.submitted
    extras = Extras(
        belljar=VERSION,
        manifest=transcript.manifest,
        head=trajectory.events[-1].hash if trajectory.events else "",
        events=len(trajectory.events),
        stop_reason=transcript.stop,
        turns=turns,
        bodies=bodies,
        submitted=None
        if done is None
        else Submitted(call=done.call, status=done.status, report=done.report, fields=done.fields),
        verdicts=verdicts,
        claims=transcript.claims,
        not_carried=dict(transcript.lost),
    )
    packed: dict[str, JsonValue] = extras.model_dump(mode="json", by_alias=True, exclude_defaults=False)
    return packed


def _turn_extras(turn: Turn) -> TurnExtras:
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
                result=None if result is None else _result_extras(result),
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


def _result_extras(result: Result) -> ResultExtras:
    return ResultExtras(
        status=result.status,
        exit_code=result.exit_code,
        duration_us=result.duration_us,
        output=result.shown or Content(text="", size=0, sha256=""),
        stderr=result.shown_stderr,
    )


def _bodies(transcript: Transcript) -> dict[str, str]:
    """Stored bodies, within the bounds; those that stay behind are counted."""
    packed: dict[str, str] = {}
    left = MAX_BODIES
    for result in (result for turn in transcript.turns for result in turn.results):
        for content, data in ((result.shown, result.output), (result.shown_stderr, result.stderr)):
            if content is None or not content.stored or content.sha256 in packed:
                continue
            whole = data is not None and hashlib.sha256(data).hexdigest() == content.sha256
            if data is None or not whole or len(data) > min(left, MAX_BODY):
                transcript.lost["whole bodies of long outputs (their head and tail carried)"] += 1
                continue
            packed[content.sha256] = base64.b64encode(data).decode()
            left -= len(data)
    return packed


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


def _restore_turn(turn: Turn, kept: TurnExtras, transcript: Transcript, bodies: Mapping[str, bytes]) -> None:
    turn.purpose, turn.usage, turn.finish_reason = kept.purpose, kept.usage, kept.finish_reason
    turn.latency_us, turn.retries, turn.at = kept.latency_us, kept.retries, kept.at
    turn.notes = [note for note in kept.notes if not isinstance(note, ModelCalled) or note.purpose == "fork"]
    known = {result.call: result for result in turn.results}
    for call in kept.calls:
        if call.arguments is not None:
            turn.altered[call.id] = call.arguments
        if call.result is not None:
            result = known.get(call.id)
            if result is None:
                result = Result(call.id, b"")
                turn.results.append(result)
            _restore_result(result, call.result, bodies)
    turn.delta = [m for m in turn.delta if not _never_shown(m, kept, transcript)]
    order = {call.id: position for position, call in enumerate(turn.reply.calls)}
    turn.results.sort(key=lambda result: order.get(result.call, len(order)))


def _never_shown(message: Message, kept: TurnExtras, transcript: Transcript) -> bool:
    """Whether an answer is in the conversation only since the format has one place for what was given and what was told."""
    if message.role != "tool" or not message.call_id or message.call_id in kept.shown:
        return False
    results = (result for turn in transcript.turns for result in turn.results if result.call == message.call_id)
    return any(message.content == last_words(result) for result in results)


def _restore_result(result: Result, kept: ResultExtras, bodies: Mapping[str, bytes]) -> None:
    result.status, result.exit_code, result.duration_us = kept.status, kept.exit_code, kept.duration_us
    result.shown, result.output = _whole_content(kept.output, bodies)
    result.stderr = None
    if kept.stderr is None:
        result.shown_stderr = None
    else:
        result.shown_stderr, result.stderr = _whole_content(kept.stderr, bodies)


def _whole_content(content: Content, bodies: Mapping[str, bytes]) -> tuple[Content, bytes]:
    """Content that says the truth of what there is (complete text, a body beside it, or neither), and its bytes."""
    text = content.text.encode()
    if content.stored and content.sha256 in bodies:
        data = bodies[content.sha256]
        return content.model_copy(update={"size": len(data), "complete": False}), data
    if content.complete and not content.stored:
        return content.model_copy(update={"size": len(text), "sha256": hashlib.sha256(text).hexdigest()}), text
    return content.model_copy(update={"stored": False, "complete": False}), text


def _unpacked(bodies: Mapping[str, str], transcript: Transcript) -> dict[str, bytes]:
    """The bodies that are what their names say."""
    found: dict[str, bytes] = {}
    for digest, packed in bodies.items():
        try:
            data = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if hashlib.sha256(data).hexdigest() == digest:
            found[digest] = data
        else:
            transcript.lost["bodies in belljar metadata that are not what they say"] += 1
    return found


def counted(lost: Counter[str]) -> dict[str, int]:
    """As it is written into an event: at most 100 kinds of loss, the most frequent first, the rest in one sum."""
    common = lost.most_common()
    kept = {what[:200]: count for what, count in common[:100]}
    rest = sum(count for _, count in common[100:])
    return kept | ({"other things": rest} if rest else {})
