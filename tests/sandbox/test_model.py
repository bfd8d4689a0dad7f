"""How a model's spec is read and who answers for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from sandbox.errors import NotReadyError, UsageError
from sandbox.events import Message
from sandbox.models.model import Model, Price, Reply, Settings, Spec, ToolSpec, open_model, parse_price, parse_spec


class Echo:
    """A kind of model that a caller brings along."""

    def __init__(self, spec: Spec, settings: Settings) -> None:
        self.name = str(spec)
        self.sampling: Mapping[str, JsonValue] = {"temperature": settings.temperature}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        return Reply(Message(role="assistant", content=conversation[-1].content))

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("openai:gpt-5-mini", Spec("openai", "gpt-5-mini")),
        ("google-genai:gemini", Spec("google_genai", "gemini")),
        ("local:/srv/a b.gguf", Spec("local", "/srv/a b.gguf")),
        ("replay:runs/x:y", Spec("replay", "runs/x:y")),
        ("openai:moonshotai/kimi-k2:free", Spec("openai", "moonshotai/kimi-k2:free")),
    ],
)
def test_a_spec_is_split_at_its_first_colon(text: str, spec: Spec) -> None:
    assert parse_spec(text) == spec


@pytest.mark.parametrize("text", ["", "gpt-5", ":gpt", "openai:", ":"])
def test_a_spec_without_provider_or_name_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="local:smollm2"):
        parse_spec(text)


@given(st.text())
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UsageError:
        return
    assert spec.prefix
    assert spec.name
    assert parse_spec(str(spec)) == spec


async def test_kinds_that_the_caller_brings_are_asked_first() -> None:
    model: Model = open_model("openai:x", Settings(temperature=0.5), kinds={"openai": Echo})
    reply = await model.reply([Message(role="user", content="hi")], [])
    assert (model.name, model.sampling["temperature"], reply.message.content) == ("openai:x", 0.5, "hi")


def test_an_unknown_prefix_is_a_usage_error_that_suggests() -> None:
    with pytest.raises(UsageError, match="Did you mean local:smollm2"):
        open_model("locale:smollm2")


def test_a_provider_without_a_key_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "BELLJAR_KEY_FILE", "BELLJAR_BASE_URL", "OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NotReadyError):
        open_model("openai:gpt")


async def test_json_actions_can_be_asked_of_any_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BELLJAR_KEY_FILE", raising=False)
    model = open_model("openai:m", Settings(base_url="http://127.0.0.1:1/v1", json_actions=True))
    assert model.sampling["tool_calls"] == "json_actions"
    await model.close()


def test_a_price_costs_by_the_million() -> None:
    price = parse_price("0.15,0.6")
    assert price == Price(0.15, 0.6)
    assert price.cost(1_000_000, 500_000) == pytest.approx(0.45)
    assert price.cost(None, 5) is None


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "-1,2", "nan,1", "inf,1"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_price(text)
