"""Models of a provider, or of any server that speaks a provider's API, through LangChain, which only this module imports.

Decision: LangChain builds requests and reads answers, and nothing more; retries, their limits and the meaning of failures are
ours, so that a trial records each of them. Cost: what LangChain's classes drop (the reasoning of OpenAI-compatible
servers, broken tool calls) is read from the raw answer by a small subclass.

An assistant's message is sent back as the provider sent it as long as this process lasts, so that signed reasoning
survives; in another process (a fork) it is rebuilt from the record, without signatures. A system message after the first
becomes a user message and an empty assistant message reads `(empty reply)`, since providers refuse both.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import openai
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pydantic import JsonValue, SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from sandbox.errors import ContextOverflow, ModelError, ModelRejected, ModelUnavailable, NotReadyError, UsageError
from sandbox.events import Call, Message, Usage
from sandbox.models.model import UNPARSED, OnRetry, Price, Reply, Settings, Spec, ToolSpec, without_secrets
from sandbox.models.provider_failure import Failure, classify, describe, retry_after, scrub
from sandbox.models.raw_answer import answer_body, clean, clean_json

REFUSING = re.compile(
    "content_filter|content_filtered|refusal|safety|prohibited_content|blocklist|spii|recitation|guardrail", re.I
)
"""Finish reasons by which providers say that they or the model declined."""

NO_KEY = "none"
"""Sent where no key is known: a server of one's own often asks for none, but the client insists on something."""

_EXTRAS = {"anthropic": "belljar[anthropic]", "google_genai": "belljar[google]"}
_KEY_VARIABLES = {"openai": ("OPENAI_API_KEY",), "anthropic": ("ANTHROPIC_API_KEY",)}
_REMEMBERED = 4096


@dataclass(frozen=True)
class Patience:
    """How long a failing provider is asked again.

    `attempts` counts requests, the first included, by the kind of the latest failure; waits grow exponentially, with jitter, to
    `longest_s` seconds; a provider that asks for more than `give_up_s` is not waited for.
    """

    attempts: Mapping[Failure, int]
    first_s: float = 1.0
    longest_s: float = 60.0
    give_up_s: float = 600.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], float] = time.time


PATIENCE = Patience({"rate_limit": 10, "overload": 8, "timeout": 3, "connection": 4})


class CompatibleChat(ChatOpenAI):
    """OpenAI's API as other servers speak it: with reasoning, with tool calls that do not parse, with errors in a 200.

    An assistant message that holds calls is sent back with its reasoning, under the name that the server used:
    Moonshot and DeepSeek demand it. Official OpenAI never names one, so there nothing is added.
    """

    @property
    def is_elsewhere(self) -> bool:
        """Whether this is another server than OpenAI's own."""
        return bool(self.openai_api_base) and "api.openai.com" not in str(self.openai_api_base)

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        body = answer_body(response)
        result = super()._create_chat_result(body, generation_info)
        for generation, choice in zip(result.generations, body["choices"], strict=True):
            kwargs = generation.message.additional_kwargs
            raw = choice["message"]
            for name in ("reasoning_content", "reasoning"):
                if isinstance(raw.get(name), str) and raw[name]:
                    kwargs.update(reasoning_content=raw[name], reasoning_field=name)
                    break
            if raw.get("refusal"):
                kwargs["refusal"] = raw["refusal"]
        return result

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        if "messages" not in payload:  # the Responses API knows neither a seed nor a field for reasoning
            payload.pop("seed", None)
            return payload
        for message, sent in zip(self._convert_input(input_).to_messages(), payload["messages"], strict=True):
            if isinstance(message, AIMessage) and message.tool_calls and "reasoning_field" in message.additional_kwargs:
                sent[message.additional_kwargs["reasoning_field"]] = message.additional_kwargs["reasoning_content"]
        if self.is_elsewhere and "max_completion_tokens" in payload:
            payload["max_tokens"] = payload.pop("max_completion_tokens")  # the name that every other server knows
        return payload


