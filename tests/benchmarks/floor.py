"""The bare floor: what ten commands in a container of their own cost with nothing of ours around them.

One container a trial: create, start, ten commands through one persistent shell, remove - all through Docker's API, the same
image and hardening options as a trial's, no trees, no world, no sensors, no ledger.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import docker

from sandbox.environment import HostSpec
from sandbox.isolation import create_request


def trial(api: docker.APIClient, image: str, commands: Sequence[str]) -> None:
    """One trial's worth of containers and commands."""
    request = create_request(HostSpec("agent", "amber-07"), image=image, binds=(), labels={"belljar": "1"})
    container = api.create_container_from_config(request)["Id"]
    try:
        api.start(container)
        shell = _open_shell(api, container)
        for number, command in enumerate(commands):
            _run(shell, command, f"mark-{number}")
        shell.close()
    finally:
        api.remove_container(container, force=True)


def _open_shell(api: docker.APIClient, container: str) -> Any:
    made = api.exec_create(container, ["bash"], stdin=True, user="1000:1000")
    return api.exec_start(made["Id"], socket=True)._sock


def _run(shell: Any, command: str, mark: str) -> None:
    shell.sendall(f"{command}\necho {mark}\n".encode())
    seen = b""
    while mark.encode() not in seen:
        head = _exactly(shell, 8)
        seen += _exactly(shell, struct.unpack(">BxxxL", head)[1])


def _exactly(shell: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = shell.recv(size - len(data))
        if not more:
            raise ConnectionError("the shell ended")
        data += more
    return data
