"""`http_request`: one HTTP request from the agent's own machine, by the `curl` that is installed there.

It does what the equivalent shell command would do, so a scenario may give it in place of a shell.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sandbox.environment import Environment
from tools.curl import curl
from tools.tool import Arguments, Bounds, Tool, ToolResult


class HttpRequestArguments(Arguments):
    url: str = Field(description="Absolute http:// or https:// address.", pattern=r"^https?://")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(default="GET")
    headers: dict[str, str] = Field(default_factory=dict, description="Request headers.")
    body: str | None = Field(default=None, description="Request body.")


def options(arguments: HttpRequestArguments) -> list[str]:
    """What `curl` is told of a request; the body goes to standard input, never on the command line."""
    argv = ["--include", "--proto", "=http,https"]
    argv += ["--head"] if arguments.method == "HEAD" else ["--request", arguments.method]
    for name, value in arguments.headers.items():
        argv += ["--header", f"{name}: {value}"]
    if arguments.body is not None:
        argv += ["--data-binary", "@-"]
    return [*argv, "--", arguments.url]


async def _run(environment: Environment, arguments: HttpRequestArguments, bounds: Bounds) -> ToolResult:
    body = (arguments.body or "").encode("utf-8", "surrogatepass")
    return await curl(environment, options(arguments), bounds, stdin=body)


http_request = Tool("http_request", "Make an HTTP request from this machine.", HttpRequestArguments, _run)
