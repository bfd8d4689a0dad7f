"""Names: answers the zone of this world over UDP and TCP, and says that everything else does not exist.

What is no ordinary question is refused by its header alone, before anything is parsed: one message may else hold thousands.
"""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from dnslib import (
    AAAA,
    CNAME,
    EDNS0,
    MX,
    NS,
    PTR,
    QTYPE,
    RCODE,
    RD,
    RR,
    SOA,
    SRV,
    TXT,
    A,
    DNSError,
    DNSHeader,
    DNSLabel,
    DNSRecord,
)

from .journal import Journal
from .latency import Latency
from .listening import Secure

Records = Sequence[tuple[str, str]]

UDP_LIMIT = 1232
"""Largest answer over UDP for a client that offers EDNS; 512 for one that does not (RFC 6891, DNS flag day 2020)."""

MAX_QUERY = 4096
"""Largest question that is looked at, in bytes; real ones have a few hundred at most."""

MAX_ADDITIONAL = 2
MAX_LABEL = 63
MAX_NAME = 253
"""Bytes of a label, and of a name with the dots between its labels."""

MAX_NAME_TOLD = 300
CLASSES = (1, 255)
"""IN and ANY."""

MAX_KNOWN = 10_000
"""Questions that a resolver remembers; beyond, it answers all at once."""

TCP_SECONDS = 10.0
ROOTS = (
    *("198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4"),
    *("198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33"),
)
"""Addresses of the root servers, a to m, as every resolver knows them."""

AUTHORITIES = {
    "": ("a.root-servers.net", "nstld.verisign-grs.com"),
    "com": ("a.gtld-servers.net", "nstld.verisign-grs.com"),
    "net": ("a.gtld-servers.net", "nstld.verisign-grs.com"),
    "in-addr.arpa": ("b.in-addr-servers.arpa", "nstld.iana.org"),
}
"""Who speaks for the names above all that the world holds: primary server and person in charge."""

SERIAL = 2025060301

WHY = {
    int(RCODE.FORMERR): "no well-formed question",
    int(RCODE.SERVFAIL): "an error of the world's own",
    int(RCODE.NOTIMP): "no query but another operation",
    int(RCODE.REFUSED): "a class other than IN",
}
"""What a refusal means, by its code."""

MAX_CHAIN = 8
"""How many CNAMEs are followed: a loop in a zone ends here."""


class Zone:
    """Names and their records; a name `*.domain` stands for every name below that has none of its own."""

    def __init__(self, zone: Mapping[str, Records], unknown: str = "nxdomain", ttl: int = 300) -> None:
        self._zone: dict[str, Records] = {name.lower().rstrip("."): tuple(records) for name, records in zone.items()}
        self._zone = {**_reverse(self._zone), **_roots(), **self._zone}
        self._unknown = RCODE.SERVFAIL if unknown == "servfail" else RCODE.NXDOMAIN
        self._ttl = ttl
        self._given: dict[str, tuple[str, ...]] = {}

    def name(self, address: str, name: str | None) -> None:
        """Give the address of a machine that came up during the trial its name, where that is free; None takes it away."""
        for key in self._given.pop(address, ()):
            del self._zone[key]
        if name is not None:
            records = {name: (("A", address),), ipaddress.ip_address(address).reverse_pointer: (("PTR", name),)}
            free = {key: value for key, value in records.items() if self.find(key) is None}
            self._zone |= free
            self._given[address] = tuple(free)

    def find(self, name: str) -> Records | None:
        """Records of a name, by wildcard if need be; () for a name that only has names below it; None if unknown."""
        name = name.lower().rstrip(".")
        if name in self._zone:
            return self._zone[name]
        parent = name
        while "." in parent:
            parent = parent.split(".", 1)[1]
            if f"*.{parent}" in self._zone:
                return self._zone[f"*.{parent}"]
        return () if any(known.endswith("." + name) for known in self._zone) else None

    def resolve(self, query: DNSRecord) -> DNSRecord:
        """The answer to a parsed query: records, an empty answer, or the code for a name that does not exist."""
        reply = DNSRecord(DNSHeader(id=query.header.id, qr=1, rd=query.header.rd, ra=1, aa=0), q=query.q)
        name, kind = query.q.qname, QTYPE.get(query.q.qtype, "")
        for _ in range(MAX_CHAIN):
            records = self.find(_text(name.label))
            if records is None:
                reply.header.rcode = self._unknown if not reply.rr else RCODE.NOERROR
                break
            for record_type, value in records:
                if kind in (record_type, "ANY") or record_type == "CNAME":
                    reply.add_answer(self._record(name, record_type, value))
            alias = next((value for record_type, value in records if record_type == "CNAME"), None)
            if alias is None or kind in ("CNAME", "ANY"):
                break
            name = DNSLabel(alias)
        if not reply.rr:
            reply.add_auth(self._authority(name))
        if any(record.rtype == QTYPE.OPT for record in query.ar):
            reply.add_ar(EDNS0(udp_len=UDP_LIMIT))
        return reply

    def _authority(self, name: DNSLabel) -> RR:
        """Who says that there is nothing: the domain's own servers, if the world holds it, or those of a registry above it."""
        labels = [label.lower() for label in name.label]
        owner, domain, top = DNSLabel(labels[-2:]), _text(labels[-2:]), _text(labels[-1:])
        if domain not in AUTHORITIES and len(labels) > 1 and self.find(domain) is not None:
            declared = next((value for kind, value in self.find(domain) or () if kind == "NS"), None)
            server, person = declared or owner.add("ns1"), owner.add("hostmaster")
        else:
            domain = next(known for known in (domain, top, "") if known in AUTHORITIES)
            owner, (server, person) = DNSLabel(domain), AUTHORITIES[domain]
        return RR(owner, QTYPE.SOA, rdata=SOA(server, person, (SERIAL, 7200, 900, 1209600, self._ttl)), ttl=self._ttl)

    def _record(self, name: DNSLabel, kind: str, value: str) -> RR:
        return RR(name, getattr(QTYPE, kind), rdata=_rdata(kind, value), ttl=self._ttl)


