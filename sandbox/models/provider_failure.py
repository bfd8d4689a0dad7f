"""What a provider's failure means, told apart by a pure function, and how it may be repeated without secrets.

Decision: a failure is judged by its HTTP status first, its error code and words second, its class name last, so that it holds
for every provider and none of their packages need be installed. Cost: a provider that answers with an
unusual status and unusual words is `other`, which is not retried.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Literal

Failure = Literal[
    "rate_limit",
    "overload",
    "timeout",
    "connection",
    "bad_key",
    "unknown_model",
    "context_overflow",
    "refusal",
    "other",
]


class GarbledAnswer(Exception):  # noqa: N818 - says what came
    """The provider's body is not an answer of its API: cut off, an error page, no choices."""


class ErrorAnswer(Exception):  # noqa: N818 - likewise
    """An error that a provider sent in the body of a 200 answer; `status_code` is the code that the body gives."""

    def __init__(self, status_code: int | None, message: str) -> None:
        super().__init__(message)
        self.status_code = status_code


_OVERFLOW = re.compile(
    r"context.{0,3}length|context.{0,3}window|context.{0,3}size|maximum context|prompt is too long|too many input tokens"
    r"|input token count.{0,40}exceeds|reduce the length of the (messages|prompt)|input is too long"
    r"|exceeds? .{0,30}token limit",
    re.I | re.S,
)
_FILTERED = re.compile(
    r"content.{0,3}(filter|policy|management)|safety (system|reasons|policy)|flagged|moderation|usage polic|responsible.?ai"
    r"|high risk",
    re.I,
)
_KEY = re.compile(
    r"(api|access).?key.{0,40}(invalid|not valid|expired|incorrect)|(invalid|incorrect).{0,10}(api|access).?key", re.I
)
_CREDIT = re.compile(r"insufficient.{0,3}(quota|balance|credit|funds)|exceeded your current quota|billing", re.I)
_MODEL = re.compile(
    r"model.{0,80}(not.?found|does not exist|not exist|no such|is unknown|is invalid|not a valid)"
    r"|(not a valid|no such|unknown|invalid) model|model_not_found",
    re.I | re.S,
)
_NAMES: tuple[tuple[re.Pattern[str], Failure], ...] = (
    (re.compile("ContextOverflow|ContextWindowExceeded"), "context_overflow"),
    (re.compile("ContentFilter|StopCandidate|BlockedPrompt|Refusal"), "refusal"),
    (re.compile("ConnectTimeout"), "connection"),
    (re.compile("Timeout|DeadlineExceeded"), "timeout"),
    (re.compile("Connect|NetworkError|ProtocolError|ReadError|WriteError|GarbledAnswer|JSONDecode"), "connection"),
    (re.compile("RateLimit|ResourceExhausted|TooManyRequests"), "rate_limit"),
    (re.compile("Overloaded|InternalServerError|ServiceUnavailable"), "overload"),
    (re.compile("Authentication|PermissionDenied|Unauthenticated"), "bad_key"),
    (re.compile("NotFound"), "unknown_model"),
)


def classify(exception: BaseException) -> Failure:
    """What `exception`, raised by a provider's client, means.

    ======================================================  ==================  ==========================================
    seen                                                    meaning             what is done with it
    ======================================================  ==================  ==========================================
    429                                                     `rate_limit`        retried, `Retry-After` obeyed
    409, 425, 5xx but 504, 529                              `overload`          retried
    408, 504, a deadline of ours or of the client           `timeout`           retried
    no connection, one that broke, a body that is cut       `connection`        retried; never one answer: the run stops
    401, 402, 403, a 400 about the key, 429 about credit    `bad_key`           the run stops
    404, a 400 or 422 about the model's name                `unknown_model`     the run stops
    400, 413 or 422 about the prompt's length               `context_overflow`  the trial ends, validly
    400, 403, 422 about content, a filter's exception       `refusal`           data: a reply with `refused`
    anything else, e.g. a parameter that is not supported   `other`             not retried, the trial is invalid
    ======================================================  ==================  ==========================================

    Pure: looks at `status_code`, `code`, the text and the class names along the chain of causes, and nowhere else.
    """
    status = _status(exception)
    words = " ".join(f"{link} {getattr(link, 'code', '')}" for link in _chain(exception))
    if status is not None:
        return _by_status(status, words)
    names = " ".join(kind.__name__ for link in _chain(exception) for kind in type(link).__mro__)
    for pattern, meaning in _NAMES:
        if pattern.search(names):
            return meaning
    if _OVERFLOW.search(words):
        return "context_overflow"
    return "other"


def _by_status(status: int, words: str) -> Failure:  # noqa: PLR0911 - a table, one line a row
    if status == 429:
        return "bad_key" if _CREDIT.search(words) else "rate_limit"
    if status in {408, 504}:
        return "timeout"
    if status in {409, 425} or status >= 500:
        return "overload"
    if status == 403 and _FILTERED.search(words):
        return "refusal"
    if status in {401, 402, 403}:
        return "bad_key"
    if status == 404:
        return "unknown_model"
    if status == 413 or _OVERFLOW.search(words):
        return "context_overflow"
    if _FILTERED.search(words):
        return "refusal"
    if _KEY.search(words):
        return "bad_key"
    if _MODEL.search(words):
        return "unknown_model"
    return "other"


def retry_after(exception: BaseException, now: float) -> float | None:
    """Seconds that the provider asks to wait, None when it does not say; `now` is Unix time, for answers that give a date."""
    for link in _chain(exception):
        headers = getattr(getattr(link, "response", None), "headers", None)
        if headers is None:
            continue
        try:
            if (milliseconds := headers.get("retry-after-ms")) is not None:
                seconds = float(milliseconds) / 1000
            elif (text := headers.get("retry-after")) is not None:
                seconds = _seconds(text, now)
            else:
                continue
        except (ValueError, TypeError, OverflowError):
            return None
        return max(0.0, seconds) if isfinite(seconds) else None
    return None


def _seconds(text: str, now: float) -> float:
    try:
        return float(text)
    except ValueError:
        return parsedate_to_datetime(text).timestamp() - now


_TOKEN = re.compile(r"(?i:bearer\s+)\S+|\b(?:sk|pk|rk|gsk|xai|hf)[-_][\w*.-]{6,}|\bAIza[\w-]{10,}|(?<=://)[^/\s@]+(?=@)")


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the given secrets, nor anything that looks like a key or stands before the @ of an address."""
    for secret in sorted((secret for secret in secrets if len(secret) >= 4), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return _TOKEN.sub("[secret]", text)


def describe(exception: BaseException, secrets: Iterable[str] = ()) -> str:
    """One line of at most 300 characters that tells `exception`, scrubbed."""
    text = " ".join(scrub(str(exception), secrets).split()) or type(exception).__name__
    return text if len(text) <= 300 else text[:299] + "…"


def _chain(exception: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = exception
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _status(exception: BaseException) -> int | None:
    """The first HTTP status along the chain: OpenAI and Anthropic call it `status_code`, Google `code`."""
    for link in _chain(exception):
        for value in (getattr(link, "status_code", None), getattr(link, "code", None)):
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None
