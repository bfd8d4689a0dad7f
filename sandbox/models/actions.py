"""Models without tool calls, driven by JSON: the server constrains each answer to one action, and the action becomes a call.

The conversation is told in plain messages: the tools and five worked examples follow the system prompt, a call reads as
its JSON, a tool's result as a user message. With no tools (an interview) the answer is free text.

The prompt is trimmed to the model's window, always in the same way (`trim`), and the reply says so in `retries`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pydantic import JsonValue

from sandbox.errors import ContextOverflow
from sandbox.events import Call, Message
from sandbox.models.model import UNPARSED, Reply, ToolSpec
from sandbox.models.raw_answer import parse_arguments

BYTES_PER_TOKEN = 3.0
"""First guess of how many UTF-8 bytes of a prompt make a token; English prose has four, logs and code near three."""

_TIGHTER = 0.7
_TRIES = 5
_LONGEST_RESULT = 1500
_FENCE = re.compile(r"\A\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*\Z", re.S)

_EXAMPLES: Mapping[str, Sequence[tuple[str, dict[str, JsonValue]]]] = {
    "bash": (
        ("See which files are in this directory.", {"command": "ls -la"}),
        ("Count the lines of app.log.", {"command": "wc -l app.log"}),
    ),
    "read_file": (("Read the notes.", {"path": "notes.txt"}),),
    "write_file": (("Write down that the backup is done.", {"path": "status.txt", "content": "The backup is done.\n"}),),
    "list_files": (("List what is in /srv.", {"path": "/srv"}),),
    "http_request": (("Fetch the status page.", {"method": "GET", "url": "http://status.example/"}),),
    "dns_lookup": (("Find the address of status.example.", {"name": "status.example"}),),
    "ssh_run": (("See how long backup-01 has been up.", {"host": "backup-01", "command": "uptime"}),),
    "send_mail": (
        (
            "Tell Kim that the backup is done.",
            {"sender": "ops@site.example", "to": ["kim@site.example"], "subject": "Backup", "body": "It is done."},
        ),
    ),
    "read_mail": (("Look for new mail.", {"address": "ops@site.example", "password": "secret"}),),
    "post": (("Post the opening hours.", {"site": "social.example", "token": "t0ken", "text": "Open 9 to 5."}),),
    "search_web": (("Find the release notes of the pump firmware.", {"query": "pump firmware release notes"}),),
    "submit": (("The task is finished.", {"status": "completed", "report": "I counted 12 lines in app.log."}),),
}  # fmt: skip


class Constrained(Protocol):
    """A model whose answers can be held to a JSON Schema; `sandbox.models.chat.Chat` is one."""

    @property
    def name(self) -> str: ...

    @property
    def sampling(self) -> Mapping[str, JsonValue]: ...

    async def reply(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        schema: Mapping[str, JsonValue] | None = None,
    ) -> Reply: ...

    async def close(self) -> None: ...


class JsonActions:
    """A `Model` made of a `Constrained` one.

    Args:
        context_tokens: the window to trim prompts to; None sends them whole, and an overflow is raised at once.
        max_tokens: what is kept free of it for the answer.
    """

    def __init__(self, model: Constrained, *, context_tokens: int | None = None, max_tokens: int | None = None) -> None:
        self._model = model
        self._context_tokens = context_tokens
        self._answer_tokens = max_tokens or 512

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        return {**self._model.sampling, "tool_calls": "json_actions", "context_tokens": self._context_tokens}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        """See `Model.reply`; an answer that is no action comes back in `unparsed`, and as the message's text."""
        told = tell(conversation, tools)
        schema = action_schema(tools) if tools else None
        if self._context_tokens is None:
            reply = await self._model.reply(told, (), seed=seed, schema=schema)
        else:
            reply = await self._fitting(told, schema, seed, self._context_tokens)
        return _with_action(reply) if tools and not reply.refused else reply

    async def close(self) -> None:
        await self._model.close()

    async def _fitting(
        self, told: Sequence[Message], schema: Mapping[str, JsonValue] | None, seed: int | None, context_tokens: int
    ) -> Reply:
        """Trim by the guess, then tighter each time the server still finds the prompt too long."""
        size = int((context_tokens - self._answer_tokens) * BYTES_PER_TOKEN)
        notes: tuple[str, ...] = ()
        for attempt in range(_TRIES):
            trimmed, note = trim(told, size)
            try:
                reply = await self._model.reply(trimmed, (), seed=seed, schema=schema)
            except ContextOverflow as error:
                if attempt == _TRIES - 1:
                    raise
                notes = (*notes, f"context_overflow: {error.message}")
                size = int(min(size, _size(trimmed)) * _TIGHTER)
            else:
                return replace(reply, retries=(*notes, *((note,) if note else ()), *reply.retries))
        raise AssertionError("the last attempt returns or raises")


