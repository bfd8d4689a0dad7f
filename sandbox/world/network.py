"""Joins the network namespaces of a trial's hosts and its world to each other and to nothing else, and proves it.

All of them start without any network. Each host gets one veth whose two ends are made directly inside the host's and the
world's namespace, never in the machine's own. The world's kernel then takes every address for its own (a `local` route for
all), so that each name and address is answered there while a host sees an ordinary `eth0` with a default route.

Closure is a matter of the kernel's own namespace ids: a veth leads out if its other end's namespace is none of the trial's.
That holds whatever rights the agent has inside, and ends with the world: its namespace takes the veths along.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from sandbox.errors import InfrastructureError
from sandbox.world.hops import HOPS, lay
from sandbox.world.netns import inside, open_namespace

BRIDGE = "br0"
REMOTE_TABLE = 60
RT_SCOPE_LINK = 253
ARPHRD_LOOPBACK = 772
IFA_F_NODAD = 2


class Seat(NamedTuple):
    """A host's place in the network: its id, the id of its first process, its addresses."""

    host: str
    pid: int
    address: IPv4Address
    address6: IPv6Address | None = None


@dataclass(frozen=True)
class Plan:
    """What the network looks like. `declared` are the addresses that the world answers for, whatever `undeclared` says.

    With `lan6` the local network speaks IPv6 too; its first address is the router's.
    """

    lan: IPv4Network
    router: IPv4Address
    resolver: IPv4Address
    undeclared: Literal["refuse", "unreachable", "silent"]
    declared: tuple[IPv4Address | IPv6Address, ...] = ()
    lan6: IPv6Network | None = None

    @property
    def far_routers(self) -> tuple[IPv4Address, IPv4Address]:
        """Two routers of the provider, on the way to everything outside: made up, the same for the same network."""
        digest = hashlib.sha256(self.lan.network_address.packed).digest()
        return IPv4Address(bytes([100, 64 + digest[0] % 64, digest[1], 1])), IPv4Address(bytes([62, 115, digest[2], digest[3]]))

    @property
    def router6(self) -> IPv6Address | None:
        return self.lan6[1] if self.lan6 else None


def port_name(index: int) -> str:
    """The world's end of host number `index`'s veth."""
    return f"p{index}"


def mac(address: IPv4Address) -> str:
    """A stable hardware address in the range that virtual machines commonly have."""
    digest = hashlib.sha256(address.packed).digest()
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def wire(plan: Plan, world: int, seats: Sequence[Seat]) -> None:
    """Join `seats` to the namespace of process `world`; blocking, to be run in a thread of its own.

    Raises InfrastructureError when the kernel refuses; what was made until then goes with the namespaces.
    """
    center = open_namespace(world)
    try:
        with inside(center):
            _quieten()
            _make_bridge(plan)
        for index, seat in enumerate(seats):
            _attach(plan, center, seat, index)
        with inside(center), IPRoute() as ip:
            _answer_addresses(ip, plan)
            if plan.lan6:
                _answer_addresses6(ip, plan)
            bridge = ip.link_lookup(ifname=BRIDGE)[0]
            _seem_remote(ip, plan, bridge)
            lay(ip, plan.lan, bridge, plan.far_routers)
    except NetlinkError as error:
        raise InfrastructureError(f"The hosts could not be joined to their world: {error}.") from None
    finally:
        os.close(center)


def attach(plan: Plan, center: int, seat: Seat, index: int) -> None:
    """Join one more host to the wired namespace `center` (a descriptor), as number `index`; blocking, as `wire`."""
    try:
        _attach(plan, center, seat, index)
    except NetlinkError as error:
        raise InfrastructureError(f"Host {seat.host} could not be joined to its world: {error}.") from None


def set_port(plan: Plan, center: int, address: IPv4Address, index: int, *, up: bool) -> None:
    """Close or open the wire of host number `index`, as a switch does with a port; blocking.

    The kernel forgets the route to a host elsewhere with its wire, so it is laid again."""
    with inside(center), IPRoute() as ip:
        port = ip.link_lookup(ifname=port_name(index))[0]
        ip.link("set", index=port, state="up" if up else "down")
        if up and address not in plan.lan:
            ip.route("replace", dst=f"{address}/32", oif=port, prefsrc=str(plan.router))


