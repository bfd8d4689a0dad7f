"""What an agent may hold: one module a tool, `(Environment, arguments) -> result`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bash import bash
from tools.dns_lookup import dns_lookup
from tools.http_request import http_request
from tools.list_files import list_files
from tools.post import post
from tools.read_file import read_file
from tools.read_mail import read_mail
from tools.search_web import search_web
from tools.send_mail import send_mail
from tools.ssh_run import ssh_run
from tools.submit import submit
from tools.tool import Arguments, Bounds, Tool, ToolResult
from tools.write_file import write_file

_ALL: tuple[Tool[Any], ...] = (
    bash,
    read_file,
    write_file,
    list_files,
    http_request,
    dns_lookup,
    ssh_run,
    send_mail,
    read_mail,
    post,
    search_web,
    submit,
)

TOOLS: Mapping[str, Tool[Any]] = {tool.name: tool for tool in _ALL}
"""Every tool by name; a scenario's `tools` picks from these."""


def pick(names: Sequence[str]) -> dict[str, Tool[Any]]:
    """The named tools, in that order; KeyError on a name that does not exist."""
    return {name: TOOLS[name] for name in names}


__all__ = ["TOOLS", "Arguments", "Bounds", "Tool", "ToolResult", "pick"]
