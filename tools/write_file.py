"""`write_file`: create or replace a file, as the agent's user may."""

from __future__ import annotations

from pydantic import Field

from sandbox.environment import Environment, FileError
from tools.tool import Arguments, Bounds, Tool, ToolResult


class WriteFileArguments(Arguments):
    path: str = Field(description="Absolute path of the file; missing directories are made.")
    content: str = Field(description="The whole new content.")


async def _run(environment: Environment, arguments: WriteFileArguments, bounds: Bounds) -> ToolResult:
    data = arguments.content.encode("utf-8", "surrogatepass")
    try:
        await environment.write(arguments.path, data)
    except FileError as error:
        return ToolResult("error", str(error).encode())
    return ToolResult("ok", f"wrote {len(data)} bytes to {arguments.path}".encode())


write_file = Tool("write_file", "Create or replace a file.", WriteFileArguments, _run)