def _attach(plan: Plan, center: int, seat: Seat, index: int) -> None:
    namespace = open_namespace(seat.pid)
    try:
        with inside(namespace):
            _wire_host(plan, seat, port_name(index), center)
    finally:
        os.close(namespace)
    with inside(center):
        _wire_port(plan, seat, port_name(index))


def _wire_host(plan: Plan, seat: Seat, port: str, center: int) -> None:
    """One host's end: eth0 with its address and a default route, and the other end inside the world."""
    with IPRoute() as ip:
        peer = {"ifname": port, "net_ns_fd": center}
        ip.link("add", ifname="eth0", kind="veth", address=mac(seat.address), peer=peer)
        link = ip.link_lookup(ifname="eth0")[0]
        local = seat.address in plan.lan
        if local:
            broadcast = str(plan.lan.broadcast_address)
            ip.addr("add", index=link, address=str(seat.address), prefixlen=plan.lan.prefixlen, broadcast=broadcast)
        else:
            ip.addr("add", index=link, address=str(seat.address), prefixlen=32)
        ip.link("set", index=link, state="up")
        if not local:
            ip.route("add", dst=f"{plan.router}/32", oif=link, scope=RT_SCOPE_LINK)
        ip.route("add", dst="default", gateway=str(plan.router))
        if plan.lan6 and seat.address6:
            _speak_ipv6()
            _add_address6(ip, link, seat.address6)
            ip.route("add", dst="::/0", gateway=str(plan.router6), family=socket.AF_INET6)


def _make_bridge(plan: Plan) -> None:
    """The local network's switch and router. It comes first, so that no port has the number of the interface at its other
    end: the kernel delays the news that a link is up, by as much as a second, where those are equal."""
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
        ip.link("add", ifname=BRIDGE, kind="bridge", address=mac(plan.router))
        bridge = ip.link_lookup(ifname=BRIDGE)[0]
        for address in (plan.router, plan.resolver):
            ip.addr("add", index=bridge, address=str(address), prefixlen=plan.lan.prefixlen)
        ip.link("set", index=bridge, state="up")
        if plan.router6:
            _speak_ipv6()
            _add_address6(ip, bridge, plan.router6)


def _wire_port(plan: Plan, seat: Seat, name: str) -> None:
    """The world's end: a port of the local network's switch, or a line of its own to a host elsewhere."""
    with IPRoute() as ip:
        port = ip.link_lookup(ifname=name)[0]
        if seat.address in plan.lan:
            ip.link("set", index=port, master=ip.link_lookup(ifname=BRIDGE)[0], state="up")
        else:
            ip.link("set", index=port, state="up")
            ip.route("add", type="throw", dst=f"{seat.address}/32", table=255)
            ip.route("add", dst=f"{seat.address}/32", oif=port, prefsrc=str(plan.router))


def _answer_addresses(ip: IPRoute, plan: Plan) -> None:
    """Which destinations the world's kernel takes for its own, and what becomes of the others."""
    ip.route("add", type="throw", dst=str(plan.lan), table=255)
    if plan.undeclared == "refuse":
        ip.route("add", type="local", dst="0.0.0.0/0", oif=1, table=255, scope=254)
        return
    for address in plan.declared:
        if address.version == 4 and address not in plan.lan:
            ip.route("add", type="local", dst=f"{address}/32", oif=1, table=255, scope=254)
    ip.route("add", type="blackhole" if plan.undeclared == "silent" else "unreachable", dst="0.0.0.0/0")


def _answer_addresses6(ip: IPRoute, plan: Plan) -> None:
    """The same for IPv6."""
    six = {"family": socket.AF_INET6}
    ip.route("add", type="throw", dst=str(plan.lan6), table=255, **six)
    if plan.undeclared == "refuse":
        ip.route("add", type="local", dst="::/0", oif=1, table=255, **six)
        return
    for address in plan.declared:
        if address.version == 6:
            ip.route("add", type="local", dst=f"{address}/128", oif=1, table=255, **six)
    ip.route("add", type="blackhole" if plan.undeclared == "silent" else "unreachable", dst="::/0", **six)


