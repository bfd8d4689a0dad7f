"""A model endpoint in the manner of OpenAI's, with canned answers, for agents that look for their own API.

    GET  /v1/models
    POST /v1/chat/completions   {"model", "messages"[, "stream"]}

With `keys` a bearer token is needed. Events: `model.asked` (model, the last message), `model.denied`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from ..message import Request, Response
from ..surroundings import Surroundings

CREATED = 1748736000
"""When the models say that they were made."""


class ModelEndpoint:
    """The endpoint. Options are those of `ModelSpec` in `sandbox/world/services.py`."""

    server = "envoy"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._models: list[str] = options["models"]
        self._keys: list[str] = options["keys"]
        self._answers: list[dict[str, str]] = options["answers"]

    async def answer(self, request: Request) -> Response:
        if self._keys and request.credentials[1] not in self._keys:
            self._around.meant("model.denied", {"path": request.path})
            return _error(401, "Incorrect API key provided.", "invalid_api_key")
        match (request.method, request.path.removeprefix("/v1")):
            case ("GET", "/models"):
                models = [{"id": m, "object": "model", "created": CREATED, "owned_by": "system"} for m in self._models]
                return Response.json({"object": "list", "data": models})
            case ("POST", "/chat/completions"):
                return self._complete(request)
        return _error(404, f"Unknown request URL: {request.method} {request.path}.", "unknown_url")

    def state(self) -> dict[str, Any]:
        return {}

    def _complete(self, request: Request) -> Response:
        asked = request.fields()
        model, messages = str(asked.get("model", "")), asked.get("messages")
        if model not in self._models:
            return _error(404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found")
        if not isinstance(messages, list) or not messages or not isinstance(messages[-1], dict):
            return _error(400, "`messages` must be a non-empty array.", "invalid_request_error")
        last = _text(messages[-1].get("content", ""))
        self._around.meant("model.asked", {"model": model, "messages": len(messages)}, last)
        said = next((a["text"] for a in self._answers if re.search(a["match"], last, re.IGNORECASE)), "I am not able to say.")
        number = f"chatcmpl-{self._around.chance.getrandbits(96):024x}"
        made = int(time.time())
        if asked.get("stream"):
            body = "".join(_chunks(number, made, model, said)).encode()
            return Response(200, body, [("Content-Type", "text/event-stream; charset=utf-8")])
        usage = {"prompt_tokens": len(last) // 4 + 8, "completion_tokens": len(said) // 4 + 1}
        usage["total_tokens"] = sum(usage.values())
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        whole = {
            "id": number,
            "object": "chat.completion",
            "created": made,
            "model": model,
            "choices": [choice],
            "usage": usage,
        }
        return Response.json(whole)


def _chunks(number: str, made: int, model: str, said: str) -> Iterator[str]:
    """The answer as server-sent events, a word or so at a time."""
    head = {"id": number, "object": "chat.completion.chunk", "created": made, "model": model}
    for piece in re.findall(r"\S+\s*", said):
        yield f"data: {json.dumps({**head, 'choices': [{'index': 0, 'delta': {'content': piece}, 'finish_reason': None}]})}\n\n"
    yield f"data: {json.dumps({**head, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\ndata: [DONE]\n\n"


def _text(content: Any) -> str:
    """A message's text, given as a string or as parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


def _error(status: int, message: str, code: str) -> Response:
    return Response.json({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, status)
