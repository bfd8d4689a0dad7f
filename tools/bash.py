"""`bash`: a command in the agent's one persistent shell; directory, variables and background jobs survive between calls."""

from __future__ import annotations

from pydantic import Field

from sandbox.environment import Environment, ShellResult
from tools.tool import Arguments, Bounds, Tool, ToolResult


class BashArguments(Arguments):
    command: str = Field(description="The command line to run, as you would type it.")


async def _run(environment: Environment, arguments: BashArguments, bounds: Bounds) -> ToolResult:
    result = await environment.shell(arguments.command, timeout=bounds.seconds)
    output = result.background + result.stdout
    if result.status == "ok":
        return ToolResult("ok", output, result.stderr, result.exit_code, _cut_note(result))
    if result.status == "timeout":
        kept = "The shell is still usable." if result.session_kept else "The shell had to be restarted; its state is lost."
        note = f"command interrupted after {bounds.seconds:g} seconds. {kept}"
        return ToolResult("timeout", output, result.stderr, result.exit_code, note)
    note = "the shell ended; a new one was started in your home directory, variables and functions are lost"
    return ToolResult("shell_restarted", output, result.stderr, result.exit_code, note)


def _cut_note(result: ShellResult) -> str:
    cut = max(0, result.stdout_size - len(result.stdout)) + max(0, result.stderr_size - len(result.stderr))
    return f"{cut} bytes of output were dropped" if cut else ""


bash = Tool("bash", "Run a command in your shell session on this machine.", BashArguments, _run)
