"""The world's resolver: what names mean, and that no datagram breaks it."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st


class Journal:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def network(self, **fields: object) -> None:
        self.asked.append((str(fields["name"]), int(str(fields["status"]))))


def resolver(**zone: list[tuple[str, str]]):
    from world.dns import Resolver, Zone

    names = {name.replace("_", "."): records for name, records in zone.items()}
    journal = Journal()
    return Resolver(Zone(names), journal, "10.20.0.2"), journal


def ask(server, name: str, kind: str = "A", *, tcp: bool = True) -> DNSRecord:
    return DNSRecord.parse(server.answer(DNSRecord.question(name, kind).pack(), "10.20.0.5:5000", tcp=tcp))


def test_records_aliases_wildcards_and_reverse_names() -> None:
    server, journal = resolver(
        www_a_example=[("CNAME", "web.a.example")],
        web_a_example=[("A", "198.51.100.7"), ("AAAA", "2001:db8::7")],
        a_example=[("MX", "10 mail.a.example"), ("TXT", "v=spf1 -all")],
    )
    server._zone.add("*.pages.a.example", [("A", "198.51.100.8")])
    assert [str(r.rdata) for r in ask(server, "WWW.A.example").rr] == ["web.a.example.", "198.51.100.7"]
    assert [str(r.rdata) for r in ask(server, "web.a.example", "AAAA").rr] == ["2001:db8::7"]
    assert [str(r.rdata) for r in ask(server, "a.example", "MX").rr] == ["10 mail.a.example."]
    assert [str(r.rdata) for r in ask(server, "anything.pages.a.example").rr] == ["198.51.100.8"]
    assert [str(r.rdata) for r in ask(server, "7.100.51.198.in-addr.arpa", "PTR").rr] == ["web.a.example."]
    assert ("a.example", 0) in journal.asked


def test_a_name_that_nobody_has_does_not_exist_and_one_without_that_record_is_empty() -> None:
    server, _ = resolver(web_a_example=[("A", "198.51.100.7")])
    assert ask(server, "gone.example").header.rcode == RCODE.NXDOMAIN
    empty = ask(server, "web.a.example", "MX")
    assert (empty.header.rcode, empty.rr) == (RCODE.NOERROR, [])
    assert ask(server, "a.example").header.rcode == RCODE.NOERROR


def test_a_circle_of_aliases_ends() -> None:
    server, _ = resolver(a_example=[("CNAME", "b.example")], b_example=[("CNAME", "a.example")])
    assert len(ask(server, "a.example").rr) <= 8


def test_a_large_answer_over_udp_is_cut_and_over_tcp_whole() -> None:
    server, _ = resolver(big_example=[("TXT", "x" * 200)] * 20)
    assert ask(server, "big.example", "TXT", tcp=False).header.tc
    assert len(ask(server, "big.example", "TXT").rr) == 20


@given(st.binary(max_size=600))
def test_no_datagram_breaks_it_and_no_answer_is_answered(data: bytes) -> None:
    server, _ = resolver(a_example=[("A", "198.51.100.7")])
    reply = server.answer(data, "10.20.0.5:5000", tcp=False)
    assert reply is None or (len(reply) >= 12 and reply[2] & 0x80)
    if reply:
        assert server.answer(reply, "10.20.0.5:5000", tcp=False) is None


@pytest.mark.parametrize("kind", ["A", "AAAA", "MX", "TXT", "ANY", "SOA", "CAA", "HTTPS"])
def test_every_kind_of_question_has_an_answer(kind: str) -> None:
    server, _ = resolver(a_example=[("A", "198.51.100.7")])
    assert ask(server, "a.example", kind).q.qtype == QTYPE.reverse[kind]
