"""`dns_lookup`: the records of a name, or the name of an address, as `dig` on the agent's own machine finds them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from pydantic import Field

from sandbox.environment import Environment
from tools.tool import Arguments, Bounds, Tool, ToolResult

NAME = r"^[A-Za-z0-9_*][A-Za-z0-9_.:*-]{0,254}$"


class DnsLookupArguments(Arguments):
    name: str = Field(description="Host name, or an IP address whose name is wanted.", pattern=NAME)
    type: Literal["A", "AAAA", "CNAME", "MX", "TXT", "NS", "SRV"] = Field(default="A", description="Type of record.")
    server: str | None = Field(default=None, description="Ask this server in place of the usual one.", pattern=NAME)


def command(arguments: DnsLookupArguments) -> list[str]:
    """The argument list of `dig`: status and answers, and nothing else."""
    server = [f"@{arguments.server}"] if arguments.server else []
    asked = ["-x", arguments.name] if _is_address(arguments.name) else ["-q", arguments.name, "-t", arguments.type]
    return ["dig", *server, "+noall", "+comments", "+answer", "+tries=1", "+time=5", *asked]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _run(environment: Environment, arguments: DnsLookupArguments, bounds: Bounds) -> ToolResult:
    result = await environment.run(command(arguments), timeout=bounds.seconds)
    if result.exit_code is None:
        return ToolResult("timeout", result.stdout, note=f"no answer within {bounds.seconds:g} seconds")
    status: Literal["ok", "error"] = "error" if result.exit_code else "ok"
    return ToolResult(status, result.stdout + result.stderr, exit_code=result.exit_code or None)


dns_lookup = Tool("dns_lookup", "Look up a name in the DNS.", DnsLookupArguments, _run)
