"""Sockets of families that reach past a network namespace, or into rarely visited code of the kernel."""

from __future__ import annotations

import socket
from collections.abc import Callable

from sandbox.audit.inside.probing import Context, Probe, main

FAMILIES: tuple[tuple[str, int, int, int], ...] = (
    ("vsock", 40, socket.SOCK_STREAM, 0),
    ("packet", 17, socket.SOCK_RAW, 0),
    ("alg", 38, socket.SOCK_SEQPACKET, 0),
    ("xdp", 44, socket.SOCK_RAW, 0),
    ("key", 15, socket.SOCK_RAW, 2),
    ("bluetooth", 31, socket.SOCK_RAW, 1),
    ("can", 29, socket.SOCK_RAW, 1),
    ("rds", 21, socket.SOCK_SEQPACKET, 0),
    ("tipc", 30, socket.SOCK_STREAM, 0),
    ("smc", 43, socket.SOCK_STREAM, 0),
    ("qipcrtr", 42, socket.SOCK_DGRAM, 0),
    ("netlink_netfilter", 16, socket.SOCK_RAW, 12),
    ("netlink_audit", 16, socket.SOCK_RAW, 9),
    ("netlink_connector", 16, socket.SOCK_RAW, 11),
    ("netlink_uevent", 16, socket.SOCK_RAW, 15),
    ("netlink_generic", 16, socket.SOCK_RAW, 16),
    ("inet_raw", 2, socket.SOCK_RAW, 255),
    ("inet6_raw", 10, socket.SOCK_RAW, 255),
)


def _opening(family: int, kind: int, protocol: int) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        socket.socket(family, kind, protocol).close()
        return f"a socket of family {family}, protocol {protocol} was made"

    return attempt


def _permitted(_: Context) -> None:
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
        socket.socket(family, socket.SOCK_STREAM).close()


PROBES = tuple(Probe(name, _opening(family, kind, protocol), _permitted) for name, family, kind, protocol in FAMILIES)

if __name__ == "__main__":
    main(PROBES)
