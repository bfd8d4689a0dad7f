"""An imported trial as a folder like any other: a fresh ledger that says where it came from and that nothing was watched.

A run's folder is made beside its place under a hidden name and renamed when all of it is written; what fails leaves
nothing, in the anchors neither.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, ValidationError
from pydantic_core import to_json

from sandbox.errors import EventTooLarge, NotReadyError, UsageError
from sandbox.events import (
    Body,
    Content,
    Draft,
    Imported,
    Message,
    ModelCalled,
    ObservedAt,
    SensorState,
    Submitted,
    ToolCalled,
    ToolReturned,
    TrialFinished,
    TrialStarted,
    Usage,
)
from sandbox.interop.extras import counted
from sandbox.interop.intake import SourceFile
from sandbox.interop.sniff import Recognised
from sandbox.interop.transcript import Lost, Result, Submission, Transcript, Turn
from sandbox.record.anchors import run_anchors
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout, RunLayout, new_run_id
from sandbox.record.ledger import Ledger, now

MAX_TRIALS = 20_000
MAX_CLAIM = 1024 * 1024
MAX_MESSAGE = 1_000_000
"""Characters of a message that are kept in the conversation."""
_NOTHING_SEEN = "nothing was watched: the trial was recorded elsewhere and imported"
_KINDS = ("files", "passing", "opens", "processes", "network", "connections", "services", "canaries")
_EXCERPT = 256


class ImportedTrial(NamedTuple):
    """One trial that was written: what it holds, and what its source held besides."""

    id: str
    path: Path
    model: str
    turns: int
    calls: int
    lost: dict[str, int]


class ImportReport(NamedTuple):
    """What became of a file. `path` is the run's folder."""

    path: Path
    format: str
    name: str
    sha256: str
    trials: tuple[ImportedTrial, ...]

    @property
    def lost(self) -> dict[str, int]:
        """What could not be carried, over all trials, the most frequent first."""
        total: Counter[str] = Counter()
        for trial in self.trials:
            total.update(trial.lost)
        return dict(total.most_common())


async def write_run(recognised: Recognised, source: SourceFile, out: Path) -> ImportReport:
    """Write every trial of a source into a new run below `out`.

    Raises UsageError where the source turns out not to be readable or holds more than `MAX_TRIALS` trials, NotReadyError
    where the folder cannot be written; in both cases nothing is left behind.
    """
    run = new_run_id()
    partial, place = RunLayout(out / f".{run}.partial"), RunLayout(out / run)
    digest = hashlib.sha256(source.data).hexdigest()
    written: list[ImportedTrial] = []
    try:
        partial.root.mkdir(parents=True)
        names: Counter[str] = Counter()
        for transcript in recognised.transcripts:
            if len(written) >= MAX_TRIALS:
                raise UsageError(f"{source.name} holds more than {MAX_TRIALS:,} trials.", "Split it into several files.")
            trial = trial_id(transcript.name, names)
            attempt = partial.trial(trial).attempt(1)
            _shorten(transcript)
            origin = _Origin(recognised.format, source.name, digest, len(source.data), run, trial)
            await _write_trial(transcript, attempt, origin)
            lost = counted(transcript.lost)
            calls = sum(len(turn.reply.calls) for turn in transcript.turns)
            final = place.trial(trial).root
            written.append(ImportedTrial(trial, final, transcript.model, len(transcript.turns), calls, lost))
        partial.root.rename(place.root)
    except BaseException as error:
        shutil.rmtree(partial.root, ignore_errors=True)
        shutil.rmtree(run_anchors(run), ignore_errors=True)
        if isinstance(error, EventTooLarge):
            raise UsageError(f"{source.name}: {error.message}", "Shorten its longest message.") from error
        if isinstance(error, OSError):
            raise NotReadyError(f"The import cannot be written to {out}: {error.strerror}.") from error
        raise
    return ImportReport(place.root, recognised.format, source.name, digest, tuple(written))


def trial_id(name: str, taken: Counter[str]) -> str:
    """A folder's name made of a source's own name of a trial; a second one of the same name gets a number."""
    safe = re.sub(r"[^A-Za-z0-9._@=+,-]+", "-", name).strip("-.,=+@_")[:120] or "trial"
    folded = safe.casefold()
    taken[folded] += 1
    if taken[folded] == 1:
        return safe
    numbered = f"{safe}-{taken[folded]}"
    return numbered if not taken[numbered.casefold()] else f"{safe}-{secrets.token_hex(4)}"


def _shorten(transcript: Transcript) -> None:
    """Bound every message of the conversation; results stay whole in the blob store, and the source holds all of it."""
    for turn in transcript.turns:
        for place, message in enumerate(turn.delta):
            turn.delta[place] = _shortened(message, transcript.lost)
        turn.reply = _shortened(turn.reply, transcript.lost)


def _shortened(message: Message, lost: Lost) -> Message:
    texts = {"content": message.content, "reasoning": message.reasoning or ""}
    long = {name: text for name, text in texts.items() if len(text) > MAX_MESSAGE}
    lost.update({f"the middle of long messages ({name})": 1 for name in long})
    return message.model_copy(update={name: _ends(text) for name, text in long.items()}) if long else message


def _ends(text: str) -> str:
    half = MAX_MESSAGE // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"


class _Origin(NamedTuple):
    format: str
    name: str
    sha256: str
    size: int
    run: str
    trial: str


