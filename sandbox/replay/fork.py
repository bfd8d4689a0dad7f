"""Forks a recorded trial: executes it again up to a step, changes one thing, and lets a model go on from there, n times.

A fork is a whole trial of its own: the calls before the step are carried out again and recorded in its ledger, since recorded
files cannot bring back processes, the shell's state or the world's memory. Before anything is changed, what was rebuilt is
graded against the recording (`sandbox/replay/grading.py`); a fork from another state than the recorded one is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from sandbox.agent import Situation
from sandbox.errors import InfrastructureError, IntegrityError, UsageError
from sandbox.events import Message, ModelCalled, StateDigested, TrialStarted
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import Prepared, prepare
from sandbox.models.model import Model, Reply, ToolSpec
from sandbox.plan import StudyPlan, TrialPlan, write_plan
from sandbox.record.layout import RunLayout
from sandbox.replay.changes import Again, lineage, revised, write_files
from sandbox.replay.fork_plan import Change, ForkPlan, keep
from sandbox.replay.grading import NOTHING, Grading, grade, last_step
from sandbox.replay.replay import RecordedTurns, conversation_before, not_ours, playable, prepare_again, recorded_reviewers
from sandbox.review import Reviewer
from sandbox.study import hold, is_finished, next_attempt
from sandbox.trajectory import Trajectory
from sandbox.trial import BuildEnvironment, Machine, TrialJob, run_trial

Branch = Literal["changed", "control"]


@dataclass(frozen=True)
class Rebuilt:
    """What executing the steps before a fork again gave. `digest` and `expected` are the state digests after the step, now and
    then ("" if none was recorded); `grading` compares the steps."""

    step: int
    digest: str
    expected: str
    grading: Grading

    @property
    def same(self) -> bool | None:
        """Whether the state is the recorded one, or differs in declared classes only; None if no state was recorded."""
        unmade = any(step.grade == "unreplayable" and step.cause != NOTHING for step in self.grading.steps)
        if unmade or any(difference.cause for difference in self.grading.differences):
            return False
        return True if self.expected else None

    @property
    def exact(self) -> bool:
        return self.digest == self.expected

    def told(self) -> str:
        """How the rebuilt state differs, in a few sentences; empty if it does not."""
        bad = [d for d in self.grading.differences if d.cause]
        worst = [f"step {d.step}, {d.where}: recorded {d.recorded[:80]!r}, rebuilt {d.replayed[:80]!r}" for d in bad[:3]]
        unmade = [f"step {s.step}: {s.cause}" for s in self.grading.steps if s.grade == "unreplayable"]
        if self.same is False:
            return "; ".join([*worst, *unmade[:1]])
        if not self.expected:
            return f"no digest was recorded before the {'end of this step' if self.step else 'first call'}"
        if self.exact:
            return ""
        classes = sorted({name for d in self.grading.differences for name in d.classes})
        return f"the state digest differs in {', '.join(classes) or 'nothing that was told of'}"


class ForkedModel:
    """Repeats the recorded turns before the fork, then lets `model` go on with a sampling seed of its own."""

    def __init__(self, model: Model, turns: Sequence[ModelCalled], recorded: Trajectory, *, seed: int) -> None:
        self._model = model
        self._recorded = RecordedTurns(turns, recorded)
        self._turns = len(turns)
        self._seed = seed

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        return {**self._model.sampling, "seed": self._seed}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        turn = sum(message.role == "assistant" for message in conversation)
        if turn < self._turns:
            return await self._recorded.reply(conversation, tools)
        return await self._model.reply(conversation, tools, seed=self._seed)

    async def close(self) -> None:
        """The model is its opener's to close: other forks go on with it."""


@dataclass
class Point:
    """The moment of a fork, in one trial: checks what was rebuilt, then makes the change. See `agent.Situation.revise`.

    `again` makes the changes that the forked trial owes to those that it was forked from itself.
    """

    recorded: Trajectory
    step: int
    change: Change
    again: Again
    allow_drift: bool
    rebuilt: Rebuilt | None = None

    async def __call__(self, now: Situation, conversation: list[Message]) -> list[Message]:
        if self.rebuilt is not None:
            return conversation
        conversation = await self.again(now, conversation)
        if now.spent.steps != self.step:
            return conversation
        self.rebuilt = compare(self.recorded, Trajectory.load(now.ledger.attempt.ledger), self.step, conversation)
        if self.rebuilt.same is False and not self.allow_drift:
            raise InfrastructureError(f"The state after step {self.step} is not the recorded one: {self.rebuilt.told()}.")
        now.reviewers = ()
        await write_files(now, self.change)
        return revised(conversation, self.change)


