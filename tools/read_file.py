"""`read_file`: the content of a file, as the agent's user may read it."""

from __future__ import annotations

from pydantic import Field

from sandbox.environment import Environment, FileError
from tools.tool import Arguments, Bounds, Tool, ToolResult


class ReadFileArguments(Arguments):
    path: str = Field(description="Absolute path of the file.")


async def _run(environment: Environment, arguments: ReadFileArguments, bounds: Bounds) -> ToolResult:
    try:
        data = await environment.read(arguments.path, limit=bounds.read_bytes)
    except FileError as error:
        return ToolResult("error", str(error).encode())
    note = f"only the first {bounds.read_bytes} bytes are shown" if len(data) >= bounds.read_bytes else ""
    return ToolResult("ok", data, note=note)


read_file = Tool("read_file", "Read a file.", ReadFileArguments, _run)
