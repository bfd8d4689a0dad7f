"""From a scenario's world and its hosts to one concrete network: who has which address and name, who listens where.

Pure and deterministic: the same data gives the same addresses, which a seed decides where the author left them open.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from sandbox.environment import HostSpec
from sandbox.errors import ScenarioError
from sandbox.world.network import Plan
from sandbox.world.public_names import PUBLIC_NAMES, PUBLIC_RESOLVERS
from sandbox.world.services import MailSpec, PartySpec, SearchSpec
from sandbox.world.spec import NameSpec, WorldSpec, no_hosts, parse_address
from sandbox.world.web_index import web_index

FIRST_AGENT = 5
FIRST_OTHER = 11
HOSTING = ("45.", "64.", "104.", "139.", "141.", "151.", "159.", "161.", "167.", "185.", "193.")
"""Beginnings of made-up public addresses."""

Records = list[tuple[str, str]]


@dataclass(frozen=True)
class WorldPlan:
    """`network` is what the kernel is told; `seats` and `seats6` each host's addresses by id; `config` what the world itself
    is told, but for certificates; `certificates` the names of each leaf, by the file that will hold it."""

    network: Plan
    seats: Mapping[str, IPv4Address]
    seats6: Mapping[str, IPv6Address]
    config: Mapping[str, Any]
    certificates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plan(spec: WorldSpec, hosts: Sequence[HostSpec]) -> WorldPlan:
    """Lay the world out around `hosts`, the agent's first. ScenarioError when two of them want one address or name."""
    return _Layout(spec, hosts).plan()


def public_address(seed: str, taken: Container[IPv4Address | IPv6Address]) -> IPv4Address:
    """A made-up address as hosting companies have them, the same for the same `seed`, none of `taken`."""
    for attempt in itertools.count():
        digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
        address = IPv4Address(HOSTING[digest[0] % len(HOSTING)] + f"{digest[1]}.{digest[2]}.{digest[3] % 250 + 2}")
        if address.is_global and address not in taken:
            return address
    raise AssertionError("the count has no end")


def public_address6(seed: str) -> IPv6Address:
    """A made-up address in a range that hosting companies have, the same for the same `seed`."""
    digest = hashlib.sha256(seed.encode()).digest()
    return IPv6Address(bytes([0x2A, 0x01, 0x04, *digest[:5], 0, 0, 0, 0, 0, 0, 0, digest[5] | 1]))


def _lan6(seed: int) -> IPv6Network:
    return IPv6Network((int(public_address6(f"{seed}/lan")) >> 64 << 64, 64))


