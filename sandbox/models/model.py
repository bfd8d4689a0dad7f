"""What the loop asks of a model: a conversation and some tools in, one reply out.

A model is named by a spec, `prefix:name`: `local:smollm2` and `local:/path/to/weights.gguf` are served on this machine
(`sandbox/models/gguf.py`); whoever opens a model may hand in further kinds of its own (the engine's are `oracle:` and
`replay:`); every other prefix is a provider that LangChain knows (`sandbox/models/chat.py`).
Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from pydantic import JsonValue

from sandbox.errors import UsageError
from sandbox.events import Message, Usage

UNPARSED = "_unparsed"
"""The one key of a call's arguments when what the model wrote is not a JSON object; its value is that text."""


@dataclass(frozen=True)
class ToolSpec:
    """A tool as a model is told of it; `parameters` is the JSON Schema of an object."""

    name: str
    description: str
    parameters: dict[str, JsonValue]


@dataclass(frozen=True)
class Reply:
    """One answer of a model.

    `message` has role assistant; its calls have no `id` yet (the loop assigns them) but keep `provider_id`. A call whose
    arguments could not be parsed has `{UNPARSED: text}` for arguments. `unparsed` is the text of a reply that should
    have been an action and is none. `refused` says that the provider or the model declined through the provider's own
    channel (a content filter, a refusal field), not that the text sounds like declining. `latency_us` is that of
    the request that was answered. `retries` tells, one line each and in order, what failed before the answer and,
    beginning with `trimmed:`, what was left out of the prompt to make it fit.
    """

    message: Message
    usage: Usage = field(default_factory=Usage)
    finish_reason: str = ""
    latency_us: int = 0
    retries: tuple[str, ...] = ()
    refused: bool = False
    unparsed: str = ""


class Model(Protocol):
    """Answers conversations; concurrent calls are allowed.

    `name` is the spec as it was given, which never holds a secret; `sampling` all that shapes its answers, for the manifest.
    """

    @property
    def name(self) -> str: ...

    @property
    def sampling(self) -> Mapping[str, JsonValue]: ...

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        """Continue `conversation`, perhaps with calls of `tools`.

        Raises ModelRejected when asking again is useless (the study stops), ContextOverflow when the conversation has
        outgrown the model, ModelUnavailable when the retries are spent, ModelError otherwise (the trial is invalid).
        """
        ...

    async def close(self) -> None:
        """Let go of connections, processes and memory; calling it twice is harmless."""
        ...


class Spec(NamedTuple):
    """A model's name, taken apart; `str()` gives it back as it was written."""

    prefix: str
    name: str

    def __str__(self) -> str:
        return f"{self.prefix}:{self.name}"


class Price(NamedTuple):
    """US dollars for a million tokens; reasoning tokens are output tokens, as providers bill them."""

    input: float
    output: float

    def cost(self, input_tokens: int | None, output_tokens: int | None) -> float | None:
        """Dollars for one exchange, None when a count is not known."""
        if input_tokens is None or output_tokens is None:
            return None
        return (input_tokens * self.input + output_tokens * self.output) / 1_000_000


@dataclass(frozen=True)
class Settings:
    """How a model is reached and sampled; None leaves the choice to the provider.

    Attributes:
        base_url: where an API-compatible server listens; else `BELLJAR_BASE_URL`, else the provider's own address.
        key_file: file holding the API key alone; else `BELLJAR_KEY_FILE`, else the provider's own variable.
        max_tokens: bound of one reply, in tokens.
        reasoning_effort: in the provider's words, e.g. `low`.
        extra: further fields of the request (OpenAI-compatible) or of the LangChain class (others), e.g. OpenRouter's
            `{"provider": {"only": ["x"]}}`. It is recorded with the run, so no secret belongs here.
        timeout_s: seconds for one request.
        json_actions: drive the model by schema-constrained JSON, for servers without tool calls.
        context_tokens: the model's window; with JSON actions, prompts are trimmed to it.
    """

    base_url: str = ""
    key_file: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    price: Price | None = None
    timeout_s: float = 600.0
    json_actions: bool = False
    context_tokens: int | None = None


OnRetry = Callable[[str], None]
"""Told one line whenever a request failed and will be tried again."""

Opener = Callable[[Spec, Settings], Model]


def without_secrets(url: str) -> str:
    """An address as it may be recorded: no user, password, query or fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def parse_spec(text: str) -> Spec:
    """Take `prefix:name` apart; the name may hold colons and slashes itself. Raises UsageError."""
    prefix, colon, name = text.strip().partition(":")
    if not (prefix and colon and name):
        raise UsageError(
            f"'{text}' does not name a model.", "Write provider:name, for example local:smollm2 or openai:gpt-5-mini."
        )
    return Spec(prefix if prefix == "local" else prefix.lower().replace("-", "_"), name)


def parse_price(text: str) -> Price:
    """`IN,OUT` in US dollars per million tokens, e.g. `0.15,0.6`. Raises UsageError."""
    fix = "Write dollars per million input and output tokens, for example 0.15,0.6."
    try:
        price = Price(*(float(part) for part in text.split(",")))
    except (TypeError, ValueError) as error:
        raise UsageError(f"'{text}' is not a price.", fix) from error
    if not all(0 <= part < float("inf") for part in price):
        raise UsageError(f"'{text}' is not a price.", fix)
    return price


def open_model(
    spec: str,
    settings: Settings = Settings(),
    *,
    on_retry: OnRetry | None = None,
    kinds: Mapping[str, Opener] | None = None,
) -> Model:
    """The model that `spec` names; nothing is sent or loaded before its first reply.

    `kinds` adds prefixes, and wins over providers of the same name. Raises UsageError for a spec that names nothing,
    NotReadyError for a package, weights or a key that are missing here.
    """
    parsed = parse_spec(spec)
    if kinds and parsed.prefix in kinds:
        return kinds[parsed.prefix](parsed, settings)
    if parsed.prefix == "local":
        from sandbox.models.gguf import LocalModel  # noqa: PLC0415 - pulls in LangChain, a second's import that oracles need not pay

        return LocalModel(parsed, settings, on_retry=on_retry)
    from sandbox.models.chat import connect  # noqa: PLC0415 - likewise

    chat = connect(parsed, settings, on_retry=on_retry)
    if not settings.json_actions:
        return chat
    from sandbox.models.actions import JsonActions  # noqa: PLC0415 - likewise

    return JsonActions(chat, context_tokens=settings.context_tokens, max_tokens=settings.max_tokens)
