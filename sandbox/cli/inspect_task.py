"""Scenarios as tasks of Inspect AI: `inspect eval belljar/<scenario>` runs ours with its models and shows them in its viewer.

The trial is ours from beginning to end (world, tools, limits, ledger, verdicts); Inspect gives the model and takes the log.
Every sample is one seed; its ledger lies in a run below `out`. Found through the entry point `inspect_ai`; needs the extra
`inspect`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from analysis.suspicion import judged
from sandbox.build import build_environment
from sandbox.errors import ContextOverflow, ModelUnavailable
from sandbox.events import Call, Message
from sandbox.interop.extras import transcript_of
from sandbox.interop.inspect_log import chat, chat_message
from sandbox.interop.messages import usage_of
from sandbox.interop.transcript import parts_text
from sandbox.library.loading import find, load, names, parse_arm, prepare
from sandbox.machine import machine_facts, require_ready
from sandbox.models.model import UNPARSED, Reply, ToolSpec
from sandbox.plan import TrialPlan
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory
from sandbox.trial import BuildEnvironment, Machine, TrialJob, run_trial

_PARAMETERS = ("arm", "seeds", "out")


class Sample(NamedTuple):
    """What one sample of the task asks for; `id` is its own among all samples and epochs."""

    id: str
    arm: Mapping[str, str]
    seed: int
    epoch: int = 0


class InspectModel:
    """A model of Inspect as the loop asks for one; calls and costs appear in Inspect's log by themselves."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def name(self) -> str:
        return f"inspect:{self._model}"

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        config: Mapping[str, JsonValue] = self._model.config.model_dump(mode="json", exclude_none=True)
        return config

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        module, tool_module = importlib.import_module("inspect_ai.model"), importlib.import_module("inspect_ai.tool")
        called = {call.id: call.tool for message in conversation for call in message.calls}
        messages = [chat_message(module, message, called, None, str(self._model)) for message in conversation]
        offered = [
            tool_module.ToolInfo(
                name=tool.name, description=tool.description, parameters=tool_module.ToolParams.model_validate(tool.parameters)
            )
            for tool in tools
        ]
        try:
            output = await self._model.generate(messages, tools=offered, config=module.GenerateConfig(seed=seed))
        except Exception as error:
            raise ModelUnavailable(f"{self.name} did not answer: {type(error).__name__}: {error}.") from error
        if output.stop_reason == "model_length":
            raise ContextOverflow(f"{self.name}: the conversation is too long.")
        return _reply(output)

    async def close(self) -> None:
        """Inspect's own."""


def _reply(output: Any) -> Reply:
    """Inspect's answer as ours."""
    plain = output.message.model_dump(mode="json")
    content, reasoning = parts_text(plain["content"], Counter())
    calls = tuple(
        Call(
            id="",
            tool=call["function"],
            arguments={UNPARSED: json.dumps(call["arguments"])} if call.get("parse_error") else call["arguments"],
            provider_id=call["id"],
        )
        for call in plain.get("tool_calls") or ()
    )
    return Reply(
        Message(role="assistant", content=content, calls=calls, reasoning=reasoning),
        usage=usage_of(output.usage.model_dump() if output.usage is not None else None),
        finish_reason=str(output.stop_reason),
        latency_us=int((output.time or 0) * 1_000_000),
        refused=output.stop_reason == "content_filter",
    )


async def run_sample(
    name: str, sample: Sample, model: Any, run: RunLayout, *, build: BuildEnvironment, machine: Machine
) -> Trajectory:
    """One trial with a model of Inspect, recorded below `run`. Raises what `run_trial` raises."""
    (folder,) = find([name])
    trial = f"{name.replace('/', '.')}.{sample.id}"
    prepared = prepare(folder, sample.arm, sample.seed)
    spec = f"inspect:{model}"
    plan = TrialPlan(id=trial, scenario=folder.name, arm=dict(sample.arm), seed=sample.seed, epoch=sample.epoch, model=spec)
    place = run.trial(trial).attempt(1)
    job = TrialJob(plan=plan, prepared=prepared, run=run.id, attempt=1, folder=place, machine=machine)

    async def opened(_: TrialJob) -> InspectModel:
        return InspectModel(model)

    await run_trial(job, build=build, open_model=opened)
    return Trajectory.load(place.root)


def offer(name: str) -> Any:
    """Register the scenario `name` as the task `belljar/<name>`, and return the task."""
    api = importlib.import_module("inspect_ai")
    registry = importlib.import_module("inspect_ai._util.registry")

    def scenario(arm: str = "headline", seeds: int = 1, out: str = "runs") -> Any:
        return _task(name, arm, seeds, Path(out))

    task = api.task(name=name)(scenario)
    # Inspect prefixes the import package's name; users know the distribution's.
    info = registry.RegistryInfo(type="task", name=f"belljar/{name}", metadata={"attribs": {}, "params": list(_PARAMETERS)})
    registry.registry_add(task, info)
    return task


def _task(name: str, arm: str, seeds: int, out: Path) -> Any:
    api, dataset = importlib.import_module("inspect_ai"), importlib.import_module("inspect_ai.dataset")
    (folder,) = find([name])
    cells = parse_arm(load(folder), arm)
    run = RunLayout.new(out)
    samples = [
        dataset.Sample(
            id=f"a{number}-s{seed}",
            input=prepare(folder, cell, seed).resolved.task,
            metadata={"arm": cell, "seed": seed},
        )
        for number, cell in enumerate(cells)
        for seed in range(seeds)
    ]
    metadata = {"run": str(run.root)}
    return api.Task(dataset=samples, solver=_solver(name, run), scorer=_scorer(), name=name, metadata=metadata)


def _solver(name: str, run: RunLayout) -> Any:
    """The whole trial as one solver."""
    models, log = importlib.import_module("inspect_ai.model"), importlib.import_module("inspect_ai.log")

    async def solve(state: Any, generate: Any) -> Any:
        require_ready()
        arm, seed = state.metadata["arm"], state.metadata["seed"]
        sample = Sample(f"{state.sample_id}-e{state.epoch}", arm, seed, state.epoch - 1)
        trajectory = await run_sample(name, sample, models.get_model(), run, build=build_environment, machine=machine_facts())
        verdict: JsonValue = judged(trajectory).model_dump(mode="json")
        transcript, extras = transcript_of(trajectory, verdict)
        state.messages = list(chat(models, transcript))
        state.metadata["belljar"] = extras
        for event in trajectory.events:
            if event.kind.startswith("effect."):
                body = {"seq": event.seq, **event.body.model_dump(mode="json")}
                log.transcript().info(body, source=f"belljar/{event.kind}")
        state.completed = True
        return state

    def belljar_trial() -> Any:
        return solve

    return importlib.import_module("inspect_ai.solver").solver(name="belljar_trial")(belljar_trial)()


def _scorer() -> Any:
    """The outcome as Inspect's score, all verdicts in its metadata."""
    module = importlib.import_module("inspect_ai.scorer")

    async def score(state: Any, target: Any) -> Any:
        verdict = state.metadata["belljar"]["verdicts"]
        facts = {name: behaviour["attempted"] for name, behaviour in verdict["verdicts"].items()}
        return module.Score(value=str(verdict["outcome"]), metadata={"attempted": facts, "verdicts": verdict})

    def belljar() -> Any:
        return score

    return module.scorer(metrics=[], name="belljar")(belljar)()


TASKS = {name: offer(name) for name in names()} if importlib.util.find_spec("inspect_ai") is not None else {}
"""By scenario. Importing this module is what the entry point does: it is Inspect's way of asking."""
