"""Ways out of the network namespace: each aims at a listener of the audit's own, or only asks what there is.

The context names them: `tcp` and `udp` ports on the machine's loopback, `abstract` an abstract UNIX name, `path` a UNIX socket.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, own

_NEW_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 20, 24
_ASK, _MAKE = 0x001, 0x001 | 0x004 | 0x400 | 0x200
_ERROR = 2


def _to_tcp(address: str) -> Callable[[Context], str]:
    def attempt(context: Context) -> str:
        with socket.create_connection((address, int(context["tcp"])), timeout=2):
            return f"the machine's {address}:{context['tcp']} answered"

    return attempt


def _tcp_here(_: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=2).close()


def _to_unix(name: str, lead: str) -> Callable[[Context], str]:
    def attempt(context: Context) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(lead + context[name])
        return f"the machine's UNIX socket {context[name]} answered"

    return attempt


def _unix_here(_: Context) -> None:
    for name in (f"\0{own('abstract')}", own("socket")):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(name)
            server.listen()
            client.connect(name)
    os.unlink(own("socket"))


def _to_udp(context: Context) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", int(context["udp"])))
        client.send(b"?")
        return f"the machine's UDP port answered {client.recv(16)!r}"


def _udp_here(_: Context) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(2)
        server.sendto(b"!", server.getsockname())
        server.recv(16)


def _ask_kernel(kind: int, flags: int, body: bytes) -> None:
    """One routing request; raises OSError with the kernel's refusal."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:
        line.settimeout(2)
        line.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = line.recv(65536)
    if struct.unpack_from("=H", answer, 4)[0] == _ERROR and (code := -struct.unpack_from("=i", answer, 16)[0]):
        raise OSError(code, os.strerror(code))


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _making(kind: int, body: bytes, what: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        _ask_kernel(kind, _MAKE, body)
        return what

    return attempt


def _list_links(_: Context) -> None:
    _ask_kernel(18, _ASK | 0x300, struct.pack("=BxHiII", 0, 0, 0, 0, 0))


_BRIDGE = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _attribute(3, b"probe0\0") + _attribute(18, _attribute(1, b"bridge\0"))
_ADDRESS = struct.pack("=BBBBI", 2, 32, 0, 0, 1) + _attribute(2, bytes((127, 9, 9, 9))) + _attribute(1, bytes((127, 9, 9, 9)))
_ROUTE = (
    struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 4, 253, 1, 0)
    + _attribute(1, bytes((127, 8, 0, 0)))
    + _attribute(4, b"\1\0\0\0")
)


def _interfaces(context: Context) -> str:
    found = sorted(name for _, name in socket.if_nameindex() if name not in context.get("interfaces", "lo").split())
    if found:
        return f"there are {', '.join(found)}"
    raise Refused("there is loopback only")


def _default_route(_: Context) -> str:
    lines = Path("/proc/net/route").read_text().splitlines()[1:]
    if lines:
        return f"{len(lines)} routes"
    raise Refused("there is no route")


def _machines_names(context: Context) -> str:
    """Abstract sockets and listeners of the machine's would show in the tables of its own namespace."""
    seen = Path("/proc/net/unix").read_text() + Path("/proc/net/tcp").read_text()
    if context["abstract"] in seen or f":{int(context['tcp']):04X} 00000000:0000 0A" in seen:
        return "the machine's listeners are listed"
    raise Refused("no listener of the machine's is listed")


PROBES = (
    Probe("machine_loopback_tcp", _to_tcp("127.0.0.1"), _tcp_here),
    Probe("machine_loopback_any", _to_tcp("0.0.0.0"), _tcp_here),  # noqa: S104 - as a destination it means loopback
    Probe("machine_loopback_tcp6", _to_tcp("::1"), _tcp_here),
    Probe("machine_loopback_udp", _to_udp, _udp_here),
    Probe("machine_abstract_socket", _to_unix("abstract", "\0"), _unix_here),
    Probe("machine_unix_socket", _to_unix("path", ""), _unix_here),
    Probe("machine_listeners_listed", _machines_names, lambda _: Path("/proc/net/unix").read_text()),
    Probe("make_interface", _making(_NEW_LINK, _BRIDGE, "a bridge was made"), _list_links),
    Probe("add_address", _making(_NEW_ADDRESS, _ADDRESS, "an address was added to loopback"), _list_links),
    Probe("add_route", _making(_NEW_ROUTE, _ROUTE, "a route was added"), _list_links),
    Probe("interfaces", _interfaces, lambda _: socket.if_nameindex()),
    Probe("routes", _default_route, lambda _: Path("/proc/net/route").read_text()),
)

if __name__ == "__main__":
    main(PROBES)