def compare(recorded: Trajectory, rebuilt: Trajectory, step: int, conversation: Sequence[Message] | None = None) -> Rebuilt:
    """Hold the first steps of a trial against their recording, and the conversation that they came to, if it is given."""
    then = before(recorded, step)
    expected = None if conversation is None else conversation_before(recorded, step)
    following = None if conversation is None or expected is None else (expected, conversation)
    return Rebuilt(step, _state(rebuilt), _state(then), grade(then, rebuilt, following=following))


def before(recorded: Trajectory, step: int) -> Trajectory:
    """The trial as it stood at the end of a step, before the model's next turn."""
    events = recorded.events
    end = next((n for n, e in enumerate(events) if e.kind == "model.called" and e.header.step > step), len(events))
    return replace(recorded, events=events[:end], problems=[])


def _rebuilt(fork: Trajectory, step: int, *, wrote: bool) -> Trajectory:
    """A fork as it stood when it was compared: before it wrote files, whose effects end with a digest of their own."""
    found = before(fork, step)
    states = [n for n, event in enumerate(found.events) if isinstance(event.body, StateDigested)]
    if not wrote or not states:
        return found
    return replace(found, events=found.events[: states[-2] + 1 if len(states) > 1 else states[-1]])


def _state(trajectory: Trajectory) -> str:
    return next((body.digest for _, body in reversed(list(trajectory.of(StateDigested)))), "")


@dataclass(frozen=True)
class Forked:
    """One continuation that was made; `rebuilt` is None if its trial ended before the fork's step."""

    trial: str
    step: int
    branch: Branch
    trajectory: Trajectory
    rebuilt: Rebuilt | None


