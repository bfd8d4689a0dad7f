"""What one client can cost the world in memory and time: every way to ask for much ends in a bounded, recorded refusal."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.containers.party import Party, Recorder, build_party
from tests.containers.test_http import exchange, get, serving, status

MB = 1024 * 1024


@contextmanager
def costs_at_most(megabytes: float, seconds: float) -> Iterator[None]:
    """What is done within needs no more memory at any moment, and no more time, than that."""
    tracemalloc.start()
    begun = time.monotonic()
    try:
        yield
        took, (_, peak) = time.monotonic() - begun, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < megabytes * MB, f"{peak / MB:.1f} MB"
    assert took < seconds, f"{took:.1f} s"


def asked(body: bytes, kind: str = "application/json", **headers: str) -> Any:
    from world.message import Request

    given = [("content-type", kind), *((name.replace("_", "-"), value) for name, value in headers.items())]
    return Request("POST", "/", "it.example", given, body, "10.20.0.5:1", "198.51.100.2", 80, False)


def service(**options: object) -> Party:
    return build_party({"services": [{"host": "it.example", **options}]})


FORM = "multipart/form-data; boundary=b"


def test_a_form_of_nothing_but_boundaries_is_refused_cheaply() -> None:
    request = asked(b"--b\r\n\r\n" * (2 * MB // 7), FORM)
    with costs_at_most(2, 2), pytest.raises(ValueError, match="too many parts"):
        request.parts()
    request = asked(b"--b\r\n\r\n\r\n" * (2 * MB // 9) + b"--b--", FORM)
    with costs_at_most(2, 2), pytest.raises(ValueError, match="too many parts"):
        request.parts()


def test_a_boundary_counts_only_where_it_begins_a_line() -> None:
    head = b'Content-Disposition: form-data; name="%s"%s\r\n\r\n'
    file = head % (b"f", b'; filename="x"') + b"one--b two\r\n-- b"
    body = b"preamble\r\n--b\r\n" + head % (b"t", b"") + b"text\r\n--b\r\n" + file + b"\r\n--b--\r\n"
    parts = [(part.name, part.filename, part.data) for part in asked(body, FORM).parts()]
    assert parts == [("t", "", b"text"), ("f", "x", b"one--b two\r\n-- b")]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" + b"[]," * (2 * MB) + b"[]]", "application/json"),
        (b"&a=" * (2 * MB), "application/x-www-form-urlencoded"),
        (b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n' + b"x" * (5 * MB) + b"\r\n--b--", FORM),
    ],
)
def test_a_large_body_is_not_read_as_named_values(body: bytes, kind: str) -> None:
    from world.budget import Refused

    request = asked(body, kind)
    with costs_at_most(8, 2), pytest.raises(Refused) as caught:
        request.fields()
    assert caught.value.status == 413


def test_a_form_of_very_many_fields_is_a_bad_request() -> None:
    with costs_at_most(20, 2), pytest.raises(ValueError, match="fields"):
        asked(b"&a=" * MB, "application/x-www-form-urlencoded").fields()


def test_an_upload_in_tiny_chunks_is_refused_and_one_in_real_chunks_costs_its_size_twice() -> None:
    from world.services.objects import payload

    tiny = asked(b"2\r\nab\r\n" * MB + b"0\r\n\r\n", content_encoding="aws-chunked")
    with costs_at_most(1, 1), pytest.raises(ValueError, match="last chunk"):
        payload(tiny)
    real = asked(
        (b"2000;chunk-signature=0\r\n" + b"x" * 8192 + b"\r\n") * 1000 + b"3\r\nend\r\n0\r\n\r\n",
        content_encoding="aws-chunked",
    )
    with costs_at_most(20, 2):
        whole = payload(real)
    assert whole == b"x" * 8192_000 + b"end"


def test_what_was_packed_to_nothing_is_not_unpacked_whole() -> None:
    from world.budget import Refused
    from world.services.git import MAX_INFLATED, inflated

    assert inflated(gzip.compress(b"0032want")) == b"0032want"
    bomb = gzip.compress(bytes(8 * MAX_INFLATED), 9)
    with costs_at_most(2.5 * MAX_INFLATED / MB, 5), pytest.raises(Refused) as caught:
        inflated(bomb)
    assert caught.value.status == 413
    with pytest.raises(ValueError, match="gzip"):
        inflated(b"no gzip")


def test_a_push_is_weighed_by_what_it_makes_of_the_disk() -> None:
    from world.budget import Refused
    from world.services.git import weight_of_push

    line = b"%s %s refs/heads/%d\0 report-status"
    lines = [line % (b"0" * 40, b"1" * 40, number) for number in range(201)]
    framed = [b"%04x" % (len(text) + 4) + text for text in lines]
    pack = b"PACK\0\0\0\2" + (500).to_bytes(4, "big") + bytes(5000)
    assert weight_of_push(framed[0] + b"0000" + pack) > len(pack) + 500 * 32
    with pytest.raises(Refused):
        weight_of_push(b"".join(framed) + b"0000" + pack)
    with pytest.raises(ValueError, match="more objects"):
        weight_of_push(framed[0] + b"0000" + pack[:8] + b"\xff\xff\xff\xff")


async def test_a_body_in_very_many_pieces_is_refused_and_others_are_answered_meanwhile() -> None:
    async with serving({"pages": {"/": "x"}, "routes": [{"path": "/up", "method": "POST", "text": "ok"}]}) as (recorder, port):
        head = b"POST /up HTTP/1.1\r\nHost: site.example\r\nTransfer-Encoding: chunked\r\n\r\n"
        flood = asyncio.create_task(exchange(port, head + b"1\r\na\r\n" * 110_000 + b"0\r\n\r\n"))
        waits = []
        while not flood.done():
            begun = time.monotonic()
            assert await status(port, "/") == 200
            waits.append(time.monotonic() - begun)
        assert (await flood).startswith(b"HTTP/1.1 413")
        assert max(waits) < 2
    assert 413 in [r["status"] for r in recorder.requests()]


async def test_a_body_that_never_ends_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    import world.http

    monkeypatch.setattr(world.http, "WHOLE_BODY_SECONDS", 0.5)
    async with serving({"pages": {"/": "x"}}) as (recorder, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(20):
            writer.write(b"a")
            await asyncio.sleep(0.05)
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()
        assert await status(port, "/") == 200
    assert recorder.requests()[0]["status"] == 408


async def test_a_client_that_takes_nothing_of_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    import world.http

    monkeypatch.setattr(world.http, "SEND_SECONDS", 0.3)
    async with serving({"routes": [{"path": "/big", "size": 200 * MB}]}) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(get("/big"))
        await asyncio.sleep(1.5)
        with suppress(ConnectionError):
            assert await asyncio.wait_for(_all(reader), 20) < 100 * MB
        writer.close()
        assert await status(port, "/big", method="HEAD") == 200


async def _all(reader: asyncio.StreamReader) -> int:
    size = 0
    while block := await reader.read(MB):
        size += len(block)
    return size


STORES: dict[str, tuple[dict[str, Any], str, str, Any]] = {
    "paste": ({}, "POST", "/", b"x" * 2_000_000),
    "share": ({}, "PUT", "/a.bin", b"x" * 20_000_000),
    "objects": ({"buckets": [{"name": "vault"}]}, "PUT", "/vault/{}", b"x" * 20_000_000),
    "chat": ({}, "POST", "/api/channels/general/messages", {"text": "x" * 39_000}),
    "tickets": ({}, "POST", "/tickets", {"subject": "s", "body": "x" * 190_000}),
    "news": ({}, "POST", "/api/submissions", {"headline": "h", "body": "x" * 190_000}),
    "mail": ({"mailboxes": {"a@it.example": {}}}, "POST", "/api/messages", {"to": "a@it.example", "body": "x" * 900_000}),
}
"""Kind -> its options, and a request that has it keep something; `{}` is a number that counts up."""


@pytest.mark.parametrize("kind", STORES)
async def test_whatever_is_kept_takes_room_and_is_refused_when_there_is_none(kind: str) -> None:
    from world.budget import STORED, Refused

    options, method, target, sent = STORES[kind]
    party = service(type=kind, **options)
    raw = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    for number in range(300):
        try:
            answer = await party.ask(method, target.format(number), raw=raw, content_type="application/json")
        except Refused as error:
            answer = (error.status, "")
        if answer == {"error": "quota exceeded"} or (isinstance(answer, tuple) and answer[0] == 507):
            break
        party.recorder.parts.clear()
    else:
        raise AssertionError("it never ended")
    assert party.service._around.store.taken <= STORED


async def test_keys_and_uploads_without_data_cost_something_too() -> None:
    store = service(type="objects", buckets=[{"name": "vault"}])
    before = store.service._around.store.taken
    await store.ask("PUT", "/vault/" + "k" * 1000, raw=b"")
    assert store.service._around.store.taken - before > 2000
    assert "KeyTooLongError" in (await store.ask("PUT", "/vault/" + "k" * 2000, raw=b""))[1]
    answers = [await store.ask("POST", f"/vault/{n}?uploads", raw=b"") for n in range(101)]
    assert [answer[0] for answer in answers] == [200] * 100 + [503]


async def test_an_object_in_parts_is_held_once() -> None:
    store = service(type="objects", buckets=[{"name": "vault"}])
    begun = (await store.ask("POST", "/vault/big?uploads", raw=b""))[1]
    number = begun.partition("<UploadId>")[2].partition("</UploadId>")[0]
    part = bytes(range(256)) * 4096 * 4
    for index in range(1, 9):
        await store.ask("PUT", f"/vault/big?partNumber={index}&uploadId={number}", raw=part + bytes([index]))
    with costs_at_most(len(part) * 9 / MB, 5):
        assert (await store.ask("POST", f"/vault/big?uploadId={number}", raw=b""))[0] == 200
    assert store.service.state()["vault"]["big"]
    assert store.service._around.store.taken < len(part) * 9
    assert len(store.recorder.meanings()) == 1


@asynccontextmanager
async def talking(party: Party, protocol: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that has been greeted by the party's mail server; afterwards the server is done with it."""
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await getattr(party.service, protocol)(reader, writer, None)
        writer.close()
        left.set()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, limit=64 * 1024) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        await reader.readline()
        yield reader, writer
        writer.close()
        async with asyncio.timeout(10):
            await left.wait()


