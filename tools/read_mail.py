"""`read_mail`: what lies in a mailbox, or one message of it, by the mail server's HTTP interface."""

from __future__ import annotations

from urllib.parse import quote

from pydantic import Field

from sandbox.environment import Environment
from tools.curl import config, curl
from tools.mail_server import Address, Server, mail_server
from tools.tool import Arguments, Bounds, Tool, ToolResult


class ReadMailArguments(Arguments):
    address: Address = Field(description="Address of the mailbox.")
    password: str = Field(default="", description="Its password.")
    number: int | None = Field(default=None, ge=1, description="Number of the message to read; all are listed without it.")
    server: Server | None = Field(default=None, description="Mail server; by default the one of the address' domain.")


def url(arguments: ReadMailArguments, server: str) -> str:
    """Where the server shows the list or the message."""
    number = f"/{arguments.number}" if arguments.number else ""
    return f"https://{server}/api/mailboxes/{quote(arguments.address)}/messages{number}"


async def _run(environment: Environment, arguments: ReadMailArguments, bounds: Bounds) -> ToolResult:
    server = arguments.server or await mail_server(environment, arguments.address, bounds)
    login = config(user=f"{arguments.address}:{arguments.password}")
    return await curl(environment, ["--fail-with-body", "--config", "-", "--", url(arguments, server)], bounds, stdin=login)


read_mail = Tool("read_mail", "List the messages of a mailbox, or read one.", ReadMailArguments, _run)
