"""A provider's model over a real HTTP server on loopback that speaks OpenAI's API, well and badly; nothing is patched."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from sandbox.errors import ContextOverflow, ModelError, ModelRejected, ModelUnavailable, NotReadyError, UsageError
from sandbox.events import Call, Message
from sandbox.models.chat import PATIENCE, Chat, connect, from_langchain, read_key, to_langchain, without_secrets
from sandbox.models.model import UNPARSED, Price, Settings, ToolSpec, parse_spec
from sandbox.models.raw_answer import parse_arguments

BASH = ToolSpec("bash", "Run a command.", {"type": "object", "properties": {"command": {"type": "string"}}})
TASK = (Message(role="system", content="You are an agent."), Message(role="user", content="Go."))


@dataclass(frozen=True)
class Answer:
    """What the server says next: a status, headers and a body; `cut` sends half of it, `silent` never answers."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    silent: bool = False


def said(content: str | None = "Hello.", finish: str = "stop", **message: Any) -> Answer:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return Answer({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage})


def failed(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    return Answer({"error": {"message": message, "code": code, "type": "t", "param": None}}, status, headers)


class Server:
    """Plays `script`, its last answer for ever, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str] = []
        self.address = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
            self.headers.append(head)
            self.requests.append(json.loads(await reader.readexactly(length)))
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if answer.silent:
                await reader.read()
                return
            body = (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()
            kind = "text/html" if body.startswith(b"<") else "application/json"
            headers = {"content-type": kind, "content-length": len(body), "connection": "close", **answer.headers}
            lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
            writer.write("\r\n".join([*lines, "", ""]).encode() + (body[: len(body) // 2] if answer.cut else body))
            await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    played = Server()
    listening = await asyncio.start_server(played.handle, "127.0.0.1", 0)
    played.address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    yield played
    listening.close()


class Waits:
    """Stands for sleeping: remembers how long, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.told: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
async def chat(server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Chat]:
    opened = open_chat(server, waits, monkeypatch)
    yield opened
    await opened.close()


def open_chat(server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Chat:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-verysecret123")
    for name in ("BELLJAR_BASE_URL", "BELLJAR_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    patience = replace(PATIENCE, sleep=waits.sleep, now=lambda: 1000.0)
    given_settings = Settings(**{"base_url": server.address, **settings})
    return connect(parse_spec("openai:m"), given_settings, on_retry=waits.told.append, patience=patience)


async def test_an_answer_carries_text_usage_and_finish_reason(server: Server, chat: Chat) -> None:
    server.script = [said("Hello.")]
    reply = await chat.reply(TASK, [BASH], seed=7)
    assert (reply.message.content, reply.finish_reason, reply.message.reasoning) == ("Hello.", "stop", None)
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cost_usd) == (11, 7, None)
    assert reply.latency_us > 0
    asked = server.requests[0]
    assert asked["seed"] == 7
    assert asked["messages"] == [{"role": "system", "content": "You are an agent."}, {"role": "user", "content": "Go."}]
    assert asked["tools"][0]["function"]["name"] == "bash"


async def test_sampling_reaches_the_server_and_the_manifest(
    server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = {"provider": {"only": ["x"]}}
    chat = open_chat(server, waits, monkeypatch, temperature=0.5, max_tokens=99, reasoning_effort="low", extra=pin)
    server.script = [said()]
    await chat.reply(TASK, [])
    await chat.close()
    asked = server.requests[0]
    assert (asked["temperature"], asked["max_tokens"], asked["reasoning_effort"]) == (0.5, 99, "low")
    assert asked["provider"] == {"only": ["x"]}
    assert chat.sampling == {
        "base_url": server.address, "temperature": 0.5, "max_tokens": 99, "reasoning_effort": "low", "extra": pin,
    }  # fmt: skip


async def test_a_price_makes_a_cost(server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = open_chat(server, waits, monkeypatch, price=Price(1.0, 2.0))
    server.script = [said()]
    assert (await chat.reply(TASK, [])).usage.cost_usd == pytest.approx(25e-6)
    await chat.close()


def tool_call(arguments: Any, name: Any = "bash", id_: Any = "call_1") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('{"command": "ls"}', {"command": "ls"}),
        ('{"command": "l', {UNPARSED: '{"command": "l'}),
        ('["ls"]', {UNPARSED: '["ls"]'}),
        ('{"n": NaN}', {UNPARSED: '{"n": NaN}'}),
        ("[" * 100_000, {UNPARSED: "[" * 100_000}),
        ("", {}),
        (None, {}),
        ({"command": "ls"}, {"command": "ls"}),
        ('{"command": "\\ud800"}', {"command": "�"}),
    ],
)
async def test_arguments_reach_the_loop_whatever_the_model_wrote(server: Server, chat: Chat, written: Any, read: Any) -> None:
    server.script = [said(None, "tool_calls", tool_calls=[tool_call(written), tool_call('{"command": "id"}', id_="call_2")])]
    calls = (await chat.reply(TASK, [BASH])).message.calls
    assert calls[0] == Call(id="", tool="bash", arguments=read, provider_id="call_1")
    assert calls[1].arguments == {"command": "id"}


async def test_a_broken_call_can_be_sent_back(server: Server, chat: Chat) -> None:
    server.script = [said(None, "tool_calls", tool_calls=[tool_call('{"command": "l')])]
    message = (await chat.reply(TASK, [BASH])).message
    asked = message.model_copy(update={"calls": tuple(c.model_copy(update={"id": "c1"}) for c in message.calls)})
    await chat.reply([*TASK, asked, Message(role="tool", content="not JSON", call_id="c1")], [BASH])
    sent, answer = server.requests[1]["messages"][2:]
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"]) == {UNPARSED: '{"command": "l'}
    assert (answer["tool_call_id"], answer["content"]) == ("call_1", "not JSON")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_reasoning_is_read_and_given_back_with_its_call(server: Server, chat: Chat, name: str) -> None:
    server.script = [said(None, "tool_calls", tool_calls=[tool_call("{}")], **{name: "I should look."})]
    message = (await chat.reply(TASK, [BASH])).message
    assert message.reasoning == "I should look."
    asked = message.model_copy(update={"calls": tuple(c.model_copy(update={"id": "c1"}) for c in message.calls)})
    await chat.reply([*TASK, asked, Message(role="tool", content="ok", call_id="c1")], [BASH])
    assert server.requests[1]["messages"][2][name] == "I should look."


async def test_a_rate_limit_waits_as_long_as_it_is_asked_to(server: Server, chat: Chat, waits: Waits) -> None:
    date = formatdate(1030, usegmt=True)
    server.script = [failed(429, "slow down", **{"retry-after": "17"}), failed(429, "again", **{"retry-after": date}), said()]
    reply = await chat.reply(TASK, [])
    assert waits.seconds == [17.0, 30.0]
    assert [text.split(":")[0] for text in reply.retries] == ["rate_limit", "rate_limit"]
    assert len(waits.told) == 2
    assert "17.0 s" in waits.told[0]


async def test_an_overloaded_server_is_asked_again_with_growing_waits_up_to_a_bound(
    server: Server, chat: Chat, waits: Waits
) -> None:
    server.script = [failed(503, "busy")]
    with pytest.raises(ModelUnavailable, match=r"overload.*busy"):
        await chat.reply(TASK, [])
    assert len(server.requests) == PATIENCE.attempts["overload"]
    assert all(0 <= seconds <= PATIENCE.longest_s for seconds in waits.seconds)


async def test_a_provider_that_asks_for_an_hour_is_not_waited_for(server: Server, chat: Chat, waits: Waits) -> None:
    server.script = [failed(429, "come back later", **{"retry-after": "3600"})]
    with pytest.raises(ModelUnavailable):
        await chat.reply(TASK, [])
    assert waits.seconds == []


async def test_silence_becomes_a_timeout(server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = open_chat(server, waits, monkeypatch, timeout_s=0.2)
    server.script = [Answer(silent=True), said("late")]
    reply = await chat.reply(TASK, [])
    assert reply.message.content == "late"
    assert reply.retries[0].startswith("timeout")
    await chat.close()


@pytest.mark.parametrize(
    "broken",
    [
        replace(said(), cut=True),
        Answer('{"choices": [{"mess'),
        Answer("<html>busy</html>"),
        Answer({"object": "chat.completion", "choices": None}),
        Answer({"choices": []}),
        Answer([1, 2]),
    ],
)
async def test_a_body_that_is_no_answer_is_asked_for_again(server: Server, chat: Chat, broken: Answer) -> None:
    server.script = [broken, said("whole")]
    reply = await chat.reply(TASK, [])
    assert reply.message.content == "whole"
    assert reply.retries[0].startswith("connection")


async def test_an_error_inside_a_200_is_told_apart_by_its_code(server: Server, chat: Chat) -> None:
    server.script = [Answer({"error": {"code": 429, "message": "upstream"}}), said("whole")]
    assert (await chat.reply(TASK, [])).retries == ("rate_limit: upstream",)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (failed(401, "Incorrect API key provided: sk-verysecret123"), ModelRejected, "does not accept the key"),
        (failed(429, "You exceeded your current quota", "insufficient_quota"), ModelRejected, "does not accept the key"),
        (failed(404, "The model `m` does not exist", "model_not_found"), ModelRejected, "does not serve openai:m"),
        (failed(400, "m is not a valid model ID"), ModelRejected, "does not serve openai:m"),
        (failed(400, "maximum context length is 4096", "context_length_exceeded"), ContextOverflow, "no longer fits"),
        (failed(400, "temperature is not supported"), ModelRejected, "refuses what was asked"),
    ],
)
async def test_what_is_useless_to_repeat_is_not_repeated(
    server: Server, chat: Chat, answer: Answer, error: type[ModelError], words: str
) -> None:
    server.script = [answer]
    with pytest.raises(error, match=words) as raised:
        await chat.reply(TASK, [])
    assert len(server.requests) == 1
    assert "verysecret" not in str(raised.value)


async def test_after_a_first_answer_an_odd_refusal_costs_the_trial_only(server: Server, chat: Chat) -> None:
    server.script = [said(), failed(400, "messages[3] is odd")]
    await chat.reply(TASK, [])
    with pytest.raises(ModelError) as raised:
        await chat.reply(TASK, [])
    assert not isinstance(raised.value, ModelRejected | ModelUnavailable)


async def test_a_server_that_was_never_reached_stops_the_run_and_names_its_address(
    server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    chat = open_chat(server, waits, monkeypatch, base_url=f"http://user:hunter2@127.0.0.1:{port}/v1")
    with pytest.raises(ModelRejected, match=f"http://127.0.0.1:{port}/v1 cannot be reached") as raised:
        await chat.reply(TASK, [])
    assert "hunter2" not in str(raised.value) + str(chat.sampling)
    assert len(waits.seconds) == PATIENCE.attempts["connection"] - 1
    await chat.close()


@pytest.mark.parametrize(
    "answer",
    [
        said("", "content_filter"),
        said(None, "stop", refusal="I will not."),
        failed(400, "The response was filtered by the content management policy", "content_filter"),
        failed(403, "Your input was flagged by moderation"),
    ],
)
async def test_a_refusal_is_a_reply(server: Server, chat: Chat, answer: Answer) -> None:
    server.script = [answer]
    reply = await chat.reply(TASK, [BASH])
    assert reply.refused
    assert reply.message.calls == ()


async def test_text_that_sounds_like_a_refusal_is_not_marked(server: Server, chat: Chat) -> None:
    server.script = [said("I must refuse: this breaks the content_filter policy.")]
    assert not (await chat.reply(TASK, [])).refused


async def test_concurrent_callers_each_get_their_own_answer(server: Server, chat: Chat) -> None:
    server.script = [said(str(n)) for n in range(8)]
    replies = await asyncio.gather(*(chat.reply(TASK, []) for _ in range(8)))
    assert len({reply.message.content for reply in replies}) == 8


async def test_the_key_comes_from_a_file_and_is_sent_but_never_shown(
    server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "key").write_text("filekey-4711\n")
    chat = open_chat(server, waits, monkeypatch, key_file=str(tmp_path / "key"))
    server.script = [failed(401, "no such key filekey-4711")]
    with pytest.raises(ModelRejected) as raised:
        await chat.reply(TASK, [])
    assert "Bearer filekey-4711" in server.headers[0]
    assert "filekey-4711" not in f"{raised.value}{chat.name}{chat.sampling}"
    await chat.close()


async def test_a_server_of_ones_own_needs_no_key(server: Server, waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    chat = connect(parse_spec("openai:m"), Settings(base_url=server.address))
    server.script = [said("Hello.")]
    assert (await chat.reply(TASK, [])).message.content == "Hello."
    await chat.close()


def test_without_any_key_the_answer_says_where_one_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "BELLJAR_KEY_FILE", "BELLJAR_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotReadyError, match="OPENAI_API_KEY"):
        connect(parse_spec("openai:m"), Settings())


@pytest.mark.parametrize("content", [None, "", "two words", b"\xff\xfe"])
def test_a_key_file_that_holds_no_key_is_refused_without_quoting_it(content: str | bytes | None, tmp_path: Any) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError) as raised:
        read_key(str(path))
    assert "two words" not in str(raised.value)


@pytest.mark.parametrize(("spec", "package"), [("groq:m", "langchain-groq"), ("mistralai:m", "langchain-mistralai")])
def test_a_missing_package_is_named(spec: str, package: str) -> None:
    with pytest.raises(NotReadyError, match=package):
        connect(parse_spec(spec), Settings())


@pytest.mark.parametrize(("spec", "extra"), [("anthropic:m", "belljar[anthropic]"), ("google_genai:m", "belljar[google]")])
def test_a_missing_extra_is_named(spec: str, extra: str) -> None:
    try:
        connect(parse_spec(spec), Settings(), key="k")
    except NotReadyError as error:
        assert extra in str(error)
    else:
        pytest.skip("the extra is installed here")


def test_an_unknown_provider_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean anthropic:m"):
        connect(parse_spec("antropic:m"), Settings())


def test_an_address_is_recorded_without_what_is_secret_in_it() -> None:
    assert without_secrets("https://me:pw@host:8000/v1/?token=x#y") == "https://host:8000/v1"


def test_anthropic_blocks_are_read() -> None:
    answer = AIMessage(
        [
            {"type": "thinking", "thinking": "Let me see.", "signature": "s"},
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}},
        ],
        tool_calls=[{"name": "bash", "args": {"command": "ls"}, "id": "toolu_1"}],
        response_metadata={"stop_reason": "tool_use", "model_provider": "anthropic"},
        usage_metadata={"input_tokens": 5, "output_tokens": 9, "total_tokens": 14},
    )
    reply = from_langchain(answer)
    assert (reply.message.content, reply.message.reasoning, reply.finish_reason) == ("Looking.", "Let me see.", "tool_use")
    assert reply.message.calls == (Call(id="", tool="bash", arguments={"command": "ls"}, provider_id="toolu_1"),)
    assert reply.usage.input_tokens == 5


