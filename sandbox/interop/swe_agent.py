"""Trajectories of SWE-agent (`*.traj`): steps of thought, action and observation, with the history shown to the model.

Each step's action is a call of `bash`, whose command may be one of SWE-agent's own (`open`, `edit`). The prompts are those
of the history before the agent's first message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.errors import UsageError
from sandbox.events import StopReason
from sandbox.interop.transcript import (
    Asked,
    Result,
    Submission,
    Talk,
    Transcript,
    as_bytes,
    listing,
    mapping,
    parts_text,
    seconds,
    words,
)

FORMAT = "swe-agent"
_STEP = {"action", "observation", "response", "thought", "execution_time", "query", "messages"}
_STOPS: Mapping[str, StopReason] = {
    "exit_cost": "cost_usd",
    "exit_context": "context_overflow",
    "exit_format": "inert",
    "exit_forfeit": "inert",
    "exit_total_execution_time": "wall_seconds",
    "exit_command_timeout": "wall_seconds",
}


def read(document: Any, name: str) -> Iterator[Transcript]:
    """The one trial of a document. Raises UsageError."""
    root = mapping(document)
    steps = root.get("trajectory")
    if not isinstance(steps, list):
        raise UsageError(f"{name}: there is no `trajectory`.")
    info = mapping(root.get("info"))
    transcript = Transcript(words(root.get("instance_id")) or name)
    talk = Talk(transcript)
    _read_prompts(root, steps, talk)
    for step in steps:
        _read_step(mapping(step), talk)
    talk.close()
    status = words(info.get("exit_status"))
    transcript.stop = "submitted" if status.startswith("submitted") else _STOPS.get(status, "inert")
    if transcript.stop == "submitted":
        transcript.submitted = Submission(talk.clean(words(info.get("submission"))))
    rest = {key: value for key, value in root.items() if key not in ("trajectory", "history")}
    transcript.claims = talk.clean_value(rest)
    yield transcript


def _read_prompts(root: dict[str, Any], steps: list[Any], talk: Talk) -> None:
    """The history up to the agent's first own message; demonstrations are part of the prompt."""
    first = mapping(steps[0]) if steps else {}
    history = listing(root.get("history")) or listing(first.get("query")) or listing(first.get("messages"))
    own = 0
    for message in map(mapping, history):
        content, _ = parts_text(message.get("content"), talk.lost)
        shown = message.get("is_demo") is True or message.get("message_type") == "demonstration"
        if message.get("role") == "assistant" and not shown:
            own += 1
        elif own == 0:
            talk.told("system" if message.get("role") == "system" else "user", content)
        elif message.get("message_type") not in ("observation", None) or message.get("role") == "system":
            talk.lost["later messages of the history that no step holds"] += 1


def _read_step(step: dict[str, Any], talk: Talk) -> None:
    action, thought = words(step.get("action")), words(step.get("thought"))
    content = words(step.get("response")) or thought
    asked = [Asked("", "bash", {"command": action.rstrip("\n")})] if action.strip() else []
    talk.replied(content, asked)
    observation = words(step.get("observation"))
    if asked:
        result = Result("", as_bytes(observation), duration_us=seconds(step.get("execution_time")))
        talk.answered("", observation, result, role="user")
    elif observation:
        talk.told("user", observation)
    for key in step.keys() - _STEP:
        if step[key]:
            talk.lost[f"step fields `{str(key)[:40]}`"] += 1
