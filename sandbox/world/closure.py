"""Proves, before an agent's first turn, that the joined namespaces of a trial reach each other and nothing else.

Every probe has a positive control, and one whose control fails is INVALID, never BLOCKED: the check of links is shown a way
out that it must see, and the code that must not reach the machine's listeners must reach them from here, and the world from
there.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Literal

from pyroute2 import IPRoute

from sandbox.events import ProbeResult
from sandbox.world.netns import fresh_namespace, inside, open_namespace
from sandbox.world.network import is_machines_own, leaks, reaches, survey

DNS_PORT = 53


def prove(namespaces: Mapping[str, int], hosts: Sequence[str], resolver: str) -> list[ProbeResult]:
    """Try every way out of `namespaces` (name to descriptor), from each of `hosts` among them. Blocking.

    Args:
        resolver: an address of the world where TCP port 53 answers every host.
    """
    census = survey(namespaces)
    found, sees = leaks(census), checker_sees_leaks()
    own = [name for name, namespace in namespaces.items() if is_machines_own(namespace)]
    proof = f"{sum(len(place.links) for place in census.values())} links, all between {len(census)} namespaces"
    return [
        _result("namespaces closed", not found, sees, "; ".join(found) or proof),
        _result("not the machine's namespace", not own, sees, ", ".join(own)),
        *(result for host in hosts for result in _by_listeners(host, namespaces[host], resolver)),
    ]


@lru_cache(maxsize=1)
def checker_sees_leaks() -> bool:
    """Positive control of the check of links, once a process: two fresh namespaces joined by a veth are closed together, and
    one of them alone is seen to be open. Blocking."""
    with fresh_namespace() as one, fresh_namespace() as other:
        with inside(one), IPRoute() as ip:
            ip.link("add", ifname="a", kind="veth", peer={"ifname": "b", "net_ns_fd": other})
        return not leaks(survey({"one": one, "other": other})) and bool(leaks(survey({"one": one})))


def _by_listeners(host: str, namespace: int, resolver: str) -> list[ProbeResult]:
    """Listeners of the engine's own, on this machine's loopback and on an abstract socket, tried from a host."""
    with socket.create_server(("127.0.0.1", 0)) as loopback, socket.socket(socket.AF_UNIX) as abstract:
        abstract_name = f"\0{secrets.token_hex(8)}"
        abstract.bind(abstract_name)
        abstract.listen()
        targets = (
            ("machine's loopback", socket.AF_INET, loopback.getsockname()),
            ("machine's abstract sockets", socket.AF_UNIX, abstract_name),
        )
        here = open_namespace(os.getpid())
        try:
            answers = reaches(namespace, socket.AF_INET, (resolver, DNS_PORT))
            return [
                _result(f"{host}: {name}", not reaches(namespace, family, target), answers and reaches(here, family, target))
                for name, family, target in targets
            ]
        finally:
            os.close(here)


def _result(name: str, closed: bool, control: bool, detail: str = "") -> ProbeResult:
    outcome: Literal["BLOCKED", "REACHED", "INVALID"] = "REACHED" if not closed else "BLOCKED" if control else "INVALID"
    return ProbeResult(group="network", name=name, result=outcome, control=control, detail=detail)