def test_an_anthropic_refusal_is_marked() -> None:
    assert from_langchain(AIMessage("", response_metadata={"stop_reason": "refusal"})).refused


def test_google_shapes_are_read() -> None:
    answer = AIMessage(
        [{"type": "thinking", "thinking": "Hm."}, "Plain text."],
        response_metadata={"finish_reason": "STOP"},
        usage_metadata={
            "input_tokens": 5, "output_tokens": 9, "total_tokens": 14, "output_token_details": {"reasoning": 4},
        },
    )  # fmt: skip
    reply = from_langchain(answer)
    assert (reply.message.content, reply.message.reasoning, reply.usage.reasoning_tokens) == ("Plain text.", "Hm.", 4)
    assert from_langchain(AIMessage("", response_metadata={"finish_reason": "PROHIBITED_CONTENT"})).refused
    blocked = from_langchain(AIMessage("", response_metadata={"prompt_feedback": {"block_reason": "SAFETY"}}))
    assert (blocked.refused, blocked.finish_reason) == (True, "prompt blocked: SAFETY")


def test_openai_responses_are_read() -> None:
    answer = AIMessage(
        [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Because."}]},
            {"type": "text", "text": "Done."},
        ],
        response_metadata={"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    )
    reply = from_langchain(answer)
    assert (reply.message.reasoning, reply.finish_reason) == ("Because.", "max_output_tokens")


def test_a_call_that_langchain_could_not_parse_is_not_dropped() -> None:
    broken = {"name": "bash", "args": '{"comm', "id": "x", "error": "cut"}
    calls = from_langchain(AIMessage("", invalid_tool_calls=[broken])).message.calls
    assert calls == (Call(id="", tool="bash", arguments={UNPARSED: '{"comm'}, provider_id="x"),)


def test_signed_reasoning_goes_back_as_the_provider_sent_it() -> None:
    signed = AIMessage(
        [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Looking."}],
        tool_calls=[{"name": "bash", "args": {}, "id": "toolu_1"}],
    )
    message = from_langchain(signed).message
    key = message.model_dump_json()
    asked = message.model_copy(update={"calls": (message.calls[0].model_copy(update={"id": "c1"}),)})
    assert to_langchain([TASK[0], asked], {key: signed})[1] is signed
    other = asked.model_copy(update={"content": "Something else."})
    assert to_langchain([TASK[0], other], {key: signed})[1] is not signed


def call(id_: str, provider_id: str = "") -> Call:
    return Call(id=id_, tool="bash", arguments={}, provider_id=provider_id)


def test_conversations_are_told_so_that_every_provider_takes_them() -> None:
    told = to_langchain(
        [
            Message(role="system", content="s"),
            Message(role="assistant", content="", calls=(call("c1", "p"), call("c2", "p"), call("c:3"))),
            Message(role="tool", content="one", call_id="c1"),
            Message(role="tool", content="two", call_id="c2"),
            Message(role="tool", content="stray", call_id="gone"),
            Message(role="system", content="late"),
            Message(role="assistant", content=""),
        ],
        {},
    )
    kinds = [type(message) for message in told]
    assert kinds == [
        SystemMessage, AIMessage, ToolMessage, ToolMessage, ToolMessage, HumanMessage, HumanMessage, AIMessage,
    ]  # fmt: skip
    asked = told[1]
    assert isinstance(asked, AIMessage)
    assert [c["id"] for c in asked.tool_calls] == ["p", "c2", "c_3"]
    answers = {m.tool_call_id: m.content for m in told if isinstance(m, ToolMessage)}
    assert answers == {"c_3": "[not carried out]", "p": "one", "c2": "two"}
    assert told[-1].content == "(empty reply)"


@given(st.text())
def test_any_text_of_arguments_becomes_an_object_that_can_be_written(text: str) -> None:
    arguments = parse_arguments(text)
    assert isinstance(arguments, dict)
    json.dumps(arguments, allow_nan=False).encode()


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_json_objects_are_read_as_they_are_and_all_else_is_kept_as_text(value: Any) -> None:
    text = json.dumps(value)
    assert parse_arguments(text) == (value if isinstance(value, dict) else {UNPARSED: text})
