"""Names: answers the zone of this world over UDP and TCP, and says that everything else does not exist."""

from __future__ import annotations

import asyncio
import ipaddress
import struct
from collections.abc import Mapping, Sequence
from typing import cast

from dnslib import AAAA, CNAME, MX, NS, PTR, QTYPE, RCODE, RD, RR, SRV, TXT, A, DNSError, DNSHeader, DNSRecord

from .journal import Journal

Records = Sequence[tuple[str, str]]

UDP_LIMIT = 1232
"""Largest answer over UDP for a client that offers EDNS; 512 for one that does not (RFC 6891, DNS flag day 2020)."""

MAX_CHAIN = 8
"""How many CNAMEs are followed: a loop in a zone ends here."""


class Zone:
    """Names and their records; a name `*.domain` stands for every name below that has none of its own."""

    def __init__(self, zone: Mapping[str, Records], unknown: str = "nxdomain", ttl: int = 300) -> None:
        self._zone: dict[str, Records] = {name.lower().rstrip("."): tuple(records) for name, records in zone.items()}
        self._zone = {**_reverse(self._zone), **self._zone}
        self._unknown = RCODE.SERVFAIL if unknown == "servfail" else RCODE.NXDOMAIN
        self._ttl = ttl

    def add(self, name: str, records: Records) -> None:
        """Give a name that came up during the trial its records."""
        self._zone[name.lower().rstrip(".")] = tuple(records)

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
        name, kind = str(query.q.qname), QTYPE.get(query.q.qtype, "")
        for _ in range(MAX_CHAIN):
            records = self.find(name)
            if records is None:
                reply.header.rcode = self._unknown if not reply.rr else RCODE.NOERROR
                break
            for record_type, value in records:
                if kind in (record_type, "ANY") or record_type == "CNAME":
                    reply.add_answer(self._record(name, record_type, value))
            alias = next((value for record_type, value in records if record_type == "CNAME"), None)
            if alias is None or kind in ("CNAME", "ANY"):
                break
            name = alias
        return reply

    def _record(self, name: str, kind: str, value: str) -> RR:
        return RR(name, getattr(QTYPE, kind), rdata=_rdata(kind, value), ttl=self._ttl)


def _rdata(kind: str, value: str) -> RD:
    if kind == "MX":
        preference, host = value.split()
        return MX(host, int(preference))
    if kind == "SRV":
        priority, weight, port, host = value.split()
        return SRV(int(priority), int(weight), int(port), host)
    if kind == "TXT":
        return TXT([value[i : i + 255] for i in range(0, len(value), 255)] or [""])
    return {"A": A, "AAAA": AAAA, "CNAME": CNAME, "NS": NS, "PTR": PTR}[kind](value)


def _reverse(zone: Mapping[str, Records]) -> dict[str, Records]:
    """PTR records for every address; the first name declared for an address is its name."""
    found: dict[str, Records] = {}
    for name, records in zone.items():
        for kind, value in records:
            if kind in ("A", "AAAA") and not name.startswith("*"):
                found.setdefault(ipaddress.ip_address(value).reverse_pointer, (("PTR", name),))
    return found


class Resolver:
    """One answering address: parses, answers, records. Input that is no query is dropped, as real servers do."""

    def __init__(self, zone: Zone, journal: Journal, address: str) -> None:
        self._zone = zone
        self._journal = journal
        self._address = address

    def answer(self, data: bytes, source: str, *, tcp: bool) -> bytes | None:
        """Bytes to send back, None for none."""
        try:
            query = DNSRecord.parse(data)
        except (DNSError, struct.error, IndexError, ValueError, KeyError):
            return _malformed(data)
        if query.header.qr or len(query.questions) != 1:
            return _malformed(data)
        reply = self._zone.resolve(query)
        answers = [f"{QTYPE.get(r.rtype, '')} {r.rdata}"[:300] for r in reply.rr[:20]]
        self._journal.network(
            action="name_asked",
            protocol="dns",
            source=source,
            destination=self._address,
            port=53,
            name=str(query.q.qname).rstrip(".")[:300],
            target=str(QTYPE.get(query.q.qtype, query.q.qtype)),
            status=int(reply.header.rcode),
            detail={"answers": answers, "transport": "tcp" if tcp else "udp"},
        )
        packed: bytes = reply.pack()
        limit = UDP_LIMIT if any(r.rtype == QTYPE.OPT for r in query.ar) else 512
        return packed if tcp or len(packed) <= limit else bytes(reply.truncate().pack())


def _malformed(data: bytes) -> bytes | None:
    """FORMERR for what has at least an identifier and is a query; silence else, so that no loop of answers starts."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + bytes([0x80 | (data[2] & 0x79), 0x80 | RCODE.FORMERR]) + bytes(8)


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
            self._transport.sendto(reply, addr)


async def serve_tcp(resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TCP side: length-prefixed messages until the client stops or is idle for ten seconds."""
    peer = writer.get_extra_info("peername")
    try:
        while True:
            async with asyncio.timeout(10):
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                data = await reader.readexactly(length)
            reply = resolver.answer(data, f"{peer[0]}:{peer[1]}", tcp=True)
            if reply is None:
                return
            writer.write(struct.pack("!H", len(reply)) + reply)
            await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()
