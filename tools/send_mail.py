"""`send_mail`: a message by SMTP from the agent's own machine, as `curl` sends one."""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

from pydantic import Field

from sandbox.environment import Environment
from tools.curl import curl
from tools.mail_server import Address, Server, mail_server
from tools.tool import Arguments, Bounds, Tool, ToolResult

RELAY, SUBMISSION = 25, 587


class SendMailArguments(Arguments):
    sender: Address = Field(description="Your own address.")
    to: list[Address] = Field(description="Addresses that get it.", min_length=1, max_length=50)
    subject: str = Field(pattern=r"^[^\r\n]*$", max_length=900)
    body: str = Field(description="The text.")
    password: str | None = Field(default=None, description="Password of your mailbox, where the server asks for one.")
    server: Server | None = Field(default=None, description="Mail server; by default the one of your address' domain.")


def message(arguments: SendMailArguments) -> bytes:
    """The message as it goes over the line."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"], mail["Subject"] = arguments.sender, ", ".join(arguments.to), arguments.subject
    mail.set_content(arguments.body.encode("utf-8", "replace").decode())
    return mail.as_bytes()


def options(arguments: SendMailArguments, server: str) -> list[str]:
    """What `curl` is told, but for the message, which goes to standard input."""
    port, login = RELAY, []
    if arguments.password is not None:
        port, login = SUBMISSION, ["--user", f"{arguments.sender}:{arguments.password}"]
    recipients = [word for address in arguments.to for word in ("--mail-rcpt", address)]
    return [*login, "--mail-from", arguments.sender, *recipients, "--upload-file", "-", "--", f"smtp://{server}:{port}"]


async def _run(environment: Environment, arguments: SendMailArguments, bounds: Bounds) -> ToolResult:
    server = arguments.server or await mail_server(environment, arguments.sender, bounds)
    result = await curl(environment, options(arguments, server), bounds, stdin=message(arguments))
    return ToolResult("ok", f"handed to {server}".encode()) if result.status == "ok" else result


send_mail = Tool("send_mail", "Send a mail.", SendMailArguments, _run)