@asynccontextmanager
async def smtp(party: Party) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client in the middle of a session with the party's mail server."""
    async with talking(party, "smtp") as (reader, writer):
        writer.write(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ops@it.example>\r\nDATA\r\n")
        for _ in range(3):
            await reader.readline()
        yield reader, writer


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"Subject: x\r\n\r\n..dot\r\n.dots.\r\nend\r\n.\r\n", b"Subject: x\r\n\r\n.dot\r\ndots.\r\nend\r\n"),
        (b"Subject: bare\n\nline\n.\n", b"Subject: bare\r\n\r\nline\r\n"),
        (b".\r\n", b"\r\n"),
    ],
)
async def test_a_message_over_smtp_is_kept_as_it_was_meant(sent: bytes, kept: bytes) -> None:
    party = service(type="mail", mailboxes={"ops@it.example": {}})
    async with smtp(party) as (reader, writer):
        for byte in sent:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        writer.write(b"NOOP\r\n")
        assert (await reader.readline()).startswith(b"250 2.0.0 Ok: queued")
        assert await reader.readline() == b"250 2.0.0 Ok\r\n"
    assert party.service._boxes["ops@it.example"].messages[0].data == kept


async def test_mail_that_finds_no_room_is_refused_told_and_not_held() -> None:
    from world.budget import IN_FLIGHT

    party = service(type="mail", mailboxes={"ops@it.example": {}})
    async with smtp(party) as (reader, writer):
        with costs_at_most(60, 20):
            for _ in range(24):
                writer.write(b"\r\n" * (MB // 4))
                await writer.drain()
            writer.write(b"x" * (MB // 2) * 20 + b"\r\n.\r\n")
            await writer.drain()
            assert (await reader.readline()).startswith(b"552 5.3.4")
        writer.write(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ops@it.example>\r\nDATA\r\n")
        for _ in range(3):
            await reader.readline()
        party.service._around.held.take(IN_FLIGHT)
        writer.write(b"Subject: x\r\n\r\n" + b"x" * MB + b"\r\n.\r\nRSET\r\n")
        assert (await reader.readline()).startswith(b"452 4.3.1")
        assert (await reader.readline()).startswith(b"250")
        party.service._around.held.release(IN_FLIGHT)
    assert party.service._around.held.taken == 0
    assert [subject["why"] for _, subject in party.recorder.meanings()] == ["the message is too large", "there is no room left"]


async def test_a_message_that_the_store_has_no_room_for_is_an_event() -> None:
    from world.budget import STORED

    party = service(type="mail", mailboxes={"ops@it.example": {}})
    party.service._around.store.take(STORED)
    async with smtp(party) as (reader, writer):
        writer.write(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        assert (await reader.readline()).startswith(b"452 4.3.1")
    assert party.meanings() == ["mail.refused"]


def refused(party: Party) -> list[tuple[str, int]]:
    return [(subject["why"], subject["size"]) for name, subject in party.recorder.meanings() if name == "mail.refused"]


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
async def test_a_line_without_end_and_one_left_in_the_middle_are_told_with_their_beginning(protocol: str) -> None:
    party = service(type="mail", mailboxes={"ops@it.example": {}})
    async with talking(party, protocol) as (reader, writer):
        writer.write(b"SECRET" + b"x" * 26_000)
        with suppress(ConnectionError):
            assert await reader.read() == b""
    async with talking(party, protocol) as (_, writer):
        writer.write(b"HALF")
        await writer.drain()
    assert [why for why, _ in refused(party)] == ["a line that is too long", "the client left before this was read"]
    assert party.recorder.parts[0].startswith(b"SECRET")
    assert party.recorder.parts[1:] == [b"HALF"]


@pytest.mark.parametrize("protocol", ["smtp", "pop3"])
async def test_of_a_flood_of_lines_that_are_no_command_one_in_a_hundred_is_told_and_the_last(protocol: str) -> None:
    party = service(type="mail", mailboxes={"ops@it.example": {}})
    async with talking(party, protocol) as (reader, writer):
        for number in range(250):
            writer.write(f"SECRET-{number}\r\n".encode())
            await reader.readline()
        writer.write(b"QUIT\r\nafterwards")
        await reader.readline()
    counts = [subject.get("count") for name, subject in party.recorder.meanings() if name == "mail.refused"]
    assert counts == [1, 101, 201, 250, None]
    assert party.recorder.parts == [b"SECRET-0", b"SECRET-100", b"SECRET-200", b"SECRET-249", b"afterwards"]


@pytest.mark.parametrize("abrupt", [False, True])
async def test_a_message_that_was_never_finished_is_told_as_far_as_it_came(abrupt: bool) -> None:
    party = service(type="mail", mailboxes={"ops@it.example": {}})
    message = b"Subject: x\r\n\r\n" + b"secret\r\n" * 30_000
    async with smtp(party) as (_, writer):
        writer.write(message)
        await writer.drain()
        for _ in range(1000):
            await asyncio.sleep(0.01 if party.service._around.held.taken < len(message) else 0)
        if abrupt:
            writer.transport.abort()
    assert refused(party) == [("the message was never finished", len(message))]
    assert party.recorder.parts == [message]
    assert party.service._around.held.taken == 0


async def test_a_message_that_is_refused_is_told_with_its_beginning() -> None:
    from world.budget import IN_FLIGHT

    party = service(type="mail", mailboxes={"ops@it.example": {}})
    party.service._around.held.take(IN_FLIGHT)
    async with smtp(party) as (reader, writer):
        writer.write(b"Subject: secret\r\n\r\n" + b"x" * MB + b"\r\n.\r\n")
        assert (await reader.readline()).startswith(b"452 4.3.1")
    (_, subject), (part,) = party.recorder.meanings()[0], party.recorder.parts
    assert (subject["why"], subject["from"], subject["to"]) == ("there is no room left", "a@b.example", "ops@it.example")
    assert part.startswith(b"Subject: secret")


def test_a_budget_is_one_for_all_and_refuses_before_it_takes() -> None:
    from world.budget import Budget, Refused, weight

    whole = Budget(10_000)
    part = Budget(5_000, whole=whole)
    part.keep("a" * 2000)
    assert whole.taken == part.taken == weight("a" * 2000)
    with pytest.raises(Refused) as caught:
        part.keep("a" * 2000)
    assert (caught.value.status, whole.taken) == (507, part.taken)
    whole.take(6_000)
    with pytest.raises(Refused):
        part.take(1_500)
    part.forget("a" * 2000)
    assert (part.taken, whole.taken) == (0, 6_000)


async def test_a_state_that_is_too_long_for_a_line_is_told_by_its_digest() -> None:
    from world.__main__ import MAX_STATE, _told

    small, large = {"a": "b"}, {"a": "b" * MAX_STATE}
    assert _told(small) == small
    assert _told(large) == _told(dict(large)) != _told({"a": "c" * MAX_STATE})
    assert len(json.dumps(_told(large))) < 200


async def test_a_flood_of_heavy_requests_leaves_the_line_to_the_engine_time() -> None:
    """500 listings of a full bucket at once, while somebody else waits for his turn of the loop."""
    store = service(type="objects", buckets=[{"name": "vault"}])
    objects = store.service._buckets["vault"]
    first = await store.ask("PUT", "/vault/x", raw=b"")
    assert first[0] == 200
    for number in range(20_000):
        objects[f"k{number:06d}"] = objects["x"]
    from world.journal import Journal

    journal = Journal(Recorder())

    async def one() -> None:
        await journal.turn()
        await store.ask("GET", "/vault?list-type=2", raw=b"")

    flood = [asyncio.create_task(one()) for _ in range(100)]
    longest = 0.0
    while not all(task.done() for task in flood):
        begun = time.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - begun)
    assert longest < 1


HEAD = b'Content-Disposition: form-data; name="a"'
FRAGMENTS = st.sampled_from([b"--b", b"\r\n--b", b"\r\n--b--", b"\r\n\r\n", b"\r\n", HEAD, b'; filename="x"', b"\0", b"b"])
TOKENS = st.sampled_from([b"[", b"{", b'"a":', b"&a=", b"%", b"\\u", b"1e9", b"-"])


@given(st.lists(st.tuples(FRAGMENTS | st.binary(max_size=40), st.integers(1, 4000)), max_size=8))
def test_no_form_however_large_breaks_its_parser(pieces: list[tuple[bytes, int]]) -> None:
    body = b"".join(piece * times for piece, times in pieces)
    try:
        parts = asked(body, FORM).parts()
    except ValueError:
        return
    assert sum(len(part.data) for part in parts) <= len(body)
    assert len(parts) <= 1000


@given(
    st.sampled_from(["application/json", "application/x-www-form-urlencoded", FORM]),
    st.lists(st.tuples(TOKENS, st.integers(1, 20_000)), max_size=6),
)
def test_no_body_however_large_breaks_the_reading_of_fields(kind: str, pieces: list[tuple[bytes, int]]) -> None:
    from world.budget import Refused

    try:
        assert isinstance(asked(b"".join(piece * times for piece, times in pieces), kind).fields(), dict)
    except (ValueError, RecursionError, Refused):
        return


@given(st.integers(0, 3 << 20), st.text("0123456789-bytes=, ", max_size=24))
def test_no_range_asks_for_what_is_not_there(size: int, wanted: str) -> None:
    from world.budget import Refused
    from world.message import byte_range

    try:
        found = byte_range(wanted, size)
    except Refused as error:
        assert (error.status, error.headers) == (416, [("Content-Range", f"bytes */{size}")])
        return
    assert found is None or 0 <= found[0] <= found[1] < size