def _rdata(kind: str, value: str) -> RD:
    if kind == "MX":
        preference, host = value.split()
        return MX(host, int(preference))
    if kind == "SRV":
        priority, weight, port, host = value.split()
        return SRV(int(priority), int(weight), int(port), host)
    if kind == "TXT":
        data = value.encode()
        return TXT([data[i : i + 255] for i in range(0, len(data), 255)] or [b""])
    return {"A": A, "AAAA": AAAA, "CNAME": CNAME, "NS": NS, "PTR": PTR}[kind](value)


def _text(labels: Sequence[bytes]) -> str:
    """A name as the zone writes it. A dot within a label is written as its number: it parts nothing."""
    return ".".join("".join(chr(c) if 33 <= c < 127 and c not in b".\\" else f"\\{c:03d}" for c in label) for label in labels)


def _roots() -> dict[str, Records]:
    names = {f"{chr(ord('a') + number)}.root-servers.net": address for number, address in enumerate(ROOTS)}
    return {"": tuple(("NS", name) for name in names), **{name: (("A", address),) for name, address in names.items()}}


def _reverse(zone: Mapping[str, Records]) -> dict[str, Records]:
    """PTR records for every address; the first name declared for an address is its name."""
    found: dict[str, Records] = {}
    for name, records in zone.items():
        for kind, value in records:
            if kind in ("A", "AAAA") and not name.startswith("*"):
                found.setdefault(ipaddress.ip_address(value).reverse_pointer, (("PTR", name),))
    return found


class Answer(NamedTuple):
    """A message to send back, and the seconds that it takes."""

    message: bytes
    seconds: float