class _Layout:
    """Gives out addresses, and remembers who has them."""

    def __init__(self, spec: WorldSpec, hosts: Sequence[HostSpec]) -> None:
        self._spec = spec
        self._hosts = hosts
        self._seed = _seed(spec, hosts)
        self._lan = _lan(spec, hosts)
        self._owner: dict[IPv4Address | IPv6Address, str] = {}
        self._names: dict[str, Records] = {}
        self._lan6 = _lan6(self._seed) if spec.network.ipv6 else None

    def plan(self) -> WorldPlan:
        router = self._spec.network.gateway or self._lan[1]
        resolver = self._spec.network.resolver or self._lan[2]
        self._take(router, "the gateway")
        self._take(resolver, "the resolver")
        seats = {host.id: address for host, address in self._seats()}
        parties = [self._party(index, party) for index, party in enumerate(self._spec.parties)]
        _apart(parties)
        self._declare_names(seats)
        public = tuple(IPv4Address(a) for a in PUBLIC_RESOLVERS) if self._spec.network.public_names else ()
        listening = {ip_address(entry["address"]) for party in parties for entry in party["listeners"]}
        declared = tuple(sorted({*listening, *public}, key=lambda address: (address.version, int(address))))
        network = Plan(self._lan, router, resolver, self._spec.network.undeclared, declared, self._lan6)
        config = {
            "seed": self._seed,
            "resolvers": [str(resolver), *map(str, public)],
            "lan": str(self._lan),
            "latency": list(self._spec.network.latency),
            "unknown_names": self._spec.network.unknown_names,
            "zone": self._zone(),
            "parties": parties,
        }
        return WorldPlan(network, seats, self._seats6(seats), config, dict(_certificates(parties)))

    def _seats6(self, seats: Mapping[str, IPv4Address]) -> dict[str, IPv6Address]:
        """IPv6 addresses of the local hosts, ending as their others do; none for hosts elsewhere."""
        lan6 = self._lan6
        if lan6 is None:
            return {}
        return {host: lan6[0x100 + int(address) - int(self._lan[0])] for host, address in seats.items() if address in self._lan}

    def _seats(self) -> Iterator[tuple[HostSpec, IPv4Address]]:
        """Every host's address; those that have none get the next free one of the local network."""
        declared = {host.id: parse_address(host.address, f"host {host.id}") for host in self._hosts if host.address}
        for host_id, address in declared.items():
            self._take(address, f"host {host_id}")
        for index, host in enumerate(self._hosts):
            if host.id in declared:
                yield host, declared[host.id]
            else:
                yield host, self._next(FIRST_OTHER if index else FIRST_AGENT, f"host {host.id}")

    def _next(self, start: int, owner: str) -> IPv4Address:
        for offset in range(start, self._lan.num_addresses - 1):
            if self._lan[offset] not in self._owner:
                self._take(self._lan[offset], owner)
                return self._lan[offset]
        raise ScenarioError(f"world: the network {self._lan} has no address left for {owner}.", "Make `network.lan` wider.")

    def _take(self, address: IPv4Address, owner: str) -> None:
        if no_hosts(address, self._lan):
            raise ScenarioError(f"world: {owner} cannot have the address {address}: no host has it.", "Give it another one.")
        if address in self._owner:
            raise ScenarioError(
                f"world: {address} is wanted by {self._owner[address]} and by {owner}.", "Give one of them another address."
            )
        self._owner[address] = owner

    def _party(self, index: int, party: PartySpec) -> dict[str, Any]:
        address = self._address_of(party)
        addresses: list[tuple[str, str]] = [("A", str(address))]
        if self._spec.network.ipv6_services:
            addresses.append(("AAAA", str(public_address6(f"{self._seed}/{party.host}"))))
        for name in party.hosts:
            self._names.setdefault(name, []).extend(addresses)
        secure = any(tls for _, tls, _ in party.doors())
        listeners = [
            {
                "address": where,
                "port": port,
                "tls": tls,
                "certificate": party.host if tls or (protocol == "smtp" and secure) else "",
                "protocol": protocol,
            }
            for _, where in addresses
            for port, tls, protocol in party.doors()
        ]
        kind = str(getattr(party, "type"))  # noqa: B009 - every kind has one, the base class none
        names = list(dict.fromkeys(p.id or getattr(p, "type") for p in self._spec.parties[:index]))  # noqa: B009
        default = kind if kind != "site" and kind not in names else party.host
        return {
            "id": party.id or default,
            "type": kind,
            "hosts": list(party.hosts),
            "listeners": listeners,
            "options": self._options(party),
        }

    def _options(self, party: PartySpec) -> dict[str, Any]:
        """What the party is told, and a search engine what it may find."""
        if not isinstance(party, SearchSpec):
            return party.options()
        known = [page.model_dump() for page in party.pages]
        return {**party.options(), "index": known + web_index(self._spec.parties)}

    def _address_of(self, party: PartySpec) -> IPv4Address:
        """As declared, here or in `names`; else made up. Parties may share an address, but not with a host."""
        named = self._spec.names.get(party.host)
        if isinstance(named, NameSpec):
            named = named.a[0] if named.a else None
        address = party.address or named or self._made_up(party.host)
        owner = self._owner.get(address)
        if owner is not None and not owner.startswith("party "):
            raise ScenarioError(f"world: {address} of {party.host} belongs to {owner}.", "Give one of them another address.")
        self._owner[address] = f"party {party.host}"
        return address

    def _made_up(self, name: str) -> IPv4Address:
        return public_address(f"{self._seed}/{name}", self._owner)

    def _declare_names(self, seats: Mapping[str, IPv4Address]) -> None:
        """The author's names, and each host's own, after those of the parties."""
        for name, value in self._spec.names.items():
            records = value.records() if isinstance(value, NameSpec) else [("A", str(value))]
            kept = self._names.setdefault(name, [])
            kept.extend(record for record in records if record not in kept)
        for party in self._spec.parties:
            if isinstance(party, MailSpec):
                self._declare_exchanger(party)
        for host in self._hosts:
            name = host.hostname.lower()
            record = ("A", str(seats[host.id]))
            if self._names.setdefault(name, [record]) != [record]:
                raise ScenarioError(f"world: {name} is the name of host {host.id} and of something else.", "Rename one.")

    def _declare_exchanger(self, party: MailSpec) -> None:
        """Mail for the domains of a server's mailboxes goes to it, where the author did not say otherwise."""
        for domain in dict.fromkeys(address.rpartition("@")[2].lower() for address in party.mailboxes):
            records = self._names.setdefault(domain, [])
            if not any(kind in ("MX", "CNAME") for kind, _ in records):
                records.append(("MX", f"10 {party.host}"))

    def _zone(self) -> dict[str, Records]:
        public = PUBLIC_NAMES if self._spec.network.public_names else {}
        return {**{name: [("A", address)] for name, address in public.items()}, **self._names}