class Chat:
    """A provider's model. Opened by `connect`; see `sandbox.models.model.Model` for what `reply` raises."""

    def __init__(
        self,
        name: str,
        model: BaseChatModel,
        *,
        sampling: Mapping[str, JsonValue],
        address: str = "",
        secrets: Sequence[str] = (),
        price: Price | None = None,
        timeout_s: float = 600.0,
        patience: Patience = PATIENCE,
        on_retry: OnRetry | None = None,
    ) -> None:
        self.name = name
        self.sampling = sampling
        self._model = model
        self._address = address
        self._secrets = tuple(secrets)
        self._price = price
        self._timeout_s = timeout_s
        self._patience = patience
        self._on_retry = on_retry
        self._answered = False
        self._sent: OrderedDict[str, AIMessage] = OrderedDict()
        self._reasoning_field = "reasoning_content" if isinstance(model, CompatibleChat) and model.is_elsewhere else ""

    async def reply(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        seed: int | None = None,
        schema: Mapping[str, JsonValue] | None = None,
    ) -> Reply:
        """As `Model.reply`; with `schema` (a JSON Schema) the text of the answer is constrained to it by the server."""
        options: dict[str, Any] = {}
        if seed is not None and "seed" in type(self._model).model_fields:
            options["seed"] = seed
        if schema is not None:
            # In the extra body, since `response_format` itself makes the client raise on an answer that was cut.
            body = dict(getattr(self._model, "extra_body", None) or {})
            shape = {"type": "json_schema", "json_schema": {"name": "action", "schema": schema, "strict": True}}
            options["extra_body"] = body | {"response_format": shape}
        runnable = _with_tools(self._model, tools, conversation)
        messages = to_langchain(conversation, self._sent, self._reasoning_field)
        failures: list[str] = []
        latency_us = 0

        async def ask() -> AIMessage:
            nonlocal latency_us
            began = time.monotonic_ns()
            async with asyncio.timeout(self._timeout_s):
                answer = await runnable.ainvoke(messages, **options)
            latency_us = (time.monotonic_ns() - began) // 1000
            return answer

        try:
            answer = await self._persist(ask, failures)
        except Exception as error:
            if classify(error) != "refusal":
                raise self._failure(error, failures) from error
            self._answered = True
            reason = f"refused: {describe(error, self._secrets)}"
            return Reply(Message(role="assistant", content=""), finish_reason=reason, retries=tuple(failures), refused=True)
        self._answered = True
        reply = from_langchain(answer, self._price)
        self._remember(reply.message, answer)
        return Reply(
            reply.message, reply.usage, reply.finish_reason, latency_us, tuple(failures), reply.refused, reply.unparsed
        )

    async def close(self) -> None:
        """Close the connections that `connect` opened."""
        client = getattr(self._model, "http_async_client", None)
        if client is not None:
            await client.aclose()

    async def _persist(self, ask: Callable[[], Awaitable[AIMessage]], failures: list[str]) -> AIMessage:
        patience = self._patience
        backoff = wait_random_exponential(multiplier=patience.first_s, max=patience.longest_s)

        def wait(state: RetryCallState) -> float:
            asked = retry_after(_failed(state), patience.now())
            return max(backoff(state), asked or 0.0)

        def spent(state: RetryCallState) -> bool:
            error = _failed(state)
            return (
                state.attempt_number >= patience.attempts.get(classify(error), 1)
                or (retry_after(error, patience.now()) or 0) > patience.give_up_s
            )

        def tell(state: RetryCallState) -> None:
            error = _failed(state)
            failures.append(f"{classify(error)}: {describe(error, self._secrets)}")
            if self._on_retry is not None:
                pause = state.next_action.sleep if state.next_action else 0.0
                self._on_retry(f"{self.name}: {failures[-1]} - asking again in {pause:.1f} s")

        retrying = AsyncRetrying(
            sleep=patience.sleep,
            wait=wait,
            stop=spent,
            retry=retry_if_exception(lambda error: classify(error) in patience.attempts),
            before_sleep=tell,
            reraise=True,
        )
        return await retrying(ask)

    def _failure(self, error: Exception, failures: Sequence[str]) -> ModelError:  # noqa: PLR0911 - one a meaning
        """The error of ours that says what `error`, the last of `failures`, means for the trial or the study."""
        meaning, said = classify(error), describe(error, self._secrets).rstrip(".") + "."
        tries = f" after {len(failures) + 1} attempts" if failures else ""
        match meaning:
            case "bad_key":
                return ModelRejected(
                    f"{self._address} does not accept the key for {self.name}: {said}",
                    "Set the provider's key in its environment variable or in the file that BELLJAR_KEY_FILE names.",
                )
            case "unknown_model":
                return ModelRejected(
                    f"{self._address} does not serve {self.name}: {said}",
                    "Check the model's name, and that the base URL ends where the API begins (often /v1).",
                )
            case "context_overflow":
                return ContextOverflow(f"The conversation no longer fits {self.name}: {said}")
            case "connection" if not self._answered:
                return ModelRejected(
                    f"{self._address} cannot be reached for {self.name}{tries}: {said}",
                    "Check the base URL and that the server is running.",
                )
            case "other" if not self._answered:
                return ModelRejected(
                    f"{self._address} refuses what was asked of {self.name}: {said}",
                    "Check the sampling settings; not every model takes every one.",
                )
            case "other":
                return ModelError(f"{self.name} failed: {said}")
            case _:
                return ModelUnavailable(f"{self.name} did not answer{tries}: {meaning}: {said}")

    def _remember(self, message: Message, answer: AIMessage) -> None:
        self._reasoning_field = answer.additional_kwargs.get("reasoning_field", self._reasoning_field)
        if answer.invalid_tool_calls:
            return
        self._sent[_likeness(message)] = answer
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)


