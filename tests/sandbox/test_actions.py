"""Models without tool calls: what they are told, held to and understood to say, with a model that only records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from sandbox.errors import ContextOverflow
from sandbox.events import Call, Message
from sandbox.models.actions import JsonActions, action_schema, examples, instructions, parse_action, tell, trim
from sandbox.models.model import UNPARSED, Reply, ToolSpec
from tools import TOOLS

TOOL_SPECS = [ToolSpec(tool.name, tool.description, tool.schema()) for tool in TOOLS.values()]
ODD = ToolSpec(
    "rotate",
    "Rotate a log. Slowly.",
    {
        "type": "object",
        "properties": {"level": {"enum": ["hard", "soft"]}, "times": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["level", "times"],
    },
)
SYSTEM, TASK = Message(role="system", content="You are an agent."), Message(role="user", content="Go.")


class Recorder:
    """Says `texts` one after the other, the last for ever; finds prompts of more than `window` characters too long."""

    name = "recorder"
    sampling: Mapping[str, JsonValue] = {"temperature": 0.0}

    def __init__(self, *texts: str, window: int = 1_000_000) -> None:
        self.texts = list(texts)
        self.window = window
        self.asked: list[tuple[Sequence[Message], Mapping[str, JsonValue] | None]] = []

    async def reply(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        schema: Mapping[str, JsonValue] | None = None,
    ) -> Reply:
        assert not tools
        self.asked.append((conversation, schema))
        if sum(len(message.content) for message in conversation) > self.window:
            raise ContextOverflow("too long")
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        return Reply(Message(role="assistant", content=text), finish_reason="stop")

    async def close(self) -> None: ...


async def test_an_action_becomes_a_call_and_the_schema_is_asked_for() -> None:
    model = Recorder('{"tool": "bash", "arguments": {"command": "ls"}}')
    reply = await JsonActions(model).reply([SYSTEM, TASK], TOOL_SPECS)
    assert reply.message.calls == (Call(id="", tool="bash", arguments={"command": "ls"}),)
    assert (reply.message.content, reply.unparsed) == ("", "")
    assert model.asked[0][1] == action_schema(TOOL_SPECS)


@pytest.mark.parametrize("text", ["I would list the files.", '{"tool": "bash", "argu', "[]", '{"tool": 1, "arguments": {}}'])
async def test_what_is_no_action_is_kept_as_data(text: str) -> None:
    reply = await JsonActions(Recorder(text)).reply([SYSTEM, TASK], TOOL_SPECS)
    assert (reply.message.calls, reply.message.content, reply.unparsed) == ((), text, text)


async def test_without_tools_the_answer_is_free_text() -> None:
    model = Recorder('{"answer": "no", "text": "I did not."}')
    reply = await JsonActions(model).reply([SYSTEM, TASK], [])
    assert reply.message.content.startswith('{"answer"')
    assert reply.unparsed == ""
    assert model.asked[0][1] is None
    assert "Examples" not in model.asked[0][0][0].content


def test_the_schema_stands_alone_with_the_definitions_of_every_tool() -> None:
    schema: Any = action_schema(TOOL_SPECS)
    assert [option["properties"]["tool"]["const"] for option in schema["anyOf"]] == [tool.name for tool in TOOL_SPECS]
    text = json.dumps(schema)
    referred = {part.split('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert referred <= set(schema.get("$defs", {}))
    assert "$defs" not in json.dumps(schema["anyOf"]).replace("#/$defs/", "")


def test_five_examples_use_the_real_tools_and_fit_their_schemas() -> None:
    shown = [json.loads(action) for _, action in examples(TOOL_SPECS)]
    assert len(shown) == 5
    for action in shown:
        TOOLS[action["tool"]].arguments.model_validate(action["arguments"])


def test_an_unknown_tool_gets_an_example_from_its_schema() -> None:
    ((task, action),) = examples([ODD])
    assert task == "Rotate a log."
    assert json.loads(action) == {"tool": "rotate", "arguments": {"level": "hard", "times": 1}}
    assert "rotate(level, times, name): Rotate a log." in instructions([ODD])


def test_calls_and_results_are_told_as_text_in_turns() -> None:
    calls = (Call(id="c1", tool="bash", arguments={"command": "ls"}), Call(id="c2", tool="bash", arguments={UNPARSED: "{x"}))
    told = tell(
        [
            SYSTEM,
            TASK,
            Message(role="assistant", content="Looking.", calls=calls),
            Message(role="tool", content="a.txt", call_id="c1"),
            Message(role="tool", content="not JSON", call_id="c2"),
            Message(role="user", content="Go on."),
        ],
        [],
    )
    assert [message.role for message in told] == ["system", "user", "assistant", "user"]
    assert told[2].content == 'Looking.\n{"tool": "bash", "arguments": {"command": "ls"}}\n{x'
    assert told[3].content == "Result of bash:\na.txt\n\nResult of bash:\nnot JSON\n\nGo on."


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('```json\n{"tool": "bash", "arguments": {}}\n```', Call(id="", tool="bash", arguments={})),
        (' {"tool": "bash", "arguments": {}} ', Call(id="", tool="bash", arguments={})),
        ('Sure: {"tool": "bash", "arguments": {}}', None),
        ('{"tool": "bash", "arguments": {}, "why": "x"}', None),
        ('{"tool": "bash", "arguments": "ls"}', None),
        ("", None),
    ],
)
def test_actions_are_read_strictly_but_through_fences(text: str, call: Call | None) -> None:
    assert parse_action(text) == call


@given(st.text())
def test_no_text_breaks_the_reading_of_actions(text: str) -> None:
    call = parse_action(text)
    assert call is None or call.tool in text


def turns(count: int, size: int = 10) -> list[Message]:
    told = [SYSTEM, TASK]
    for n in range(count):
        told += [Message(role="assistant", content=f"action {n}"), Message(role="user", content=f"result {n} " + "x" * size)]
    return told


def test_a_prompt_that_fits_is_not_touched() -> None:
    told = turns(3)
    assert trim(told, 10_000) == (told, "")


def test_the_oldest_turns_go_first_and_the_task_stays() -> None:
    kept, note = trim(turns(50), 600)
    assert kept[:2] == [SYSTEM, TASK]
    assert kept[2].role == "assistant"
    assert kept[-1].content.startswith("result 49")
    assert note == f"trimmed: {102 - len(kept)} of 102 messages left out, 0 shortened"


def test_long_results_lose_their_middle_before_any_turn_goes() -> None:
    told = turns(2, 5000)
    kept, note = trim(told, 6000)
    assert len(kept) == len(told)
    assert "characters left out" in kept[3].content
    assert note == "trimmed: 0 of 6 messages left out, 2 shortened"


@given(st.lists(st.text(max_size=4000), min_size=1, max_size=12), st.integers(1500, 20_000))
def test_trimming_is_repeatable_keeps_the_ends_and_says_so(texts: list[str], size: int) -> None:
    told = [SYSTEM, TASK]
    for index, text in enumerate(texts):
        told.append(Message(role="user" if index % 2 else "assistant", content=text))
    kept, note = trim(told, size)
    assert (kept, note) == trim(told, size)
    assert kept[:2] == [SYSTEM, TASK]
    assert kept[-1].content[:50] == told[-1].content[:50]
    assert bool(note) == (kept != told)


async def test_a_prompt_that_the_server_still_finds_too_long_is_trimmed_tighter_and_the_reply_says_so() -> None:
    model = Recorder("{}", window=3000)
    reply = await JsonActions(model, context_tokens=2048, max_tokens=256).reply(turns(100, 100), TOOL_SPECS)
    assert len(model.asked) > 1
    assert reply.retries[0].startswith("context_overflow")
    assert reply.retries[-1].startswith("trimmed:")


async def test_a_prompt_that_cannot_be_made_to_fit_overflows() -> None:
    with pytest.raises(ContextOverflow):
        await JsonActions(Recorder("{}", window=10), context_tokens=4096).reply([SYSTEM, TASK], TOOL_SPECS)
