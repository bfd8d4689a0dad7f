"""The world's resolver: what names mean, and that no datagram breaks it."""

from __future__ import annotations

import struct
import time

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st


class Heard:
    """What a resolver told."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.refused: list[dict[str, object]] = []
        self.faults: list[str] = []

    def fault(self, where: str, error: Exception) -> None:
        self.faults.append(f"{where}: {error}")

    def network(self, **fields: object) -> None:
        if fields["action"] == "refused":
            self.refused.append(fields)
        else:
            self.asked.append((str(fields["name"]), int(str(fields["status"]))))


def resolver(**zone: list[tuple[str, str]]):
    from world.dns import Resolver, Zone
    from world.journal import Journal
    from world.latency import Latency

    class Hearing(Heard, Journal):
        def __init__(self) -> None:
            Heard.__init__(self)
            Journal.__init__(self, None)

    names = {name.replace("_", "."): records for name, records in zone.items()}
    journal = Hearing()
    return Resolver(Zone(names), journal, "10.20.0.2", Latency()), journal


def ask(server, name: str, kind: str = "A", *, tcp: bool = True) -> DNSRecord:
    return DNSRecord.parse(server.answer(DNSRecord.question(name, kind).pack(), "10.20.0.5:5000", tcp=tcp).message)


def test_records_aliases_wildcards_and_reverse_names() -> None:
    server, journal = resolver(
        www_a_example=[("CNAME", "web.a.example")],
        web_a_example=[("A", "198.51.100.7"), ("AAAA", "2001:db8::7")],
        a_example=[("MX", "10 mail.a.example"), ("TXT", "v=spf1 -all")],
        **{"*.pages.a.example": [("A", "198.51.100.8")]},
    )
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


def test_a_negative_answer_names_who_gives_it_and_the_roots_are_known() -> None:
    server, _ = resolver(web_a_example=[("A", "198.51.100.7")], b_example=[("NS", "dns.b.example"), ("A", "198.51.100.8")])
    assert [(str(r.rname), str(r.rdata).split()[0]) for r in ask(server, "gone.a.example").auth] == [
        ("a.example.", "ns1.a.example.")
    ]
    assert [str(r.rdata).split()[0] for r in ask(server, "b.example", "MX").auth] == ["dns.b.example."]
    assert [str(r.rname) for r in ask(server, "nobody.com").auth] == ["com."]
    assert [str(r.rname) for r in ask(server, "nobody.invalid").auth] == ["."]
    assert ask(server, "web.a.example").auth == []
    roots = ask(server, ".", "NS")
    assert (roots.header.rcode, len(roots.rr), str(roots.rr[0].rdata)) == (RCODE.NOERROR, 13, "a.root-servers.net.")
    assert ask(server, "m.root-servers.net").rr


@pytest.mark.parametrize("tcp", [True, False])
def test_an_extended_question_is_answered_in_kind(tcp: bool) -> None:
    server, _ = resolver(web_a_example=[("A", "198.51.100.7")])
    question = DNSRecord.question("web.a.example")
    question.add_ar(EDNS0(udp_len=4096))
    reply = DNSRecord.parse(server.answer(question.pack(), "10.20.0.5:5000", tcp=tcp).message)
    assert [(r.rtype, r.edns_len) for r in reply.ar] == [(QTYPE.OPT, 1232)]
    assert ask(server, "web.a.example").ar == []


def test_a_machine_that_came_up_is_given_a_free_name_and_loses_it_with_its_end() -> None:
    from world.dns import Zone

    zone = Zone({"web-03": [("A", "10.20.0.5")]})
    zone.name("45.33.98.12", "replica-1")
    zone.name("45.33.98.13", "replica-1")
    zone.name("45.33.98.14", "web-03")
    assert zone.find("replica-1") == (("A", "45.33.98.12"),)
    assert zone.find("13.98.33.45.in-addr.arpa") == (("PTR", "replica-1"),)
    assert zone.find("web-03") == (("A", "10.20.0.5"),)
    zone.name("45.33.98.14", None)
    zone.name("45.33.98.12", None)
    zone.name("45.33.98.99", None)
    assert zone.find("replica-1") is None
    assert zone.find("web-03") == (("A", "10.20.0.5"),)


def bomb(questions: int, size: int) -> bytes:
    """A message of very many questions, each a pointer to the first name."""
    head = struct.pack("!6H", 7, 0x0100, questions, 0, 0, 0)
    return (head + b"\x01a\x07example\0\0\x01\0\x01" + b"\xc0\x0c\0\x01\0\x01" * questions)[:size]


def chain(pointers: int) -> bytes:
    """One question whose name is a chain of pointers, each to the one before."""
    head = struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0)
    names = b"\0\0" + b"".join(struct.pack("!H", 0xC000 | (12 + 2 * n)) for n in range(pointers))
    return head + names + b"\0\x01\0\x01"


@pytest.mark.parametrize(
    "data",
    [
        bomb(10_000, 60_000),
        bomb(300, 4000),
        struct.pack("!6H", 7, 0x0100, 1, 500, 500, 500) + b"\0" * 3000,
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 3) + b"\0" * 3000,
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\x01\0\x01",
        struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + struct.pack("!H", 0xC000 | (12 + 2 * 1999)) + chain(2000)[12:],
        b"no",
    ],
)
def test_a_message_that_asks_for_more_than_one_thing_is_refused_at_once_and_told(data: bytes) -> None:
    server, journal = resolver(a_example=[("A", "198.51.100.7")])
    begun = time.monotonic()
    reply = server.answer(data, "10.20.0.5:5000", tcp=True)
    assert time.monotonic() - begun < 0.2
    assert reply is None or reply.message[3] & 0x0F == RCODE.FORMERR
    assert journal.asked == []
    assert [(r["protocol"], r["detail"]["count"]) for r in journal.refused] == [("dns", 1)]


def test_a_flood_of_messages_without_meaning_is_counted_not_listed() -> None:
    server, journal = resolver()
    for _ in range(250):
        server.answer(b"?", "10.20.0.5:5000", tcp=False)
    assert [r["detail"]["count"] for r in journal.refused] == [1, 101, 201]
    journal.tell_counts()
    journal.tell_counts()
    assert [r["detail"]["count"] for r in journal.refused] == [1, 101, 201, 250]


def wire(labels: list[bytes], kind: int = 1, of: int = 1, bits: int = 0x0100) -> bytes:
    """A query for a name of any labels."""
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack("!6H", 7, bits, 1, 0, 0, 0) + name + struct.pack("!2H", kind, of)


@pytest.mark.parametrize("zone", [{}, {"*.example": [("A", "198.51.100.7")]}])
@pytest.mark.parametrize("labels", [[b"SECRET.s3.a.example."], [b"."], [b"x", b"se.cret.", b"example"], [b"a\\.b", b"example"]])
@pytest.mark.parametrize("kind", ["A", "NS", "TXT"])
def test_a_label_that_holds_dots_is_asked_answered_and_told(zone: dict, labels: list[bytes], kind: str) -> None:
    server, journal = resolver(a_example=[("A", "198.51.100.7")], **zone)
    reply = DNSRecord.parse(server.answer(wire(labels, QTYPE.reverse[kind]), "10.20.0.5:5000", tcp=False).message)
    assert list(reply.q.qname.label) == labels
    assert [name for name, _ in journal.asked] == [b".".join(labels).decode()]
    assert all(record.rname == reply.q.qname for record in reply.rr)


def test_a_name_with_a_dot_inside_a_label_is_not_the_name_that_it_looks_like() -> None:
    server, _ = resolver(a_example=[("A", "198.51.100.7")])
    assert (
        DNSRecord.parse(server.answer(wire([b"a.example"]), "10.20.0.5:5000", tcp=False).message).header.rcode == RCODE.NXDOMAIN
    )


@pytest.mark.parametrize(
    ("data", "code", "name"),
    [
        (wire([b"s3cret" * 10] * 5), RCODE.FORMERR, ".".join(["s3cret" * 10] * 5)[:300]),
        (wire([b"\xff\xfe", b"example"]), RCODE.FORMERR, "\\255\\254.example"),
        (wire([b"version", b"bind"], QTYPE.TXT, 3), RCODE.REFUSED, "version.bind"),
        (wire([b"a", b"example"], QTYPE.SOA, 1, 0x2900), RCODE.NOTIMP, "a.example"),
    ],
)
def test_what_is_no_ordinary_question_is_refused_each_time_with_its_name(data: bytes, code: int, name: str) -> None:
    server, journal = resolver(a_example=[("A", "198.51.100.7")])
    for _ in range(3):
        reply = DNSRecord.parse(server.answer(data, "10.20.0.5:5000", tcp=False).message)
        assert (reply.header.id, reply.header.rcode, reply.rr, reply.auth) == (7, code, [], [])
    assert [(r["name"], r["status"], r["detail"]["count"]) for r in journal.refused] == [(name, code, n) for n in (1, 2, 3)]
    assert journal.asked == []


@pytest.mark.parametrize(
    "record", [("MX", "70000 mail.a.example"), ("SRV", "1 1 99999 a.example"), ("MX", "10 a..b"), ("SRV", "x")]
)
def test_a_record_that_cannot_be_said_is_a_told_fault_and_the_question_an_event(record: tuple[str, str]) -> None:
    server, journal = resolver(a_example=[record], b_example=[("A", "198.51.100.7")])
    assert ask(server, "a.example", "ANY", tcp=False).header.rcode == RCODE.SERVFAIL
    assert [(r["name"], r["status"]) for r in journal.refused] == [("a.example", RCODE.SERVFAIL)]
    assert [fault.partition(": ")[0] for fault in journal.faults] == ["dns on 10.20.0.2:53"]
    assert ask(server, "b.example").rr


def test_a_text_is_cut_into_pieces_by_its_bytes() -> None:
    server, _ = resolver(a_example=[("TXT", "\N{EURO SIGN}" * 200)])
    assert b"".join(ask(server, "a.example", "TXT").rr[0].rdata.data).decode() == "\N{EURO SIGN}" * 200


HEADERS = st.tuples(st.integers(0, 65535), st.integers(0, 65535), *[st.sampled_from([0, 1, 1, 2, 500])] * 4)
PIECES = st.sampled_from(
    [b"\xc0\x0c", b"\x01a", b"\x3f" + b"a" * 63, b"\0", b"\0\x01\0\x01", b"\0\0\x29\x10\0\0\0\0\0\0\0", b"\xff"]
)


@given(HEADERS, st.lists(st.tuples(PIECES | st.binary(max_size=20), st.integers(1, 3000)), max_size=6))
def test_no_message_however_large_breaks_it(header: tuple[int, ...], pieces: list[tuple[bytes, int]]) -> None:
    server, _ = resolver(a_example=[("A", "198.51.100.7")])
    data = struct.pack("!6H", *header) + b"".join(piece * times for piece, times in pieces)
    begun = time.monotonic()
    reply = server.answer(data[:65535], "10.20.0.5:5000", tcp=True)
    assert time.monotonic() - begun < 1
    assert reply is None or (len(reply.message) >= 12 and reply.message[2] & 0x80)


LABELS = st.lists(
    st.binary(min_size=1, max_size=70) | st.text(".\\\\aZ0\u20ac", min_size=1, max_size=20).map(str.encode), max_size=6
)
OPERATIONS = st.sampled_from([0x0100, 0x0120, 0x2900, 0x8180])
QUERIES = st.builds(wire, LABELS, st.integers(0, 65535), st.sampled_from([1, 1, 1, 3, 255]), OPERATIONS)


@given(st.binary(max_size=600) | QUERIES)
def test_no_datagram_breaks_it_and_no_answer_is_answered(data: bytes) -> None:
    """Each has one event, and one answer unless it is itself an answer or has no header."""
    server, journal = resolver(a_example=[("A", "198.51.100.7")], **{"*.a_example": [("CNAME", "a.example")]})
    reply = server.answer(data, "10.20.0.5:5000", tcp=False)
    assert (len(journal.asked) + len(journal.refused), journal.faults) == (1, [])
    assert (reply is None) == (len(data) < 12 or bool(data[2] & 0x80))
    assert reply is None or (len(reply.message) >= 12 and reply.message[2] & 0x80)
    if reply:
        assert server.answer(reply.message, "10.20.0.5:5000", tcp=False) is None


@pytest.mark.parametrize("kind", ["A", "AAAA", "MX", "TXT", "ANY", "SOA", "CAA", "HTTPS"])
def test_every_kind_of_question_has_an_answer(kind: str) -> None:
    server, _ = resolver(a_example=[("A", "198.51.100.7")])
    assert ask(server, "a.example", kind).q.qtype == QTYPE.reverse[kind]