def connect(
    spec: Spec,
    settings: Settings,
    *,
    on_retry: OnRetry | None = None,
    patience: Patience = PATIENCE,
    name: str = "",
    key: str = "",
) -> Chat:
    """Prepare a provider's model; sends nothing. Raises UsageError and NotReadyError, see `open_model`.

    `name` replaces the spec in what is shown; `key` goes before every other source of one.
    """
    base_url = settings.base_url or os.environ.get("BELLJAR_BASE_URL", "")
    if spec.prefix == "openai":  # which its client would obey too, and then the manifest has to say so
        base_url = base_url or os.environ.get("OPENAI_BASE_URL", "") or os.environ.get("OPENAI_API_BASE", "")
    key = key or read_key(settings.key_file or os.environ.get("BELLJAR_KEY_FILE", ""))
    model = _build(spec, settings, base_url, key)
    shown = without_secrets(base_url)
    sampling: dict[str, JsonValue] = {
        name: value
        for name, value in {
            "base_url": shown,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "reasoning_effort": settings.reasoning_effort,
            "extra": dict(settings.extra),
        }.items()
        if value not in (None, "", {})
    }
    return Chat(
        name or str(spec),
        model,
        sampling=sampling,
        address=shown or f"The provider {spec.prefix}",
        secrets=[secret for secret in (*_secrets(model), key) if secret not in ("", NO_KEY)],
        price=settings.price,
        timeout_s=settings.timeout_s,
        patience=patience,
        on_retry=on_retry,
    )


def read_key(path: str) -> str:
    """The key that the file holds alone, "" for no path. Raises UsageError, which never quotes the file."""
    if not path:
        return ""
    try:
        key = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"The key file {path} cannot be read: {type(error).__name__}.", "Name a file that holds the key alone."
        ) from error
    if not key or len(key.split()) != 1:
        raise UsageError(f"The key file {path} does not hold exactly one word.", "Put the key into it, alone.")
    return key


def _build(spec: Spec, settings: Settings, base_url: str, key: str) -> BaseChatModel:
    options: dict[str, Any] = {
        "base_url": base_url or None,
        "api_key": key or None,
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
        "reasoning_effort": settings.reasoning_effort,
    }
    options = {name: value for name, value in options.items() if value is not None}
    try:
        if spec.prefix == "openai":
            return _compatible(spec, settings, base_url, options)
        options |= {"max_retries": 1 if spec.prefix == "google_genai" else 0}  # Google counts the first attempt
        options |= cast(dict[str, Any], settings.extra)
        return cast(BaseChatModel, init_chat_model(spec.name, model_provider=spec.prefix, **options))
    except ImportError as error:
        package = _EXTRAS.get(spec.prefix) or _missing_package(error, spec.prefix)
        raise NotReadyError(
            f"{spec.prefix} models need a package that is not installed.", f"pip install '{package}'"
        ) from error
    except (ValueError, TypeError, openai.OpenAIError) as error:
        raise _cannot_open(spec, error, key) from error


def _compatible(spec: Spec, settings: Settings, base_url: str, options: dict[str, Any]) -> BaseChatModel:
    if "api_key" not in options and not os.environ.get("OPENAI_API_KEY"):
        if not base_url:
            raise NotReadyError(
                f"There is no key for {spec}.", "Set OPENAI_API_KEY, or BELLJAR_KEY_FILE to a file that holds the key."
            )
        options["api_key"] = NO_KEY
    loopback = urlsplit(base_url).hostname in {"127.0.0.1", "localhost", "::1"}
    # A client of our own: LangChain's is shared by the whole process, whatever event loop it was first used in.
    client = openai.DefaultAsyncHttpxClient(trust_env=not loopback)
    return CompatibleChat(
        model=spec.name, max_retries=0, http_async_client=client, extra_body=dict(settings.extra) or None, **options
    )


