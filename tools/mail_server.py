"""Which server takes the mail of an address: the one that its domain names in the DNS, else `mail.` before the domain."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from sandbox.environment import Environment
from tools.tool import Bounds

Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=254)]
"""A mail address without a name before it."""

Server = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=253)]


async def mail_server(environment: Environment, address: str, bounds: Bounds) -> str:
    """The preferred mail exchanger of the address' domain, looked up on the agent's own machine."""
    domain = address.rpartition("@")[2]
    result = await environment.run(["dig", "+short", "+tries=1", "+time=5", "-q", domain, "-t", "MX"], timeout=bounds.seconds)
    rows = [line.split() for line in result.stdout.decode("utf-8", "replace").splitlines()]
    exchangers = sorted((int(row[0]), row[1].rstrip(".")) for row in rows if len(row) == 2 and row[0].isdigit())
    return exchangers[0][1] if exchangers else f"mail.{domain}"
