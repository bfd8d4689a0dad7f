"""The changes that forks make to a trial: as its ledger keeps them, and made again when it is replayed or forked itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from sandbox.agent import Situation
from sandbox.environment import FileError
from sandbox.errors import UsageError
from sandbox.events import Draft, FileEffect, Message, StateDigested
from sandbox.record.layout import RunLayout
from sandbox.replay.fork_plan import Change, change_of
from sandbox.trajectory import Trajectory


class Made(NamedTuple):
    """A change, and the step behind which it was made."""

    step: int
    change: Change

    def recorded(self) -> dict[str, JsonValue]:
        return {"step": self.step, "change": self.change.recorded()}


def told_of(parent: Mapping[str, JsonValue] | None) -> list[tuple[int, Mapping[str, JsonValue]]]:
    """The changes that a manifest's `parent` tells of with their steps, as they stand there: those of the trials that this one
    was forked from, in order, then its own. What is not as forks write it is passed over."""
    parent = parent or {}
    earlier = parent.get("earlier")
    listed = [*(earlier if isinstance(earlier, list) else ()), parent]
    found: list[tuple[int, Mapping[str, JsonValue]]] = []
    for one in listed:
        step, change = (one.get("step"), one.get("change")) if isinstance(one, dict) else (None, None)
        if isinstance(step, int) and isinstance(change, dict) and change:
            found.append((step, change))
    return found


def lineage(trial: Trajectory) -> list[Made]:
    """The changes that were made in this trial, in order. Raises UsageError where one cannot be made again."""
    started = trial.started
    made = []
    for step, change in told_of(started.parent if started else None):
        try:
            made.append(Made(step, change_of(change, lambda digest: _written(trial, digest))))
        except (ValueError, TypeError, OSError) as error:
            raise UsageError(
                f"The change that was made behind step {step} of this trial is no longer recorded: it cannot be made again.",
                "A fork's files lie in its run's folder `changed`, and in its trials' ledgers.",
            ) from error
    return made


def _written(trial: Trajectory, digest: str) -> bytes:
    """A file that a change wrote: from the effect that shows it, or where the run of forks keeps it. Raises OSError."""
    for _, body in trial.of(FileEffect):
        if body.content is not None and body.content.sha256 == digest:
            data = trial.bytes_of(body.content)
            if data is not None and hashlib.sha256(data).hexdigest() == digest:
                return data
    run = RunLayout(trial.layout.root.absolute().parent.parent.parent)
    return (run.changed / digest).read_bytes()


class Again:
    """Makes the changes of a trial's lineage again, each behind its step. See `agent.Situation.revise`."""

    def __init__(self, made: Iterable[Made]) -> None:
        self._left = list(made)

    async def __call__(self, now: Situation, conversation: list[Message]) -> list[Message]:
        due = [made for made in self._left if made.step == now.spent.steps]
        self._left = [made for made in self._left if made.step != now.spent.steps]
        for made in due:
            await write_files(now, made.change)
            conversation = revised(conversation, made.change)
        return conversation


async def write_files(now: Situation, change: Change) -> None:
    """Write a change's files, and record that with a state digest of its own."""
    if not change.files:
        return
    for (host, path), data in change.files.items():
        try:
            await now.environment.write(path, data, host="" if host == "agent" else host)
        except FileError as error:
            raise UsageError(f"{host}:{path} cannot be written: {error.reason}.") from error
    effects = [draft._replace(during=None, origin=None, origin_basis="engine") for draft in await now.environment.effects()]
    digest, parts = await now.environment.digest()
    await now.ledger.append_many([*effects, Draft(StateDigested(digest=digest, parts=dict(parts)))])


def revised(conversation: Sequence[Message], change: Change) -> list[Message]:
    """The conversation with a change made to it. Raises UsageError where there is no tool result to replace."""
    messages = list(conversation)
    if change.system is not None:
        messages = [m.model_copy(update={"content": change.system}) if m.role == "system" else m for m in messages]
    if change.result is not None:
        place = next((n for n in reversed(range(len(messages))) if messages[n].role == "tool"), None)
        if place is None:
            raise UsageError("No tool has answered before this step.", "Fork at a later step to change a result.")
        messages[place] = messages[place].model_copy(update={"content": change.result})
    if change.message is not None:
        messages.append(Message(role="user", content=change.message))
    return messages