def _speak_ipv6() -> None:
    """Containers start without IPv6. Addresses are given out here, so nobody needs to look for doubles first."""
    for name, value in (
        ("all/disable_ipv6", "0"),
        ("default/disable_ipv6", "0"),
        ("all/accept_ra", "0"),
        ("all/forwarding", "1"),
    ):
        Path(f"/proc/sys/net/ipv6/conf/{name}").write_text(value)


def _add_address6(ip: IPRoute, link: int, address: IPv6Address) -> None:
    ip.addr("add", index=link, address=str(address), prefixlen=64, family=socket.AF_INET6, flags=IFA_F_NODAD)


def _seem_remote(ip: IPRoute, plan: Plan, bridge: int) -> None:
    """Answers from outside the local network carry a smaller time to live than the router's own."""
    ip.rule("add", src=str(plan.router), src_len=32, table=254, priority=100)
    ip.rule("add", src=str(plan.resolver), src_len=32, table=254, priority=101)
    ip.route("add", dst=str(plan.lan), oif=bridge, table=REMOTE_TABLE, metrics={"hoplimit": 64 - HOPS})
    ip.rule("add", table=REMOTE_TABLE, priority=200)


def _quieten() -> None:
    """Kernel settings of the world's namespace: forward between hosts, bind any port without rights, no redirects."""
    settings = {
        "ip_forward": "1",
        "ip_unprivileged_port_start": "0",
        "conf/all/send_redirects": "0",
        "conf/default/send_redirects": "0",
        "icmp_ratelimit": "0",
        "fwmark_reflect": "1",
    }
    for name, value in settings.items():
        Path(f"/proc/sys/net/ipv4/{name}").write_text(value)


class Link(NamedTuple):
    """An interface as the kernel describes it: where its other end lies (`peer_namespace` None: in the same one)."""

    name: str
    kind: str
    peer_index: int | None
    peer_namespace: int | None


class Census(NamedTuple):
    """All links of one namespace by index, and the ids by which it knows the other namespaces of the trial."""

    links: Mapping[int, Link]
    known: Mapping[int, str]


def survey(namespaces: Mapping[str, int]) -> dict[str, Census]:
    """Ask the kernel, inside each of `namespaces` (name to file descriptor), what is there."""
    found: dict[str, Census] = {}
    for name, namespace in namespaces.items():
        with inside(namespace), IPRoute() as ip:
            links = {link["index"]: _link(link) for link in ip.get_links()}
            known: dict[int, str] = {}
            for other, descriptor in namespaces.items():
                identity = _namespace_id(ip, descriptor)
                if other != name and identity is not None and identity >= 0:
                    known[identity] = other
        found[name] = Census(links, known)
    return found


def leaks(census: Mapping[str, Census]) -> list[str]:
    """What leads out of the surveyed namespaces, as sentences; an empty list proves that they are closed."""
    return [
        f"{name}: {problem}"
        for name, place in census.items()
        for link in place.links.values()
        if (problem := _leak(link, place, census))
    ]


def _leak(link: Link, place: Census, census: Mapping[str, Census]) -> str:
    if link.kind in ("loopback", "bridge"):
        return ""
    if link.kind != "veth":
        return f"{link.name} is a {link.kind}"
    if link.peer_namespace is None:
        other: Census | None = place
    else:
        other = census.get(place.known.get(link.peer_namespace, ""))
    end = other.links.get(link.peer_index or 0) if other else None
    return "" if end is not None and end.kind == "veth" else f"{link.name} leads out of the trial"


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    plain = "loopback" if message["ifi_type"] == ARPHRD_LOOPBACK else "unknown device"
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or plain
    return Link(message.get_attr("IFLA_IFNAME"), kind, message.get_attr("IFLA_LINK"), message.get_attr("IFLA_LINK_NETNSID"))


def _namespace_id(ip: IPRoute, descriptor: int) -> int | None:
    answer = ip.get_netnsid(fd=descriptor)
    identity = answer["nsid"]
    return int(identity) if identity is not None else None


def is_machines_own(namespace: int) -> bool:
    """Whether this is the namespace that the engine itself runs in."""
    return os.fstat(namespace).st_ino == os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - a descriptor has no path


def reaches(namespace: int, family: int, address: Any) -> bool:
    """Whether a stream connection from inside `namespace` to `address` opens within a second."""
    with inside(namespace), socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1.0)
        try:
            client.connect(address)
        except OSError:
            return False
        return True
