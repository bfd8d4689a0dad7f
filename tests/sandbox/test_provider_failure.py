"""What failures of providers mean, judged from exceptions as their clients shape them, without any client."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.models.provider_failure import ErrorAnswer, Failure, GarbledAnswer, classify, describe, retry_after, scrub


def failure(name: str, message: str = "", *, cause: Exception | None = None, **attributes: Any) -> Exception:
    """An exception of a class called `name`, as a provider's package would raise it."""
    error: Exception = type(name, (Exception,), {})(message)
    for key, value in attributes.items():
        setattr(error, key, value)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (failure("RateLimitError", "429", status_code=429), "rate_limit"),
        (failure("ClientError", "Resource exhausted", code=429), "rate_limit"),
        (failure("OverloadedError", "Overloaded", status_code=529), "overload"),
        (failure("InternalServerError", "oops", status_code=500), "overload"),
        (failure("X", "gateway", status_code=504), "timeout"),
        (TimeoutError(), "timeout"),
        (failure("APITimeoutError", cause=failure("ReadTimeout")), "timeout"),
        (failure("APITimeoutError", cause=failure("ConnectTimeout")), "connection"),
        (failure("APIConnectionError", "Connection error."), "connection"),
        (ConnectionRefusedError("refused"), "connection"),
        (GarbledAnswer("html"), "connection"),
        (failure("AuthenticationError", "no", status_code=401), "bad_key"),
        (failure("E", "Insufficient credits", status_code=402), "bad_key"),
        (failure("E", "Error calling model 'g' (INVALID_ARGUMENT): 400. API key not valid. Pass one", code=400), "bad_key"),
        (failure("E", "Error calling model 'g' (INVALID_ARGUMENT): 400. topK is too large", code=400), "other"),
        (failure("E", "You exceeded your current quota", status_code=429), "bad_key"),
        (failure("NotFoundError", "model: claude-9", status_code=404), "unknown_model"),
        (failure("E", "x/y is not a valid model ID", status_code=400), "unknown_model"),
        (failure("E", "prompt is too long: 300000 tokens > 200000 maximum", status_code=400), "context_overflow"),
        (failure("E", "request (10031 tokens) exceeds the available context size (4096 tokens)", code=400), "context_overflow"),
        (failure("E", "The input token count (9) exceeds the maximum number of tokens", code=400), "context_overflow"),
        (failure("E", "Output blocked by content filtering policy", status_code=400), "refusal"),
        (failure("E", "flagged by moderation", status_code=403), "refusal"),
        (failure("ContentFilterFinishReasonError"), "refusal"),
        (failure("E", "temperature is not supported", status_code=400), "other"),
        (ValueError("a bug of ours"), "other"),
        (failure("Wrapped", "Error calling model", cause=failure("ClientError", "", code=429)), "rate_limit"),
        (ErrorAnswer(503, "upstream"), "overload"),
        (ErrorAnswer(None, "no reason given"), "other"),
    ],
)  # fmt: skip
def test_failures_are_told_apart(error: Exception, meaning: Failure) -> None:
    assert classify(error) == meaning


class Response:
    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "2.5"}, 2.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "Thu, 01 Jan 1970 00:17:00 GMT"}, 20.0),
        ({"retry_after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "nan"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_provider_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    error = failure("Outer", cause=failure("RateLimitError", response=Response(**headers)))
    assert retry_after(error, now=1000.0) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "key my-own-secret is wrong",
        "Incorrect API key provided: sk-proj-abc***wxyz",
        "header Authorization: Bearer abc.def",
        "http://user:my-own-secret@host/v1",
        "AIzaSyA1234567890abc",
    ],
)
def test_secrets_do_not_survive_in_what_is_said(text: str) -> None:
    said = scrub(text, ["my-own-secret"])
    assert "[secret]" in said
    assert not any(part in said for part in ("my-own", "abc", "user:", "AIza"))


@given(st.text(), st.text(min_size=4, alphabet=st.characters(exclude_characters="[]secrt")))
def test_a_given_secret_is_never_in_the_description(text: str, secret: str) -> None:
    assert secret not in describe(RuntimeError(f"{text}{secret}{text}"), [secret])


@given(st.text())
def test_descriptions_are_one_bounded_line(text: str) -> None:
    said = describe(RuntimeError(text))
    assert 0 < len(said) <= 300
    assert "\n" not in said