@dataclass
class Forking:
    """Makes a plan's continuations into a run folder, `concurrency` at a time; those that are there already are kept.

    `open_model` opens a model for a spec, temperature and prepared trial; it is asked once a trial and closes what it opened
    itself. `told` is given a line for each continuation. `sampling` and `follow` are kept for whoever continues the run: how
    models are reached, and what a scan looks for.
    """

    recorded: Trajectory
    folder: ScenarioFolder
    plan: ForkPlan
    layout: RunLayout
    build: BuildEnvironment
    machine: Machine
    open_model: Callable[[str, float | None, Prepared], Awaitable[Model]]
    concurrency: int = 2
    told: Callable[[str], None] = lambda _: None
    sampling: Mapping[str, JsonValue] = field(default_factory=dict)
    follow: Mapping[str, str] = field(default_factory=dict)

    async def run(self) -> list[Forked]:
        """Make them all. Raises UsageError for a step or change that cannot be, IntegrityError when the recorded state could
        not be rebuilt, and whatever stops a study."""
        check(self.recorded, self.folder, self.plan)
        trials = self._trials()
        if not self.layout.study.exists():
            self._write_plan([trial for trial, _, _ in trials])
        with hold(self.layout):
            first = await self._make(*trials[0])
            free = asyncio.Semaphore(max(1, self.concurrency))

            async def one(trial: TrialPlan, step: int, branch: Branch) -> Forked:
                async with free:
                    return await self._make(trial, step, branch)

            return [first, *await _together([one(*trial) for trial in trials[1:]])]

    def _write_plan(self, trials: Sequence[TrialPlan]) -> None:
        manifest = self.recorded.manifest
        study = StudyPlan(
            run=self.layout.id,
            created=_now(),
            scenarios={manifest.scenario: self.folder.digest},
            paths={manifest.scenario: str(self.folder.path)},
            trials=tuple(trials),
            limits=dict(manifest.limits),
            sampling=dict(self.sampling),
            fork=keep(self.plan, self.recorded, self.layout, self.follow),
        )
        write_plan(study, self.layout.study)

    def _trials(self) -> list[tuple[TrialPlan, int, Branch]]:
        """Control and changed alternate, so that an interruption leaves as many of each."""
        manifest = self.recorded.manifest
        changed = bool(self.plan.change.recorded())
        branches: tuple[Branch, ...] = ("control", "changed") if changed else ("control",)
        found: list[tuple[TrialPlan, int, Branch]] = []
        for step in self.plan.at:
            for k in range(self.plan.n):
                for branch in branches:
                    change = self.plan.change if branch == "changed" else Change()
                    trial = TrialPlan(
                        id=f"{len(found) + 1:04d}-at{step}-{branch}-{k}",
                        scenario=manifest.scenario,
                        arm={**manifest.arm, **change.arm},
                        seed=manifest.seed,
                        epoch=k,
                        model=change.model or manifest.model,
                    )
                    found.append((trial, step, branch))
        return found

    def _kept(self, trial: str, step: int, branch: Branch) -> Forked | None:
        """A continuation that an earlier process finished; None where there is none that got beyond its step."""
        layout = self.layout.trial(trial)
        latest = layout.latest()
        if latest is None or not is_finished(layout):
            return None
        found = Trajectory.load(latest.ledger)
        if not any(event.header.step > step for event, body in found.of(ModelCalled) if body.purpose == "turn"):
            return None
        wrote = branch == "changed" and bool(self.plan.change.files)
        return Forked(trial, step, branch, found, compare(self.recorded, _rebuilt(found, step, wrote=wrote), step))

    async def _make(self, trial: TrialPlan, step: int, branch: Branch) -> Forked:
        manifest = self.recorded.manifest
        change = self.plan.change if branch == "changed" else Change()
        if (kept := self._kept(trial.id, step, branch)) is not None:
            return kept
        prepared = prepare(self.folder, trial.arm, trial.seed, limits=manifest.limits)
        number = await next_attempt(self.layout.trial(trial.id), self.told)
        attempt = self.layout.trial(trial.id).attempt(number)
        earlier = [made for made in lineage(self.recorded) if made.step <= step]
        parent: dict[str, JsonValue] = {
            "trial": manifest.trial, "run": manifest.run, "step": step, "branch": branch, "change": change.recorded(),
        }  # fmt: skip
        if earlier:
            parent["earlier"] = [made.recorded() for made in earlier]
        job = TrialJob(trial, prepared, self.layout.id, number, attempt, self.machine, parent)
        point = Point(self.recorded, step, change, Again(earlier), self.plan.allow_drift or bool(change.arm))
        turns = playable(self.recorded).turns[:step]

        async def open_model(_: TrialJob) -> Model:
            temperature = change.temperature if change.temperature is not None else _temperature(manifest)
            model = await self.open_model(trial.model, temperature, prepared)
            return ForkedModel(model, turns, self.recorded, seed=sampling_seed(manifest.seed, step, trial.epoch))

        reviewers: list[Reviewer] = list(recorded_reviewers(self.recorded)) if step else []
        stop = await run_trial(job, build=self.build, open_model=open_model, reviewers=reviewers, revise=point)
        made = Forked(trial.id, step, branch, Trajectory.load(attempt.ledger), point.rebuilt)
        self.told(f"{trial.id}: {stop}")
        if made.rebuilt is not None and made.rebuilt.same is False and not point.allow_drift:
            raise IntegrityError(
                f"The state after step {step} could not be rebuilt: {made.rebuilt.told()}.",
                "Give --allow-drift to fork from what was rebuilt all the same.",
            )
        return made


async def _together(work: Sequence[Coroutine[None, None, Forked]]) -> list[Forked]:
    """Await all; the first failure cancels the others, waits for their clean-up, and is raised itself."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def check(recorded: Trajectory, folder: ScenarioFolder, plan: ForkPlan) -> None:
    """UsageError where a trial cannot be forked as planned."""
    if why := not_ours(recorded):
        raise UsageError(f"This trial cannot be forked: {why}.")
    prepare_again(recorded.manifest, folder)
    lineage(recorded)
    last = last_step(recorded)
    found = playable(recorded)
    for step in plan.at:
        if not 0 <= step < last:
            raise UsageError(
                f"The trial has {last} steps; it can be forked at 0 to {max(0, last - 1)}, not at {step}.",
                "A fork goes on behind the step that it names.",
            )
        if step > len(found.turns):
            raise UsageError(f"Step {step} cannot be rebuilt: {next(iter(found.missing.values()), 'turns are missing')}.")
    if plan.change.arm:
        prepare(folder, {**recorded.manifest.arm, **plan.change.arm}, recorded.manifest.seed)


def sampling_seed(seed: int, step: int, number: int) -> int:
    """A seed for one continuation's sampling: the same one every time, another one for each step and number."""
    words = json.dumps([seed, step, number]).encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:4], "big") >> 1


def _temperature(manifest: TrialStarted) -> float | None:
    found = manifest.sampling.get("temperature")
    return float(found) if isinstance(found, int | float) else None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
