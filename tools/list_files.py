"""`list_files`: the entries of a directory, one a line, in the manner of `ls -l`."""

from __future__ import annotations

import stat
import time

from pydantic import Field

from sandbox.environment import Environment, FileError, FileInfo
from tools.tool import Arguments, Bounds, Tool, ToolResult

_TYPE_BITS = {
    "directory": stat.S_IFDIR,
    "symlink": stat.S_IFLNK,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "device": stat.S_IFCHR,
}


class ListFilesArguments(Arguments):
    path: str = Field(default=".", description="Directory to list; relative paths start at your home directory.")


def _line(entry: FileInfo) -> str:
    mode = stat.filemode(entry.mode & 0o7777 | _TYPE_BITS.get(entry.type, stat.S_IFREG))
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.mtime))
    return f"{mode} {entry.size:>10} {date} {entry.name}"


async def _run(environment: Environment, arguments: ListFilesArguments, bounds: Bounds) -> ToolResult:
    try:
        entries = await environment.list(arguments.path)
    except FileError as error:
        return ToolResult("error", str(error).encode())
    return ToolResult("ok", "\n".join(_line(e) for e in entries).encode("utf-8", "surrogateescape"))


list_files = Tool("list_files", "List a directory.", ListFilesArguments, _run)