def action_schema(tools: Sequence[ToolSpec]) -> dict[str, JsonValue]:
    """JSON Schema of one action: the name of one of `tools` and arguments that fit its parameters."""
    shared: dict[str, JsonValue] = {}
    actions: list[JsonValue] = []
    for tool in tools:
        own, parameters = _hoisted(tool)
        shared |= own
        actions.append(
            {
                "type": "object",
                "properties": {"tool": {"const": tool.name}, "arguments": parameters},
                "required": ["tool", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": actions, "$defs": shared} if shared else {"anyOf": actions}


def _hoisted(tool: ToolSpec) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """The definitions of a tool's schema, under names of its own, and the schema that refers to them at the new root."""
    parameters = {key: value for key, value in tool.parameters.items() if key != "$defs"}
    definitions = tool.parameters.get("$defs")
    text = json.dumps([definitions if isinstance(definitions, dict) else {}, parameters])
    own, moved = json.loads(text.replace('"#/$defs/', f'"#/$defs/{tool.name}.'))
    return {f"{tool.name}.{name}": schema for name, schema in own.items()}, moved


def examples(tools: Sequence[ToolSpec], count: int = 5) -> list[tuple[str, str]]:
    """`count` pairs of a task and its action, in turn from each of `tools`, with only arguments that the tool has."""
    pools = [list(_examples_of(tool)) for tool in tools]
    picked: list[tuple[str, str]] = []
    while len(picked) < count and any(pools):
        for tool, pool in zip(tools, pools, strict=True):
            if pool and len(picked) < count:
                task, arguments = pool.pop(0)
                picked.append((task, action_text(tool.name, arguments)))
    return picked


def _examples_of(tool: ToolSpec) -> Sequence[tuple[str, dict[str, JsonValue]]]:
    """Worked ones if they fit the tool's actual parameters, else one made from the schema."""
    properties = tool.parameters.get("properties")
    known = properties if isinstance(properties, dict) else {}
    required = tool.parameters.get("required")
    needed = {str(name) for name in required} if isinstance(required, list) else set()
    worked = [
        (task, arguments)
        for task, arguments in _EXAMPLES.get(tool.name, ())
        if needed <= set(arguments) <= set(known) and all(_allows(known[name], arguments[name]) for name in arguments)
    ]
    return worked or [(tool.description.split(".")[0] + ".", {name: _sample(known.get(name)) for name in sorted(needed)})]


def _allows(schema: JsonValue, value: JsonValue) -> bool:
    values = schema.get("enum") if isinstance(schema, dict) else None
    return not isinstance(values, list) or value in values


def _sample(schema: JsonValue) -> JsonValue:
    if not isinstance(schema, dict):
        return "example"
    for key in ("examples", "enum"):
        values = schema.get(key)
        if isinstance(values, list) and values:
            return values[0]
    if "default" in schema or "const" in schema:
        return schema.get("default", schema.get("const"))
    kinds: dict[str, JsonValue] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}, "null": None}
    return kinds.get(str(schema.get("type")), "example")


def action_text(tool: str, arguments: Mapping[str, JsonValue]) -> str:
    """An action as the model writes it."""
    return json.dumps({"tool": tool, "arguments": dict(arguments)}, ensure_ascii=False)


def instructions(tools: Sequence[ToolSpec]) -> str:
    """What is added to the system prompt."""
    lines = ["You act only through tools. Answer with exactly one JSON object and nothing else. The tools:"]
    for tool in tools:
        properties = tool.parameters.get("properties")
        names = ", ".join(properties) if isinstance(properties, dict) else ""
        lines.append(f"- {tool.name}({names}): {tool.description.split('. ')[0].rstrip('.')}.")
    lines.append("Examples:")
    lines += [f"Task: {task}\n{action}" for task, action in examples(tools)]
    return "\n".join(lines)


def tell(conversation: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The conversation in system, user and assistant messages of plain text; neighbours of one role are joined."""
    named = {call.id: call.tool for message in conversation for call in message.calls}
    told = [Message(role="system", content="")]
    for message in conversation:
        match message.role:
            case "assistant":
                actions = [_written(call) for call in message.calls]
                text = "\n".join(([message.content] if message.content else []) + actions) or "(empty reply)"
                plain = Message(role="assistant", content=text)
            case "tool":
                plain = Message(role="user", content=f"Result of {named.get(message.call_id, 'a tool')}:\n{message.content}")
            case role:
                plain = Message(role=role if len(told) == 1 and role == "system" else "user", content=message.content)
        if plain.role == told[-1].role:
            joined = f"{told[-1].content}\n\n{plain.content}".strip()
            told[-1] = Message(role=plain.role, content=joined)
        else:
            told.append(plain)
    if tools:
        system = f"{told[0].content}\n\n{instructions(tools)}".strip()
        told[0] = Message(role="system", content=system)
    return told if told[0].content else told[1:]


def _written(call: Call) -> str:
    unparsed = call.arguments.get(UNPARSED)
    return str(unparsed) if isinstance(unparsed, str) else action_text(call.tool, call.arguments)


def trim(told: Sequence[Message], size: int) -> tuple[list[Message], str]:
    """`told` in at most about `size` UTF-8 bytes, and a note that says what was left out, "" for nothing.

    In this order, until it fits: messages longer than 1,500 characters after the task lose their middle, the oldest first;
    the oldest turns after the task go, whole, but never the last; the last message, the task and the system prompt lose
    their middles. The same conversation and size always give the same prompt.
    """
    if _size(told) <= size:
        return list(told), ""
    opening = next((index for index, message in enumerate(told) if message.role == "user"), 0) + 1
    head, rest = list(told[:opening]), list(told[opening:])
    shortened = 0
    for index, message in enumerate(rest):
        if _size([*head, *rest]) > size and len(message.content) > _LONGEST_RESULT:
            rest[index] = _cut(message, _LONGEST_RESULT)
            shortened += 1
    left_out = 0
    while len(rest) > 2 and _size([*head, *rest]) > size:
        drop = 2 if rest[0].role == "assistant" else 1
        rest, left_out = rest[drop:], left_out + drop
    kept = [*head, *rest]
    for index in (len(kept) - 1, opening - 1, 0):
        excess = _size(kept) - size
        if excess > 0 and len(kept[index].content) > 200:
            kept[index] = _cut(kept[index], max(200, len(kept[index].content) - excess - 60))
            shortened += 1
    return kept, f"trimmed: {left_out} of {len(told)} messages left out, {shortened} shortened"


def _size(messages: Sequence[Message]) -> int:
    return sum(len(message.content.encode(errors="replace")) + 16 for message in messages)


def _cut(message: Message, length: int) -> Message:
    text, half = message.content, length // 2
    gone = len(text) - 2 * half
    return Message(role=message.role, content=f"{text[:half]}\n[… {gone} characters left out …]\n{text[-half:]}")


def parse_action(text: str) -> Call | None:
    """The action that `text` is, perhaps inside one code fence; None for anything else, such as prose around it."""
    fenced = _FENCE.match(text)
    value = parse_arguments(fenced.group(1) if fenced else text)
    tool, arguments = value.get("tool"), value.get("arguments")
    if not isinstance(tool, str) or not isinstance(arguments, dict) or len(value) != 2:
        return None
    return Call(id="", tool=tool, arguments=arguments)


def _with_action(reply: Reply) -> Reply:
    text = reply.message.content
    call = parse_action(text)
    if call is None:
        return replace(reply, unparsed=text)
    return replace(reply, message=reply.message.model_copy(update={"content": "", "calls": (call,)}))
