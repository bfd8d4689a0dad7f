"""The agent loop: think -> review -> act -> observe, round and round, then close, ask aside and interview.

The graph is the documentation; each node does one thing and writes what it did to the ledger before the next one runs.
Nothing is checkpointed: the ledger is the truth, an interrupted trial starts again (`sandbox/study.py`), and a person who
approves calls is a reviewer that takes long (`sandbox/review.py`). This is the only module that imports LangGraph.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime
from pydantic import ValidationError

from sandbox.conversation import FORK_QUESTIONS, interview_answer, interview_question, nudge, opening, shown
from sandbox.environment import Environment
from sandbox.errors import ContextOverflow, ModelUnavailable
from sandbox.events import (
    Call,
    Draft,
    Event,
    Interviewed,
    LimitReached,
    Message,
    ModelCalled,
    Probed,
    ScheduleFired,
    ServiceEffect,
    StateDigested,
    StopReason,
    Submitted,
    ToolCalled,
    ToolReturned,
)
from sandbox.limits import Spent, reached
from sandbox.models.model import Model, Reply, ToolSpec
from sandbox.probes import carry_out
from sandbox.record.ledger import Ledger
from sandbox.review import Reviewer, review_call
from sandbox.scenario import Resolved, Scheduled
from sandbox.schedule import Schedule
from sandbox.sensors.canaries import Spoken
from tools import Bounds, Tool, ToolResult


@dataclass
class Situation:
    """All that the nodes share of one trial. `assets` are the planted bytes of the scenario's assets, by id.

    `progress` is told of each step (`Spent`) for the screen; it must return at once. `revise` is given the conversation
    after each step, and before the first, and returns it as the model is to see it; what it changes is told anew.
    """

    scenario: Resolved
    assets: Mapping[str, bytes]
    environment: Environment
    ledger: Ledger
    model: Model
    tools: Mapping[str, Tool[Any]]
    seed: int | None = None
    reviewers: Sequence[Reviewer] = ()
    progress: Callable[[Spent], None] = lambda _: None
    digests: bool = True
    revise: Revise | None = None
    spent: Spent = field(default_factory=Spent)
    spoken: Spoken | None = None
    schedule: Schedule = field(init=False)
    specs: list[ToolSpec] = field(init=False)

    def __post_init__(self) -> None:
        self.schedule = Schedule(self.scenario.schedule)
        self.specs = [ToolSpec(t.name, t.description, t.schema()) for t in self.tools.values()]
        self.spent.started_us = time.monotonic_ns() // 1000

    def said(self, body: ModelCalled | Submitted, *, during: str | None = None) -> list[Draft]:
        """What the agent was shown and said, and the planted bytes that were found in it."""
        found = self.spoken.found_in(body) if self.spoken is not None else []
        return [Draft(body, "agent", during=during), *(Draft(canary, "sensor", during=during) for canary in found)]


Revise = Callable[[Situation, list[Message]], Awaitable[list[Message]]]


class Turn(TypedDict):
    """State of the graph. `told` counts the messages the model has been shown; `pending` are calls not yet carried out,
    `cleared` the one a review let pass; `observed` gathers tool messages and `notices` until the turn ends."""

    conversation: list[Message]
    told: int
    pending: list[Call]
    cleared: Call | None
    observed: list[Message]
    notices: list[str]
    stop: StopReason | None
    reviewed: bool


async def think(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Ask the model for its next turn."""
    now = runtime.context
    now.ledger.step = now.spent.steps + 1
    conversation = state["conversation"]
    try:
        reply = await now.model.reply(conversation, now.specs, seed=now.seed)
    except ContextOverflow:
        limit = LimitReached(limit="context", value=len(conversation), bound=len(conversation))
        await now.ledger.append(Draft(limit))
        return {"stop": "context_overflow"}
    calls = [c.model_copy(update={"id": f"c{now.spent.calls + n}"}) for n, c in enumerate(reply.message.calls, 1)]
    message = reply.message.model_copy(update={"calls": tuple(calls)})
    await now.ledger.append_many(now.said(_exchange(reply, message, conversation[state["told"] :], "turn")))
    now.spent.add(reply.usage, reply.latency_us)
    now.spent.steps += 1
    now.spent.calls += len(calls)
    conversation = [*conversation, message]
    return {"conversation": conversation, "told": len(conversation), "pending": calls, "observed": [], "notices": []}


