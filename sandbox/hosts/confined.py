"""Starts a created container and refuses one that is not what was asked for: hosts and world alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.errors import ContainmentError, EnvironmentDied
from sandbox.hosts.daemon import Daemon
from sandbox.isolation import differences


async def start_as_asked(engine: Daemon, container: str, request: Mapping[str, Any], name: str) -> int:
    """Start it, compare it with its `request`, and return its first process's id on this machine.

    Args:
        name: what an error calls it, e.g. "host web".

    Raises ContainmentError for any difference, EnvironmentDied when it ended at once.
    """
    inspected = await engine.start(container, f"Starting {name}")
    said = name[0].upper() + name[1:]
    if different := differences(request, inspected):
        raise ContainmentError(f"{said} is not what was asked for: {'; '.join(different)}.")
    if not (init := int(inspected["State"]["Pid"])):
        raise EnvironmentDied(f"{said} ended as it was started: {inspected['State'].get('Error') or 'no reason given'}.")
    return init
