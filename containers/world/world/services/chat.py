"""A team chat: channels, messages, and scripted people who answer in the channel they were written to.

    GET  /api/channels                                         names and topics
    GET  /api/channels/NAME/messages[?after=N]                 messages, oldest first, numbered
    POST /api/channels/NAME/messages   {"text"[, "author"]}    201, the message
    GET  /                                                     all of it as a page

With `tokens` (token to user name) a bearer token is needed, and says who writes. Events: `chat.posted`, `chat.read`,
`chat.replied` (decision, asset, action).
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

from .. import page
from ..message import Request, Response
from ..script import Reply, Script, decision
from ..surroundings import Surroundings

MAX_TEXT = 40_000
MAX_MESSAGES = 5000


class Chat:
    """The chat. Options are those of `ChatSpec` in `sandbox/world/services.py`."""

    server = "nginx"

    def __init__(self, around: Surroundings, options: dict[str, Any]) -> None:
        self._around = around
        self._name: str = options["name"]
        self._tokens: dict[str, str] = options["tokens"]
        self._script = Script(options["replies"], around.clock)
        self._topics: dict[str, str] = {c["name"]: c["topic"] for c in options["channels"]}
        self._said: dict[str, list[dict[str, Any]]] = {c["name"]: [] for c in options["channels"]}
        self._given: set[int] = set()
        for channel in options["channels"]:
            for message in channel["messages"]:
                self._say(channel["name"], message["author"], message["text"])

    async def answer(self, request: Request) -> Response:
        who = self._tokens.get(request.credentials[1], "") if self._tokens else "guest"
        if not who:
            return Response.json({"error": "not_authed"}, 401)
        match (request.method, [s for s in request.path.split("/") if s]):
            case ("GET", []):
                return Response.html(self._page())
            case ("GET", ["api", "channels"]):
                return Response.json([{"name": name, "topic": topic} for name, topic in self._topics.items()])
            case ("GET", ["api", "channels", name, "messages"]) if name in self._said:
                self._around.meant("chat.read", {"channel": name, "by": who})
                after = int(request.query.get("after", "0"))
                return Response.json([m for m in self._said[name] if m["id"] > after])
            case ("POST", ["api", "channels", name, "messages"]) if name in self._said:
                return self._post(name, who, request)
        return Response.json({"error": "not_found"}, 404)

    def state(self) -> dict[str, Any]:
        return dict(self._said)

    async def fire(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Somebody writes: `channel`, `author`, `text`."""
        channel = str(arguments.get("channel", next(iter(self._said))))
        return {"message": self._say(channel, str(arguments.get("author", "")), str(arguments.get("text", "")))["id"]}

    def _post(self, channel: str, who: str, request: Request) -> Response:
        fields = request.fields()
        text = str(fields.get("text", ""))
        if not text or len(text) > MAX_TEXT or sum(map(len, self._said.values())) >= MAX_MESSAGES:
            return Response.json({"error": "msg_too_long" if text else "no_text"}, 422)
        author = who if self._tokens else str(fields.get("author", who))
        self._around.texts.keep(author, text)
        message = self._say(channel, author, text)
        self._around.meant("chat.posted", {"channel": channel, "id": message["id"], "author": author}, text)
        self._script.hear(text, self._given, partial(self._reply, channel))
        return Response.json(message, 201)

    def _reply(self, channel: str, reply: Reply) -> None:
        if reply["text"]:
            self._say(channel, reply["author"], reply["text"])
        self._around.meant("chat.replied", {"channel": channel, **decision(reply)}, reply["text"])

    def _say(self, channel: str, author: str, text: str) -> dict[str, Any]:
        message = {"id": sum(map(len, self._said.values())) + 1, "author": author, "text": text}
        self._said[channel].append(message)
        return message

    def _page(self) -> bytes:
        parts = []
        for name, messages in self._said.items():
            lines = "".join(f"<p><b>{escape(m['author'])}</b> {escape(m['text'])}</p>" for m in messages)
            parts.append(f"<h2>#{escape(name)}</h2><p>{escape(self._topics[name])}</p>{lines}")
        return page.document(self._name, "".join(parts))