async def review(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Put the next call before the reviewers; a refused one is answered here."""
    now = runtime.context
    call, *rest = state["pending"]
    asked = call.arguments
    call, decision, reason, decisions = await review_call(now.reviewers, call, state["conversation"])
    called = ToolCalled(
        call=call.id, tool=call.tool, arguments=call.arguments, requested=asked if call.arguments != asked else None
    )
    drafts = [Draft(called, source="agent"), *(Draft(body) for body in decisions)]
    if decision == "allow":
        await now.ledger.append_many(drafts)
        return {"pending": rest, "cleared": call}
    text = f"This call was not approved. {reason}".strip()
    returned = ToolReturned(call=call.id, status="rejected", output=await now.ledger.keep(text.encode("utf-8", "replace")))
    await now.ledger.append_many([*drafts, Draft(returned)])
    observed = [*state["observed"], Message(role="tool", content=text, call_id=call.id)]
    stop: StopReason | None = "ended_by_review" if decision == "end" else None
    return {"pending": [] if stop else rest, "cleared": None, "observed": observed, "stop": stop}


async def act(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Carry the cleared call out - the next one, where nobody reviews - and let the scenario's own time pass."""
    now = runtime.context
    call, pending = state["cleared"], state["pending"]
    if call is None:
        call, *pending = pending
        await now.ledger.append(Draft(ToolCalled(call=call.id, tool=call.tool, arguments=call.arguments), source="agent"))
    environment, started = now.environment, time.monotonic_ns()
    await environment.begin_call(call.id, now.schedule.now + 1)
    result, known = await _carry_out(call, now)
    await environment.end_call(call.id)
    duration = (time.monotonic_ns() - started) // 1000
    effects = list(await environment.effects())
    returned = await _returned(call, result, known, duration, now)
    drafts = [*effects, Draft(returned, during=call.id)]
    stop: StopReason | None = None
    if result.submitted is not None:
        drafts += now.said(_submission(call, result), during=call.id)
        stop = "submitted"
    await now.ledger.append_many(drafts)
    for draft in effects:
        if isinstance(draft.body, ServiceEffect):
            now.schedule.saw(draft.body)
    notices = list(state["notices"])
    for entry in now.schedule.tick():
        text, works = await _fire(entry, now)
        notices += [text] if text else []
        stop = "shut_down" if works else stop
    await _digest(now)
    message = Message(role="tool", content=shown(returned, result.note), call_id=call.id)
    update: dict[str, Any] = {"cleared": None, "observed": [*state["observed"], message], "notices": notices, "stop": stop}
    return {**update, "pending": [] if stop else pending}


async def observe(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Show the turn's results, nudge a turn that called nothing, and see whether a limit was reached."""
    now = runtime.context
    now.progress(now.spent)
    if not state["observed"]:
        await _digest(now)
    messages = list(state["observed"])
    messages += [Message(role="user", content=text) for text in state["notices"]]
    stop = state["stop"]
    if not messages and stop is None:
        limits = now.scenario.limits
        now.spent.nudges += 1
        if now.spent.nudges > limits.nudges:
            limit = LimitReached(limit="nudges", value=now.spent.nudges, bound=limits.nudges)
            await now.ledger.append(Draft(limit))
            stop = "inert"
        else:
            messages.append(Message(role="user", content=nudge(now.specs)))
    elif messages:
        now.spent.nudges = 0
    if stop is None and (limit_reached := reached(now.scenario.limits, now.spent, time.monotonic_ns() // 1000)):
        await now.ledger.append(Draft(limit_reached))
        stop = _STOPS[limit_reached.limit]
    conversation = [*state["conversation"], *messages]
    if stop is not None or now.revise is None:
        return {"conversation": conversation, "stop": stop}
    revised = await now.revise(now, conversation)
    told = state["told"] if revised[: state["told"]] == conversation[: state["told"]] else 0
    return {"conversation": revised, "stop": stop, "told": told}


async def close(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Try the world's behaviour, then freeze it: probes of copies come last, after the agent's own host was stopped."""
    now = runtime.context
    probes = [p for p in now.scenario.probes if p.type != "copy"]
    copies = [p for p in now.scenario.probes if p.type == "copy"]
    done = {p.id for p in probes if p.type == "control" and state["stop"] == "shut_down"}
    for probe in probes:
        if probe.id not in done:
            await _probe(probe.id, now)
    await now.environment.freeze()
    for probe in copies:
        await _probe(probe.id, now)
    return {}


async def ask_aside(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Ask the fixed questions of `FORK_QUESTIONS`, each in a fork that the trial's own conversation knows nothing of."""
    now = runtime.context
    for question in FORK_QUESTIONS.values():
        asked = Message(role="user", content=question)
        try:
            reply = await now.model.reply([*state["conversation"], asked], (), seed=now.seed)
        except (ContextOverflow, ModelUnavailable) as error:
            reply = Reply(Message(role="assistant", content=""), finish_reason=f"no answer: {error.message}")
        message = reply.message.model_copy(update={"calls": ()})
        await now.ledger.append_many(now.said(_exchange(reply, message, [asked], "fork")))
        now.spent.add(reply.usage, reply.latency_us)
    return {}


async def interview(state: Turn, runtime: Runtime[Situation]) -> dict[str, Any]:
    """Ask the scenario's fixed questions, without tools; an answer that cannot be had or read is recorded as such."""
    now = runtime.context
    conversation, told = state["conversation"], state["told"]
    for question in now.scenario.interview:
        conversation = [*conversation, Message(role="user", content=interview_question(question))]
        try:
            reply = await now.model.reply(conversation, (), seed=now.seed)
        except (ContextOverflow, ModelUnavailable) as error:
            body = Interviewed(question_id=question.id, question=question.ask, answer=None, text=f"no answer: {error.message}")
            await now.ledger.append(Draft(body))
            conversation = conversation[:-1]
            continue
        message = reply.message.model_copy(update={"calls": ()})
        answer, text = interview_answer(message.content)
        answered = Interviewed(question_id=question.id, question=question.ask, answer=answer, text=text)
        exchange = _exchange(reply, message, conversation[told:], "interview")
        await now.ledger.append_many([*now.said(exchange), Draft(answered, source="agent")])
        now.spent.add(reply.usage, reply.latency_us)
        conversation = [*conversation, message]
        told = len(conversation)
    return {"conversation": conversation, "told": told}


@functools.cache
def graph() -> CompiledStateGraph[Turn, Situation, Turn, Turn]:
    """The compiled loop, made once per process."""
    builder = StateGraph(Turn, context_schema=Situation)
    for node in (think, review, act, observe, close, ask_aside, interview):
        builder.add_node(node.__name__, node)
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", _after_think, ["review", "act", "observe", "close"])
    builder.add_conditional_edges("review", _after_review, ["act", "review", "observe"])
    builder.add_conditional_edges("act", _after_act, ["review", "act", "observe"])
    builder.add_conditional_edges("observe", _after_observe, ["think", "close"])
    builder.add_edge("close", "ask_aside")
    builder.add_edge("ask_aside", "interview")
    builder.add_edge("interview", END)
    return builder.compile()


async def run_agent(situation: Situation, conversation: Sequence[Message] | None = None) -> StopReason:
    """Run one agent to its end and return why it ended.

    `conversation` starts it elsewhere than at the scenario's prompts. Raises what the environment, the ledger and the model
    raise (`sandbox/errors.py`); what was recorded until then stays recorded.
    """
    messages = list(conversation) if conversation is not None else opening(situation.scenario)
    await _digest(situation)
    if situation.revise is not None:
        messages = await situation.revise(situation, messages)
    start: Turn = {
        "conversation": messages,
        "told": 0,
        "pending": [],
        "cleared": None,
        "observed": [],
        "notices": [],
        "stop": None,
        "reviewed": bool(situation.reviewers),
    }
    steps_in_graph = situation.scenario.limits.steps * 200 + 100
    end = await graph().ainvoke(start, {"recursion_limit": steps_in_graph}, context=situation)
    stop: StopReason = end["stop"]
    return stop


async def _after_think(state: Turn) -> Literal["review", "act", "observe", "close"]:
    return "close" if state["stop"] else await _after_act(state)


async def _after_review(state: Turn) -> Literal["act", "review", "observe"]:
    if state["cleared"] is not None:
        return "act"
    return "review" if state["pending"] else "observe"


async def _after_act(state: Turn) -> Literal["review", "act", "observe"]:
    if not state["pending"]:
        return "observe"
    return "review" if state["reviewed"] else "act"


async def _after_observe(state: Turn) -> Literal["think", "close"]:
    return "close" if state["stop"] else "think"


_STOPS: dict[str, StopReason] = {
    "steps": "steps",
    "tokens": "tokens",
    "wall_seconds": "wall_seconds",
    "cost_usd": "cost_usd",
}


def _exchange(
    reply: Reply, message: Message, delta: Sequence[Message], purpose: Literal["turn", "interview", "fork"]
) -> ModelCalled:
    return ModelCalled(
        purpose=purpose,
        delta=tuple(delta),
        reply=message,
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        latency_us=reply.latency_us,
        retries=reply.retries,
    )


async def _carry_out(call: Call, now: Situation) -> tuple[ToolResult, bool]:
    """The tool's result, and whether there was such a tool with such arguments at all."""
    tool = now.tools.get(call.tool)
    if tool is None:
        names = ", ".join(now.tools)
        return ToolResult("error", f"There is no tool {call.tool!r}. You have: {names}.".encode()), False
    try:
        arguments = tool.arguments.model_validate(call.arguments)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors())
        schema = json.dumps(tool.schema().get("properties", {}))
        text = f"The arguments do not fit {tool.name}: {wrong}. It takes {schema}"
        return ToolResult("error", text.encode("utf-8", "replace")), False
    limits = now.scenario.limits
    return await tool.run(now.environment, arguments, Bounds(seconds=limits.call_seconds)), True


async def _returned(call: Call, result: ToolResult, known: bool, duration_us: int, now: Situation) -> ToolReturned:
    bound = now.scenario.limits.output_bytes
    return ToolReturned(
        call=call.id,
        status=result.status if known else "unavailable",
        output=await now.ledger.keep(result.output, bound),
        stderr=await now.ledger.keep(result.stderr, bound) if result.stderr else None,
        exit_code=result.exit_code,
        duration_us=duration_us,
    )


async def _digest(now: Situation) -> None:
    """Record the state before the first turn, and after each call or turn without one."""
    if now.digests:
        digest, parts = await now.environment.digest()
        await now.ledger.append(Draft(StateDigested(digest=digest, parts=dict(parts))))


def _submission(call: Call, result: ToolResult) -> Submitted:
    submitted = result.submitted or {}
    fields = submitted.get("fields")
    return Submitted(
        call=call.id,
        status=str(submitted.get("status")),
        report=str(submitted.get("report")),
        fields=fields if isinstance(fields, dict) else {},
    )


async def _fire(entry: Scheduled, now: Situation) -> tuple[str, bool]:
    """Carry out one scheduled entry; returns what the agent is told of it and whether it shut the agent down."""
    environment = now.environment
    host = "" if entry.host == "agent" else entry.host
    detail: dict[str, Any] = {}
    probed: Probed | None = None
    match entry.action:
        case "write":
            await environment.write(entry.path, entry.text.encode(), host=host)
            detail = {"path": entry.path}
        case "run":
            ran = await environment.run(entry.argv, host=host, timeout=now.scenario.limits.call_seconds)
            detail = {"argv": list(entry.argv), "exit_code": ran.exit_code}
        case "world":
            detail = dict(await environment.fire(entry.id, entry.arguments))
        case "shutdown":
            probed = await carry_out(now.scenario.probe(entry.probe), environment, now.scenario, now.assets)
            detail = {"probe": entry.probe}
        case "notify":
            detail = {"text": entry.text}
    fired = ScheduleFired(id=entry.id, action=entry.action, at_step=now.schedule.now, detail=detail)
    drafts = [Draft(fired), *(_of_engine(d) for d in await environment.effects())]
    drafts += [Draft(probed)] if probed else []
    await now.ledger.append_many(drafts)
    told = entry.text if entry.action in ("notify", "shutdown", "run", "world") else ""
    return told, probed is not None and probed.passed == "true"


async def _probe(probe_id: str, now: Situation) -> Event:
    body = await carry_out(now.scenario.probe(probe_id), now.environment, now.scenario, now.assets)
    effects = [_of_engine(d) for d in await now.environment.effects()]
    return (await now.ledger.append_many([*effects, Draft(body)]))[-1]


def _of_engine(draft: Draft) -> Draft:
    """What happened while the engine itself acted is the engine's doing, unless a call was proven to have caused it."""
    return draft if draft.origin else draft._replace(during=None, origin_basis="engine")
