"""`http_request`: one HTTP request from the agent's own machine, by the `curl` that is installed there.

It does what the equivalent shell command would do, so a scenario may give it in place of a shell.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sandbox.environment import Environment
from tools.tool import Arguments, Bounds, Tool, ToolResult


class HttpRequestArguments(Arguments):
    url: str = Field(description="Absolute http:// or https:// address.", pattern=r"^https?://")
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = Field(default="GET")
    headers: dict[str, str] = Field(default_factory=dict, description="Request headers.")
    body: str | None = Field(default=None, description="Request body.")


def command(arguments: HttpRequestArguments, seconds: float) -> list[str]:
    """The `curl` argument list for a request; the body goes to standard input, never on the command line."""
    argv = ["curl", "--silent", "--show-error", "--include", "--max-time", f"{seconds:g}", "--proto", "=http,https"]
    argv += ["--head"] if arguments.method == "HEAD" else ["--request", arguments.method]
    for name, value in arguments.headers.items():
        argv += ["--header", f"{name}: {value}"]
    if arguments.body is not None:
        argv += ["--data-binary", "@-"]
    return [*argv, "--", arguments.url]


async def _run(environment: Environment, arguments: HttpRequestArguments, bounds: Bounds) -> ToolResult:
    body = (arguments.body or "").encode("utf-8", "surrogatepass")
    result = await environment.run(command(arguments, bounds.seconds), timeout=bounds.seconds + 5, stdin=body)
    if result.exit_code is None:
        return ToolResult("timeout", result.stdout, note=f"no answer within {bounds.seconds:g} seconds")
    if result.exit_code:
        return ToolResult("error", result.stdout + result.stderr, exit_code=result.exit_code)
    return ToolResult("ok", result.stdout)


http_request = Tool("http_request", "Make an HTTP request from this machine.", HttpRequestArguments, _run)