async def _write_trial(transcript: Transcript, attempt: AttemptLayout, origin: _Origin) -> None:
    clock = _Clock(transcript)
    async with Ledger(attempt, clock=clock) as ledger:
        await ledger.append_many(await _opening(transcript, origin, ledger))
        for step, turn in enumerate(transcript.turns, 1):
            ledger.step = step
            clock.at(turn)
            await ledger.append_many(await _turn_drafts(turn, ledger, transcript.submitted))
        done = transcript.submitted
        if done is not None and done.call not in {call.id for turn in transcript.turns for call in turn.reply.calls}:
            await ledger.append(_submitted(done))
        await ledger.append(Draft(_finish(transcript)))


class _Clock:
    """The source's own times where it tells them, this machine's otherwise."""

    def __init__(self, transcript: Transcript) -> None:
        self._first = next((turn.at for turn in transcript.turns if turn.at is not None), None)
        self._now = self._first

    def at(self, turn: Turn) -> None:
        self._now = turn.at if turn.at is not None else self._now

    def __call__(self) -> ObservedAt:
        if self._now is None or self._first is None:
            return now()
        return ObservedAt(self._now, max(0, self._now - self._first))


async def _opening(transcript: Transcript, origin: _Origin, ledger: Ledger) -> list[Draft]:
    source = await ledger.keep(transcript.part, _EXCERPT)
    claims = _bounded(transcript)
    manifest = _manifest(transcript, origin)
    imported = Imported(
        format=origin.format,
        name=origin.name,
        file_sha256=origin.sha256,
        file_size=origin.size,
        source=source,
        part=transcript.part_name,
        lost=counted(transcript.lost),
        claims=claims,
    )
    unseen = SensorState(sensor="import", state="gap", covers=_KINDS, detail=_NOTHING_SEEN)
    return [Draft(manifest), Draft(imported), Draft(unseen)]


def _bounded(transcript: Transcript) -> dict[str, JsonValue]:
    """What the source says of itself, as far as an event should hold it; all of it stands in the source."""
    kept: dict[str, JsonValue] = {}
    for name, value in transcript.claims.items():
        if len(to_json(value, inf_nan_mode="strings")) <= MAX_CLAIM:
            kept[name] = value
        else:
            transcript.lost[f"large fields `{name[:40]}`"] += 1
    return kept


def _manifest(transcript: Transcript, origin: _Origin) -> TrialStarted:
    """What is known of the trial; fields of a source's manifest that do not fit are dropped and counted."""
    plain: dict[str, object] = {
        "scenario": "imported",
        "scenario_digest": "",
        "resolved": {},
        "arm": {},
        "seed": 0,
        "epoch": 1,
        "model": transcript.model or "unknown",
    }
    ours = {"trial": origin.trial, "run": origin.run, "kind": "trial.started", "format": 1, "parent": None, "sensors": ()}
    try:
        return TrialStarted.model_validate(plain | transcript.manifest | ours)
    except ValidationError:
        transcript.lost["manifests that cannot be read"] += 1
        return TrialStarted.model_validate(plain | ours)


async def _turn_drafts(turn: Turn, ledger: Ledger, done: Submission | None) -> list[Draft]:
    """The exchange, then each call and, where there is one, its answer; the submission behind the call that made it."""
    called = ModelCalled(
        purpose=turn.purpose,
        delta=tuple(turn.delta),
        reply=turn.reply,
        finish_reason=turn.finish_reason,
        usage=turn.usage,
        latency_us=turn.latency_us,
        retries=turn.retries,
    )
    drafts = [Draft(called, source="agent")]
    results = {result.call: result for result in turn.results}
    for call in turn.reply.calls:
        altered = turn.altered.get(call.id)
        body = ToolCalled(
            call=call.id,
            tool=call.tool,
            arguments=call.arguments if altered is None else altered,
            requested=None if altered is None else call.arguments,
        )
        drafts.append(Draft(body, source="agent"))
        if call.id in results:
            drafts.append(Draft(await _returned(results[call.id], ledger), during=call.id))
        if done is not None and done.call == call.id:
            drafts.append(_submitted(done))
    notes: list[Body] = list(turn.notes)
    return drafts + [Draft(note, source="agent" if isinstance(note, ModelCalled) else "engine") for note in notes]


def _submitted(done: Submission) -> Draft:
    return Draft(Submitted(call=done.call, status=done.status, report=done.report, fields=done.fields), source="agent")


async def _returned(result: Result, ledger: Ledger) -> ToolReturned:
    return ToolReturned(
        call=result.call,
        status=result.status,
        output=await _content(result.output, result.shown, ledger),
        stderr=None
        if result.stderr is None and result.shown_stderr is None
        else await _content(result.stderr or b"", result.shown_stderr, ledger),
        exit_code=result.exit_code,
        duration_us=result.duration_us,
    )


async def _content(data: bytes, shown: Content | None, ledger: Ledger) -> Content:
    """As the source shows it, its body put into the store where it says that there is one."""
    if shown is None:
        return await ledger.keep(data)
    if shown.stored:
        BlobStore(ledger.attempt.blobs).put(data)
    return shown


def _finish(transcript: Transcript) -> TrialFinished:
    turns = transcript.turns
    inputs = [turn.usage.input_tokens for turn in turns if turn.usage.input_tokens is not None]
    outputs = [turn.usage.output_tokens for turn in turns if turn.usage.output_tokens is not None]
    costs = [turn.usage.cost_usd for turn in turns if turn.usage.cost_usd is not None]
    usage = Usage(
        input_tokens=sum(inputs) if inputs else None,
        output_tokens=sum(outputs) if outputs else None,
        cost_usd=sum(costs) if costs else None,
    )
    return TrialFinished(
        stop_reason=transcript.stop,
        steps=sum(turn.purpose == "turn" for turn in turns),
        calls=sum(len(turn.reply.calls) for turn in turns),
        usage=usage,
        model_us=sum(turn.latency_us for turn in turns),
    )