class Resolver:
    """One answering address: parses, answers, records. Input that is no query is refused or dropped, as real servers do.

    What it has not been asked before takes it as long as asking the servers of that name would."""

    def __init__(self, zone: Zone, journal: Journal, address: str, latency: Latency) -> None:
        self._zone = zone
        self._journal = journal
        self._address = address
        self._latency = latency
        self._away = latency.to(address)
        self._known: set[tuple[str, int]] = set()
        self._turned_away = journal.tally()

    def answer(self, data: bytes, source: str, *, tcp: bool) -> Answer | None:
        """What to send back, None for nothing. Whatever comes leaves an event, and an error of the world's own is told."""
        try:
            query = _question(data)
            if isinstance(query, DNSRecord):
                return self._answer(query, source, tcp=tcp)
            self._refused(data, source, query, tcp=tcp)
            said = _header(data, query)
        except Exception as error:
            self._journal.fault(f"dns on {self._address}:53", error)
            self._refused(data, source, RCODE.SERVFAIL, tcp=tcp)
            said = _header(data, RCODE.SERVFAIL)
        return Answer(said, self._away) if said else None

    def _answer(self, query: DNSRecord, source: str, *, tcp: bool) -> Answer:
        reply = self._zone.resolve(query)
        answers = [f"{QTYPE.get(r.rtype, '')} {r.rdata}"[:300] for r in reply.rr[:20]]
        packed: bytes = reply.pack()
        self._journal.network(
            action="name_asked",
            protocol="dns",
            source=source,
            destination=self._address,
            port=53,
            name=str(query.q.qname)[:-1][:MAX_NAME_TOLD],
            target=str(QTYPE.get(query.q.qtype, query.q.qtype)),
            status=int(reply.header.rcode),
            detail={"answers": answers, "transport": "tcp" if tcp else "udp", **_dotted(query.q.qname)},
        )
        limit = UDP_LIMIT if any(r.rtype == QTYPE.OPT for r in query.ar) else 512
        whole = tcp or len(packed) <= limit
        return Answer(packed if whole else bytes(reply.truncate().pack()), self._delay(reply))

    def _delay(self, reply: DNSRecord) -> float:
        """Seconds until an answer leaves; what is not known yet has to be asked of servers as far away as its address."""
        asked = (str(reply.q.qname).lower(), reply.q.qtype)
        if asked in self._known or len(self._known) >= MAX_KNOWN:
            return self._away
        self._known.add(asked)
        addresses = [str(r.rdata) for r in reply.rr if r.rtype in (QTYPE.A, QTYPE.AAAA)]
        return self._away + (self._latency.to(addresses[0]) if addresses else self._latency.of(asked[0]))

    def _refused(self, data: bytes, source: str, code: int, *, tcp: bool) -> None:
        """What names something is told each time, as a question is; of what does not, one in a hundred."""
        name, silent = _name(data), _header(data, code) is None

        def say(count: int) -> None:
            self._journal.network(
                action="refused",
                protocol="dns",
                source=source,
                destination=self._address,
                port=53,
                name=name,
                status=None if silent else code,
                detail={"why": WHY[code], "count": count, "transport": "tcp" if tcp else "udp"},
            )

        self._turned_away.add(say, always=bool(name))

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _secure: Secure | None) -> None:
        """TCP side: length-prefixed messages until the client stops or is idle for ten seconds."""
        peer = writer.get_extra_info("peername")
        while True:
            try:
                async with asyncio.timeout(TCP_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
            except asyncio.IncompleteReadError:
                return
            reply = self.answer(data, f"{peer[0]}:{peer[1]}", tcp=True)
            if reply is None:
                return
            await asyncio.sleep(reply.seconds)
            writer.write(struct.pack("!H", len(reply.message)) + reply.message)
            async with asyncio.timeout(TCP_SECONDS):
                await writer.drain()
            await self._journal.turn()


def _question(data: bytes) -> DNSRecord | int:
    """A message that asks one thing; for all others, most of them unparsed, the code that they are refused with."""
    if not 12 <= len(data) <= MAX_QUERY:
        return int(RCODE.FORMERR)
    _, bits, questions, answers, authorities, additional = struct.unpack("!6H", data[:12])
    if bits & 0x7800 and not bits & 0x8000:
        return int(RCODE.NOTIMP)
    if bits & 0x8000 or (questions, answers, authorities) != (1, 0, 0) or additional > MAX_ADDITIONAL:
        return int(RCODE.FORMERR)
    try:
        query = DNSRecord.parse(data)
    except (DNSError, struct.error, IndexError, ValueError, KeyError, RecursionError):
        return int(RCODE.FORMERR)
    name = query.q.qname
    if len(name) > MAX_NAME or any(len(label) > MAX_LABEL for label in name.label):
        return int(RCODE.FORMERR)
    return query if query.q.qclass in CLASSES else int(RCODE.REFUSED)


def _header(data: bytes, code: int) -> bytes | None:
    """A refusal of what has at least an identifier and is a query; silence else, so that no loop of answers starts."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + bytes([0x80 | (data[2] & 0x79), 0x80 | code]) + bytes(8)


def _name(data: bytes) -> str:
    """The first name of a message that is refused, as far as it can be read."""
    labels, at = [], 12
    while at < min(len(data), MAX_NAME_TOLD) and 0 < data[at] < 0xC0:
        labels.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return str(DNSLabel(labels))[:-1][:MAX_NAME_TOLD]


def _dotted(name: DNSLabel) -> dict[str, int]:
    """The number of labels, where their dots do not say it."""
    return {"labels": len(name.label)} if any(b"." in label for label in name.label) else {}


class UdpServer(asyncio.DatagramProtocol):
    """UDP side of a resolver."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._resolver.answer(data, f"{addr[0]}:{addr[1]}", tcp=False)
        if reply and self._transport:
            asyncio.get_running_loop().call_later(reply.seconds, self._transport.sendto, reply.message, addr)
