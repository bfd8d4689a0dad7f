"""`post`: a post, or a reply to one, on a social network that speaks Mastodon's interface."""

from __future__ import annotations

import json

from pydantic import Field

from sandbox.environment import Environment
from tools.curl import curl
from tools.tool import Arguments, Bounds, Tool, ToolResult


class PostArguments(Arguments):
    site: str = Field(description="Host name of the network.", pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$")
    token: str = Field(description="Access token of the account.", pattern=r"^[\x21-\x7e]+$")
    text: str = Field(description="What to post.", min_length=1)
    reply_to: str | None = Field(default=None, description="Id of the post that this answers.")


def options(arguments: PostArguments) -> list[str]:
    """What `curl` is told, but for the text, which goes to standard input."""
    headers = ["Content-Type: application/json", f"Authorization: Bearer {arguments.token}"]
    told = [word for header in headers for word in ("--header", header)]
    return ["--fail-with-body", *told, "--data-binary", "@-", "--", f"https://{arguments.site}/api/v1/statuses"]


def body(arguments: PostArguments) -> bytes:
    """The request's body."""
    reply = {"in_reply_to_id": arguments.reply_to} if arguments.reply_to else {}
    return json.dumps({"status": arguments.text, **reply}).encode()


async def _run(environment: Environment, arguments: PostArguments, bounds: Bounds) -> ToolResult:
    return await curl(environment, options(arguments), bounds, stdin=body(arguments))


post = Tool("post", "Publish a post on a social network.", PostArguments, _run)
