"""Carries a recorded trial out a second time: its calls in a fresh environment, its clock, its probes, and not its model.

The second execution is an ordinary trial (`sandbox/trial.py`) whose model and reviewers say what was recorded, so call ids,
logical time, schedule, freezing and probes come about as they did the first time; it leaves a ledger of its own, which
`sandbox/replay/grading.py` then holds against the recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from sandbox.errors import ContextOverflow, ModelUnavailable, UsageError
from sandbox.events import FORMAT, Call, Imported, Message, ModelCalled, Reviewed, ToolCalled, TrialStarted
from sandbox.hosts.packages import read
from sandbox.library.folder import ScenarioFolder, find
from sandbox.library.loading import Prepared, prepare
from sandbox.models.model import Model, Reply, ToolSpec
from sandbox.plan import TrialPlan, read_plan
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.replay.changes import Again, lineage
from sandbox.replay.grading import Grading, grade, last_step, unreplayable
from sandbox.review import Review
from sandbox.scenario import Resolved
from sandbox.trajectory import Trajectory
from sandbox.trial import BuildEnvironment, Machine, TrialJob, run_trial

NO_WALL = 30 * 86400.0
"""Seconds: a replay ends where the recording does, not when a slower machine's clock says so."""


class Playable(NamedTuple):
    """The turns of a trial that can be carried out again, and why the rest cannot, by step."""

    turns: tuple[ModelCalled, ...]
    missing: Mapping[int, str]


class RecordedTurns:
    """A model that makes the recorded choices, turn by turn, and gives the recorded answers to the interview.

    Raises ContextOverflow behind the last turn, which ends the trial there as it ended then, and ModelUnavailable for a
    question whose answer could not be had.
    """

    name = "replay"
    sampling: Mapping[str, JsonValue] = {}

    def __init__(self, turns: Sequence[ModelCalled], recorded: Trajectory) -> None:
        self._turns = turns
        self._answers = _answers(recorded)

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        if not tools:
            return self._answer(conversation[-1].content)
        turn = sum(message.role == "assistant" for message in conversation)
        if turn >= len(self._turns):
            raise ContextOverflow("The recording ends here.")
        return _reply(self._turns[turn])

    def _answer(self, asked: str) -> Reply:
        exchange = self._answers.get(asked)
        if exchange is None:
            raise ModelUnavailable("The recording holds no answer.")
        return _reply(exchange)

    async def close(self) -> None:
        """Nothing is held."""


@dataclass
class RecordedReviewer:
    """Decides on each call as a reviewer of the recorded trial did."""

    name: str
    decisions: Mapping[str, Reviewed]

    async def review(self, call: Call, conversation: Sequence[Message]) -> Review:
        found = self.decisions.get(call.id)
        if found is None:
            return Review("allow")
        return Review(found.decision, found.reason, found.suspicion, found.arguments)


def recorded_reviewers(recorded: Trajectory) -> list[RecordedReviewer]:
    """One for each reviewer of the trial, in the order in which they were asked."""
    found: dict[str, dict[str, Reviewed]] = {}
    for _, body in recorded.of(Reviewed):
        found.setdefault(body.reviewer, {})[body.call] = body
    return [RecordedReviewer(name, decisions) for name, decisions in found.items()]


def playable(recorded: Trajectory) -> Playable:
    """The recorded turns up to the first that cannot be carried out; everything behind it rests on what it did."""
    calls = {body.call: event for event, body in recorded.of(ToolCalled)}
    turns: list[ModelCalled] = []
    for event, body in recorded.of(ModelCalled):
        if body.purpose != "turn":
            continue
        why = f"withholds the model's {', '.join(event.withheld)}" if {"reply"} & set(event.withheld) else ""
        hidden = [c.id for c in body.reply.calls if c.id in calls and calls[c.id].withheld]
        why = why or (f"withholds the arguments of {', '.join(hidden)}" if hidden else "")
        if why:
            step = event.header.step
            behind = range(step + 1, last_step(recorded) + 1)
            later = dict.fromkeys(behind, f"step {step}, which it rests on, could not be carried out")
            return Playable(tuple(turns), {step: f"the recording {why}", **later})
        turns.append(body)
    return Playable(tuple(turns), {})


def conversation_before(recorded: Trajectory, step: int) -> list[Message] | None:
    """What the model was shown for its turn behind a step, from the beginning; None where part of that is withheld.

    A turn that was told the system prompt was told everything anew, as after a fork's change.
    """
    found: list[Message] = []
    for event, body in recorded.of(ModelCalled):
        if body.purpose != "turn":
            continue
        if {"delta", "reply"} & set(event.withheld):
            return None
        anew = any(message.role == "system" for message in body.delta)
        found = [*(() if anew else found), *body.delta]
        if event.header.step > step:
            return found
        found.append(body.reply)
    return found


def not_ours(recorded: Trajectory) -> str:
    """Why a trial cannot be carried out again whatever the machine has; empty if it may be."""
    if any(True for _ in recorded.of(Imported)):
        return "it was imported: another program recorded it, with its own tools and no effects"
    if newer := recorded.newer_format:
        return f"it was recorded in ledger format {newer}, which is newer than this version's {FORMAT}"
    if recorded.started is None:
        return "its manifest cannot be read"
    return ""