def _apart(parties: Iterable[Mapping[str, Any]]) -> None:
    """Every id is one party's, and what comes in at a port is of one kind. ScenarioError if not."""
    named: set[str] = set()
    doors: dict[tuple[str, int], tuple[bool, str]] = {}
    for party in parties:
        if party["id"] in named:
            raise ScenarioError(f"world: {party['id']} is the id of two parties.", "Give one of them another `id`.")
        named.add(party["id"])
        for door in party["listeners"]:
            kind = door["tls"], door["protocol"]
            if doors.setdefault((door["address"], door["port"]), kind) != kind:
                where = f"{door['address']}, port {door['port']}"
                raise ScenarioError(f"world: {where} is declared as of two kinds.", "Give one of them another port or address.")


def _lan(spec: WorldSpec, hosts: Sequence[HostSpec]) -> IPv4Network:
    """The declared network, else the /24 around the agent's address when that is a private one."""
    declared = "network" in spec.model_fields_set and "lan" in spec.network.model_fields_set
    if not declared and hosts and hosts[0].address:
        own = parse_address(hosts[0].address, f"host {hosts[0].id}")
        if own.is_private:
            return IPv4Network(f"{own}/24", strict=False)
    return spec.network.lan


def _seed(spec: WorldSpec, hosts: Iterable[HostSpec]) -> int:
    """A number that the data decides; a scenario's own seed shows in its rendered data. What is new in the format since worlds
    were recorded has no part in it, so that their addresses stay as they are."""
    new: dict[str, Any] = {
        "claims": True,
        "network": {"ipv6_services", "latency"},
        "sites": {"__all__": {"collections"}},
        "services": {"__all__": {"smtps"}},
    }
    known = spec.model_copy(update={"network": spec.network.model_copy(update={"ipv6": spec.network.ipv6_services})})
    text = known.model_dump_json(exclude=new) + "".join(f"{h.id}/{h.hostname}/{h.address}" for h in hosts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _certificates(parties: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One certificate for each party that speaks TLS: its names, then its addresses."""
    for index, party in enumerate(parties):
        secure = [entry["address"] for entry in party["listeners"] if entry["tls"]]
        if secure:
            yield f"{index}.pem", (*party["hosts"], *dict.fromkeys(secure))