def _missing_package(error: ImportError, prefix: str) -> str:
    found = re.search(r"pip install ([\w-]+)", str(error))
    return found.group(1) if found else f"langchain-{prefix.replace('_', '-')}"


def _cannot_open(spec: Spec, error: Exception, key: str) -> UsageError | NotReadyError:
    from difflib import get_close_matches  # noqa: PLC0415 - only ever needed to word this error

    said = scrub(str(error), [key])
    if "Unsupported provider" in said:
        known = re.findall(r"\w+", said.partition("are:")[2])
        near = get_close_matches(spec.prefix, [*known, "local", "oracle", "replay"], n=1)
        hint = f"Did you mean {near[0]}:{spec.name}?" if near else f"Known are local, {', '.join(known)}."
        return UsageError(f"'{spec.prefix}' is not a provider.", hint)
    if re.search("api.?key|credential", said, re.I):
        variable = (_KEY_VARIABLES.get(spec.prefix) or (f"{spec.prefix.upper()}_API_KEY",))[0]
        return NotReadyError(
            f"There is no usable key for {spec}.", f"Set {variable}, or BELLJAR_KEY_FILE to a file that holds the key."
        )
    return UsageError(f"{spec} cannot be opened with these settings: {describe(error, [key])}", "Check the sampling settings.")


