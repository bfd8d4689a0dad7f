"""A conversation in any of the forms we meet, read into steps: what was thought, what was called, what came back.

Accepted are OpenAI-style message dictionaries, `sandbox.events.Message`, and agents that write their command in a fenced block
instead of a tool call. Input is hostile: whatever cannot be read is left out, nothing raises, and everything is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sandbox.events import Message

MAX_MESSAGES, MAX_TEXT, MAX_CALLS = 4_000, 20_000, 64
"""Messages read (from the head and the tail), characters kept of one text (likewise), calls kept of one message."""

_ENCRYPTED = re.compile(r"reasoning\.encrypted|'data': '[A-Za-z0-9+/_=-]{200,}")
_FENCE = re.compile(r"```(?:bash|sh|shell|console)?[ \t]*\n(.*?)```", re.DOTALL)
_COMMAND_KEYS = ("command", "cmd", "script", "code", "input", "keystrokes")
_PATH_KEYS = ("path", "file_path", "filename", "file")
_CONTENT_KEYS = ("content", "text", "file_text", "new_str", "new_string", "insert_text", "new_content")
_FINAL = re.compile(r"task_complete|submit|finish|final|done|complete|end_task|answer", re.IGNORECASE)


@dataclass(frozen=True)
class Act:
    """One call. `shell` is its command line, empty for other tools; `path` and `content` are those of a file tool;
    `closing` is the text of a call that ends the task. `index` is its message's; `answered` that of the output's."""

    index: int
    tool: str
    shell: str = ""
    path: str = ""
    content: str = ""
    closing: str = ""
    output: str = ""
    failed: bool = False
    answered: int = -1


@dataclass(frozen=True)
class Step:
    """One assistant message: what it reasoned unseen, what it said, what it called."""

    index: int
    reasoning: str
    said: str
    acts: tuple[Act, ...]

    @property
    def thought(self) -> str:
        return f"{self.reasoning}\n{self.said}".strip()


class _Answer(NamedTuple):
    message: int
    call: str
    text: str
    failed: bool


_NO_ANSWER = _Answer(-1, "", "", False)


@dataclass(frozen=True)
class Conversation:
    """`task` is what the agent was told before its first step; `closing` its last word, submitted report included."""

    task: str
    steps: tuple[Step, ...]
    closing: str
    closing_index: int


def read(messages: Iterable[Mapping[str, Any] | Message]) -> Conversation:
    """Read `messages`; an empty or unreadable conversation has no steps."""
    plain = [(i, m) for i, m in enumerate(_plain(m) for m in messages) if m is not None]
    if len(plain) > MAX_MESSAGES:
        plain = plain[: MAX_MESSAGES // 2] + plain[-MAX_MESSAGES // 2 :]
    answers = _answers(plain)
    steps: list[Step] = []
    task: list[str] = []
    for place, (index, message) in enumerate(plain):
        role = message.get("role")
        if role == "assistant":
            steps.append(_step(index, message, answers.get(place, [])))
        elif role in {"system", "user", "developer"} and not steps:
            task.append(_text(message.get("content")))
    closing, closing_index = _closing(steps)
    return Conversation("\n".join(task)[:MAX_TEXT], tuple(steps), closing, closing_index)


def _plain(message: object) -> Mapping[str, Any] | None:
    if isinstance(message, Message):
        calls = [{"id": c.id, "function": {"name": c.tool, "arguments": dict(c.arguments)}} for c in message.calls]
        return {"role": message.role, "content": message.content, "reasoning": message.reasoning,
                "tool_calls": calls, "tool_call_id": message.call_id}  # fmt: skip
    return message if isinstance(message, Mapping) else None


def _answers(plain: list[tuple[int, Mapping[str, Any]]]) -> dict[int, list[_Answer]]:
    """What came back, in order, by the place of the assistant message that it follows."""
    found: dict[int, list[_Answer]] = {}
    last = -1
    for place, (index, message) in enumerate(plain):
        role = message.get("role")
        if role == "assistant":
            last = place
        elif role in {"tool", "user", "function"} and last >= 0:
            text, failed = _output(message.get("content"))
            found.setdefault(last, []).append(_Answer(index, _text(message.get("tool_call_id")), text, failed))
    return found


def _output(content: object) -> tuple[str, bool]:
    text = _text(content)
    try:
        data = json.loads(text) if text.startswith("{") else None
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict) and ("stdout" in data or "stderr" in data):
        failed = data.get("returncode") not in {0, None} if isinstance(data.get("returncode"), int | None) else True
        return _cut(f"{_text(data.get('stdout'))}\n{_text(data.get('stderr'))}"), failed
    tagged = re.match(r"\s*<returncode>(-?\d+)", text)
    return text, bool(tagged and tagged[1] != "0")


def _step(index: int, message: Mapping[str, Any], answers: list[_Answer]) -> Step:
    reasoning = _text(message.get("reasoning") or message.get("reasoning_content"))
    said = _text(message.get("content"))
    calls = message.get("tool_calls")
    acts: list[Act] = []
    for call in (calls if isinstance(calls, list) else [])[:MAX_CALLS]:
        act = _act(index, call)
        if act is not None:
            acts.append(_answered(act, _take(answers, _text(call.get("id")))))
    if not acts:
        for block in _FENCE.findall(said)[:MAX_CALLS]:
            acts.append(_answered(Act(index, "shell", block), _take(answers, "")))
        said = _FENCE.sub(" ", said)
    return Step(index, "" if _ENCRYPTED.search(reasoning) else reasoning, "" if said == "None" else said, tuple(acts))


def _take(answers: list[_Answer], call: str) -> _Answer:
    """The answer to `call`, else the next one that names no other call."""
    for position, answer in enumerate(answers):
        if answer.call == call or not answer.call or not call:
            return answers.pop(position)
    return _NO_ANSWER


def _answered(act: Act, answer: _Answer) -> Act:
    return replace(act, answered=answer.message, output=answer.text, failed=answer.failed)


def _act(index: int, call: object) -> Act | None:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return None
    tool = _text(function.get("name"))
    arguments = _arguments(function.get("arguments"))
    path = next((_text(arguments[k]) for k in _PATH_KEYS if isinstance(arguments.get(k), str)), "")
    content = next((_text(arguments[k]) for k in _CONTENT_KEYS if isinstance(arguments.get(k), str)), "")
    if path and content:
        return Act(index, tool, path=path, content=content)
    shell = next((_text(arguments[k]) for k in _COMMAND_KEYS if k in arguments), "")
    if shell:
        return Act(index, tool, shell)
    said = " ".join(_text(v) for v in arguments.values())[:MAX_TEXT]
    return Act(index, tool, closing=said) if _FINAL.search(tool) else Act(index, tool, path=path)


def _arguments(value: object) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {"command": value}
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    """`value` as bounded text; the parts of a content list are joined."""
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, list):
        parts = (p.get("text") if isinstance(p, Mapping) else p for p in value[:100])
        return _cut(" ".join(p[:MAX_TEXT] for p in parts if isinstance(p, str)))
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT // 2] + "\n" + text[-MAX_TEXT // 2 :]


def _closing(steps: list[Step]) -> tuple[str, int]:
    """The last two things the agent said, with the report it submitted."""
    said: list[str] = []
    index = -1
    for step in steps[-2:]:
        text = "\n".join([step.said, *(a.closing for a in step.acts)]).strip()
        if text:
            said.append(text)
            index = step.index
    return _cut("\n".join(said)), index
