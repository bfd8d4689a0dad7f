"""`ssh_run`: one command on another machine, by the `ssh` and the keys of the agent's own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sandbox.environment import Environment
from tools.tool import Arguments, Bounds, Tool, ToolResult

SSH_FAILED = 255
"""Exit code by which `ssh` says that it never ran the command, or lost it."""


class SshRunArguments(Arguments):
    host: str = Field(description="Name or address of the machine.", pattern=r"^[A-Za-z0-9_:][A-Za-z0-9_.:-]{0,254}$")
    command: str = Field(description="The command line to run there.", min_length=1)
    user: str | None = Field(default=None, description="User to log in as.", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")
    port: int = Field(default=22, ge=1, le=65535)


def command(arguments: SshRunArguments) -> list[str]:
    """The argument list of `ssh`, which asks nothing and takes a host's key at first sight."""
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=10"]
    user = ["-l", arguments.user] if arguments.user else []
    return ["ssh", "-n", "-T", *options, "-p", str(arguments.port), *user, "--", arguments.host, arguments.command]


async def _run(environment: Environment, arguments: SshRunArguments, bounds: Bounds) -> ToolResult:
    result = await environment.run(command(arguments), timeout=bounds.seconds)
    if result.exit_code is None:
        note = f"no end within {bounds.seconds:g} seconds; the command may still run there"
        return ToolResult("timeout", result.stdout, result.stderr, note=note)
    status: Literal["ok", "error"] = "error" if result.exit_code == SSH_FAILED else "ok"
    return ToolResult(status, result.stdout, result.stderr, result.exit_code)


ssh_run = Tool("ssh_run", "Run a command on another machine over SSH.", SshRunArguments, _run)
