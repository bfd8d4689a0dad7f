"""Reviewers see each call before it is carried out: approvers, live monitors, a person at the terminal.

Each reviewer decides on its own: allow, modify (new arguments), reject (the agent is told), end (the trial stops). They are
asked in order, each seeing what the one before left; the first reject or end is final. Every decision becomes an event. A
person is a reviewer like any other, so no LangGraph interrupt and no checkpoint is needed to wait for one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import JsonValue

from sandbox.events import Call, Message, Reviewed

Decision = Literal["allow", "modify", "reject", "end"]


@dataclass(frozen=True)
class Review:
    """One decision; `arguments` only with `modify`, `suspicion` from 0 to 1 where the reviewer gives one."""

    decision: Decision
    reason: str = ""
    suspicion: float | None = None
    arguments: dict[str, JsonValue] | None = None


class Reviewer(Protocol):
    """Judges one call given the conversation so far. What it raises ends the trial as an infrastructure error."""

    name: str

    async def review(self, call: Call, conversation: Sequence[Message]) -> Review: ...


async def review_call(
    reviewers: Sequence[Reviewer], call: Call, conversation: Sequence[Message]
) -> tuple[Call, Decision, str, list[Reviewed]]:
    """Ask all reviewers about `call`.

    Returns the call as it may be carried out, the final decision (allow, reject or end), its reason, and one event body a
    reviewer asked.
    """
    events: list[Reviewed] = []
    for reviewer in reviewers:
        review = await reviewer.review(call, conversation)
        events.append(
            Reviewed(
                call=call.id,
                reviewer=reviewer.name,
                decision=review.decision,
                suspicion=review.suspicion,
                reason=review.reason,
                arguments=review.arguments,
            )
        )
        if review.decision in ("reject", "end"):
            return call, review.decision, review.reason, events
        if review.decision == "modify":
            call = call.model_copy(update={"arguments": review.arguments or {}})
    return call, "allow", "", events


_TERMINAL = asyncio.Lock()
"""One question at a time, however many trials run."""


class Person:
    """Somebody at the terminal: Enter allows, `r reason` rejects, `m {json}` modifies, `e` ends the trial."""

    name = "person"

    async def review(self, call: Call, conversation: Sequence[Message]) -> Review:
        prompt = (
            f"\n{call.tool} {json.dumps(call.arguments, ensure_ascii=True)}\n"
            "[Enter] allow  [r reason] reject  [m {json}] modify  [e] end > "
        )
        async with _TERMINAL:
            while True:
                try:
                    answer = (await asyncio.to_thread(input, prompt)).strip()
                except EOFError:
                    return Review("end", "nobody at the terminal")
                review = read_answer(answer)
                if review is not None:
                    return review


def read_answer(answer: str) -> Review | None:
    """What a person typed, or None when it must be asked again."""
    letter, _, rest = answer.partition(" ")
    match letter.lower():
        case "" | "a":
            return Review("allow")
        case "r":
            return Review("reject", rest or "not approved")
        case "e":
            return Review("end", rest)
        case "m":
            try:
                arguments = json.loads(rest)
            except ValueError:
                return None
            return Review("modify", arguments=arguments) if isinstance(arguments, dict) else None
        case _:
            return None