def prepare_again(recorded: TrialStarted, folder: ScenarioFolder) -> Prepared:
    """The trial's scenario for its arm, seed and limits. Raises UsageError naming what is not as it was."""
    if recorded.scenario_digest != folder.digest:
        raise UsageError(
            f"{recorded.trial} was recorded with another definition of {recorded.scenario}: digest "
            f"{recorded.scenario_digest[:12]} then, {folder.digest[:12]} now ({folder.path}).",
            "Restore the scenario's files, or name their folder with --scenario.",
        )
    prepared = prepare(folder, recorded.arm, recorded.seed, limits=recorded.limits)
    if dict(prepared.resolved.arm) != dict(recorded.arm):
        raise UsageError(f"{recorded.trial} was recorded in the arm {recorded.arm}, which is now {prepared.resolved.arm}.")
    return prepared


def machine_differences(recorded: Trajectory, machine: Machine) -> dict[str, tuple[str, str]]:
    """What the machine has otherwise than the one of the recording: images, their packages, versions; (then, now) by name.

    Of a recording without package lists it is only said that it has none.
    """
    manifest = recorded.manifest
    listed = recorded.bytes_of(manifest.packages) if manifest.packages else None
    packages = ({"packages": "not recorded"}, {}) if listed is None else (read(listed.decode()), read(machine.packages))
    then = {**manifest.images, **manifest.versions, "runtime": manifest.runtime, **packages[0]}
    now = {**machine.images, **machine.versions, "runtime": machine.runtime, **packages[1]}
    return {
        name: (then.get(name, ""), now.get(name, ""))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    }


async def replay(
    recorded: Trajectory, folder: ScenarioFolder, attempt: AttemptLayout, *, build: BuildEnvironment, machine: Machine
) -> tuple[Grading, Trajectory | None]:
    """Carry `recorded` out again into the ledger of `attempt`, and grade it; the second execution is None if there was none.

    Raises UsageError where scenario, arm or seed are not the recorded ones.
    """
    why = not_ours(recorded)
    found = playable(recorded)
    if why or not found.turns:
        return unreplayable(recorded, why or found.missing.get(1, "no turn of the model was recorded")), None
    manifest = recorded.manifest
    made = lineage(recorded)
    earlier: list[JsonValue] = [dict(one.recorded()) for one in made]
    prepared = without_wall(prepare_again(manifest, folder))
    model = RecordedTurns(found.turns, recorded)
    job = TrialJob(
        plan=plan_of(manifest, trial=attempt.trial, model="replay:" + manifest.trial),
        prepared=prepared,
        run=attempt.run or "replay",
        attempt=attempt.number,
        folder=attempt,
        machine=machine,
        parent={"trial": manifest.trial, "run": manifest.run, "replay": True, **({"earlier": earlier} if earlier else {})},
    )

    async def open_model(_: TrialJob) -> Model:
        return model

    reviewers = recorded_reviewers(recorded)
    await run_trial(job, build=build, open_model=open_model, reviewers=reviewers, revise=Again(made) if made else None)
    replayed = Trajectory.load(attempt.ledger)
    return grade(recorded, replayed, missing=found.missing), replayed


def plan_of(manifest: TrialStarted, *, trial: str, model: str) -> TrialPlan:
    """The recorded trial's plan under another id and model."""
    return TrialPlan(
        id=trial, scenario=manifest.scenario, arm=dict(manifest.arm), seed=manifest.seed, epoch=manifest.epoch, model=model
    )


def without_wall(prepared: Prepared) -> Prepared:
    """The same trial without a bound on wall time."""
    limits = prepared.resolved.limits.model_copy(update={"wall_seconds": NO_WALL})
    resolved: Resolved = prepared.resolved.model_copy(update={"limits": limits})
    return Prepared(prepared.folder, prepared.scenario, resolved, prepared.files, prepared.context)


def _reply(exchange: ModelCalled) -> Reply:
    return Reply(exchange.reply, exchange.usage, exchange.finish_reason)


def _answers(recorded: Trajectory) -> dict[str, ModelCalled]:
    """What was answered to each question of the interview and of the forks, by the question as it was put."""
    found = {}
    for _, body in recorded.of(ModelCalled):
        if body.purpose != "turn" and body.delta and not body.finish_reason.startswith("no answer"):
            found[body.delta[-1].content] = body
    return found


def find_scenario(recorded: Trajectory, path: Path | None) -> ScenarioFolder:
    """The recorded trial's scenario: at `path`, where its run's plan says, or in the library. Raises UsageError."""
    manifest = recorded.manifest
    wanted = str(path) if path else manifest.scenario
    root = recorded.layout.root.absolute()
    study = RunLayout(root.parent.parent.parent).study
    if path is None and study.is_file():
        wanted = read_plan(study).paths.get(manifest.scenario, wanted)
    folder = find([wanted])[0]
    if folder.name != manifest.scenario and path is None:
        raise UsageError(f"{manifest.trial} was recorded in {manifest.scenario}, not {folder.name}.")
    return folder