def _secrets(model: BaseChatModel) -> list[str]:
    values = (getattr(model, name, None) for name in type(model).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


def _failed(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    return error if error is not None else RuntimeError("no failure")


def _with_tools(
    model: BaseChatModel, tools: Sequence[ToolSpec], conversation: Sequence[Message]
) -> Runnable[LanguageModelInput, AIMessage]:
    if tools:
        return model.bind_tools([_tool(tool) for tool in tools])
    called = sorted({call.tool for message in conversation for call in message.calls})
    if called and "anthropic" in type(model).__module__:
        # Anthropic refuses a conversation with calls unless tools are defined, also where none may be used (an interview).
        known = [_tool(ToolSpec(name, "", {"type": "object", "properties": {}})) for name in called]
        return model.bind_tools(known, tool_choice={"type": "none"})  # type: ignore[arg-type]
    return model


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


# --- our vocabulary to LangChain's -------------------------------------------------------------------------------------


def to_langchain(conversation: Sequence[Message], sent: Mapping[str, AIMessage], reasoning_field: str = "") -> list[AnyMessage]:
    """The conversation as LangChain messages; `sent` holds what the provider itself had sent, by likeness, and
    `reasoning_field` is the name under which it wants reasoning back, "" if it does not.

    Providers want every call answered, right after it: one that never was gets `[not carried out]`, and a tool message
    that answers no call becomes a user message.
    """
    names = _provider_names(conversation)
    answered = {message.call_id for message in conversation if message.role == "tool"}
    messages: list[AnyMessage] = []
    for index, message in enumerate(conversation):
        match message.role:
            case "system" if index == 0:
                messages.append(SystemMessage(message.content))
            case "assistant":
                messages.append(_assistant(message, names, sent, reasoning_field))
                missing = [names[call.id] for call in message.calls if call.id not in answered]
                messages += [ToolMessage("[not carried out]", tool_call_id=name) for name in missing]
            case "tool" if message.call_id in names:
                messages.append(ToolMessage(message.content, tool_call_id=names[message.call_id]))
            case _:
                messages.append(HumanMessage(message.content))
    return messages


def _assistant(message: Message, names: Mapping[str, str], sent: Mapping[str, AIMessage], reasoning_field: str) -> AIMessage:
    original = sent.get(_likeness(message))
    if original is not None and [call["id"] for call in original.tool_calls] == [names[c.id] for c in message.calls]:
        return original
    calls = [{"name": call.tool, "args": call.arguments, "id": names[call.id]} for call in message.calls]
    kwargs = {}
    if message.reasoning and reasoning_field:
        kwargs = {"reasoning_content": message.reasoning, "reasoning_field": reasoning_field}
    content = message.content or ("" if calls else "(empty reply)")
    return AIMessage(content, tool_calls=calls, additional_kwargs=kwargs)


def _provider_names(conversation: Sequence[Message]) -> dict[str, str]:
    """What each call is called to the provider: its own name for it, or, where that is empty or taken, ours."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for call in (call for message in conversation for call in message.calls):
        name = call.provider_id
        if not name or name in taken:
            name = re.sub(r"[^a-zA-Z0-9_-]", "_", call.id)
        names[call.id] = name
        taken.add(name)
    return names


def _likeness(message: Message) -> str:
    """Equal for the same message before and after the loop gave its calls their ids."""
    calls = tuple(call.model_copy(update={"id": ""}) for call in message.calls)
    return message.model_copy(update={"calls": calls}).model_dump_json()


# --- and back ----------------------------------------------------------------------------------------------------------


def from_langchain(answer: AIMessage, price: Price | None = None) -> Reply:
    """What a LangChain answer says, in our vocabulary; reads OpenAI's, Anthropic's and Google's shapes."""
    calls = [_call(call["name"], call["args"], call["id"]) for call in answer.tool_calls]
    calls += [_call(call["name"], {UNPARSED: call["args"] or ""}, call["id"]) for call in answer.invalid_tool_calls]
    metadata = answer.response_metadata
    refusal = answer.additional_kwargs.get("refusal") or _joined(_blocks(answer), "refusal", "refusal")
    blocked = (metadata.get("prompt_feedback") or {}).get("block_reason")  # Google's word for a prompt it did not take
    finish = str(metadata.get("finish_reason") or metadata.get("stop_reason") or _responses_finish(metadata) or "")
    if blocked and not finish:
        finish = f"prompt blocked: {getattr(blocked, 'name', blocked)}"
    message = Message(
        role="assistant",
        content=clean(str(answer.text) or str(refusal or "")),
        calls=tuple(calls),
        reasoning=_reasoning(answer),
    )
    refused = bool(refusal or blocked or REFUSING.search(finish))
    return Reply(message, _usage(answer, price), finish, refused=refused)


def _call(tool: str | None, arguments: Any, provider_id: str | None) -> Call:
    try:
        plain = json.loads(json.dumps(arguments, allow_nan=False, default=str))
    except (ValueError, RecursionError):
        plain = {UNPARSED: repr(arguments)}
    if not isinstance(plain, dict):
        plain = {UNPARSED: json.dumps(plain)}
    return Call(id="", tool=clean(tool or ""), arguments=clean_json(plain), provider_id=clean(provider_id or ""))


def _blocks(answer: AIMessage) -> list[dict[str, Any]]:
    return [block for block in answer.content if isinstance(block, dict)] if isinstance(answer.content, list) else []


def _joined(blocks: Iterable[Mapping[str, Any]], kind: str, key: str) -> str:
    return "\n".join(str(block[key]) for block in blocks if block.get("type") == kind and block.get(key))


def _reasoning(answer: AIMessage) -> str | None:
    """Anthropic's and Google's `thinking` blocks, LangChain's `reasoning` blocks, OpenAI's summaries, or the extra field."""
    blocks = _blocks(answer)
    summaries = [part for block in blocks if block.get("type") == "reasoning" for part in block.get("summary") or ()]
    parts = (
        str(answer.additional_kwargs.get("reasoning_content") or ""),
        _joined(blocks, "thinking", "thinking"),
        _joined(blocks, "reasoning", "reasoning"),
        _joined(summaries, "summary_text", "text"),
    )
    return clean("\n".join(part for part in parts if part)) or None


def _responses_finish(metadata: Mapping[str, Any]) -> str:
    """OpenAI's Responses API has a status instead, and details where it is `incomplete`."""
    details = metadata.get("incomplete_details")
    return str((details or {}).get("reason") or metadata.get("status") or "")


def _usage(answer: AIMessage, price: Price | None) -> Usage:
    counted = answer.usage_metadata
    if counted is None:
        return Usage()
    details: Mapping[str, Any] = counted.get("output_token_details") or {}
    reasoning = next((count for name, count in details.items() if name.endswith("reasoning")), None)
    billed = (answer.response_metadata.get("token_usage") or {}).get("cost")
    cost = price.cost(counted["input_tokens"], counted["output_tokens"]) if price else None
    if cost is None and isinstance(billed, int | float):
        cost = float(billed)  # OpenRouter says what it charged
    return Usage(
        input_tokens=counted["input_tokens"],
        output_tokens=counted["output_tokens"],
        reasoning_tokens=reasoning,
        cost_usd=cost,
    )
