"""The machine's own `curl`, by which the tools that speak to servers do what a person would type."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.environment import Environment
from tools.tool import Bounds, ToolResult


async def curl(environment: Environment, options: Sequence[str], bounds: Bounds, *, stdin: bytes = b"") -> ToolResult:
    """Run it with `options`, an address among them, to the call's deadline. Its complaints, if it failed, follow its output."""
    argv = ["curl", "--silent", "--show-error", "--max-time", f"{bounds.seconds:g}", *options]
    result = await environment.run(argv, timeout=bounds.seconds + 5, stdin=stdin)
    if result.exit_code is None:
        return ToolResult("timeout", result.stdout, note=f"no answer within {bounds.seconds:g} seconds")
    if result.exit_code:
        return ToolResult("error", result.stdout + result.stderr, exit_code=result.exit_code)
    return ToolResult("ok", result.stdout)


def config(**values: str) -> bytes:
    """Options as `--config -` reads them from standard input, where no list of processes shows them."""
    lines = (f'{name} = "{_escaped(value)}"\n' for name, value in values.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


def _escaped(value: str) -> str:
    return value.translate({ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})
