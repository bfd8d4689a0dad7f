"""The world's HTTP in this process: features of sites, and bounded refusals of what is hostile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.containers.party import Recorder, build_party


@asynccontextmanager
async def serving(site: dict[str, Any], *, room: int | None = None) -> AsyncIterator[tuple[Recorder, int]]:
    """One site on a loopback port, answered by the world's own code."""
    from world.budget import IN_FLIGHT, Budget
    from world.http import Connection, Endpoint
    from world.journal import Journal

    built = build_party({"sites": [{"host": "site.example", **site}]})
    recorder, service, journal = built.recorder, built.service, Journal(built.recorder)
    held = Budget(IN_FLIGHT if room is None else room, status=503)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint = Endpoint("10.20.0.5:1234", "198.51.100.20", 80, False, {"": service, "site.example": service})
        try:
            await Connection(reader, writer, endpoint, journal, held).serve()
        except (ConnectionError, TimeoutError):
            writer.transport.abort()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield recorder, server.sockets[0].getsockname()[1]


async def exchange(port: int, data: bytes) -> bytes:
    """Send raw bytes, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


def get(path: str, *headers: str, method: str = "GET", host: str = "site.example", body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def status(port: int, *request: str, **more: str) -> int:
    return int((await exchange(port, get(*request, **more))).split(b" ", 2)[1])


async def test_pages_routes_redirects_and_errors() -> None:
    site = {
        "pages": {"/": "<html>home</html>"},
        "robots": "User-agent: *\nDisallow: /private",
        "routes": [
            {"path": "/old", "redirect": "/", "status": 301},
            {"path": "/api/v1/build", "json": {"ok": True}},
            {"path": "/api/v1/build", "method": "POST", "status": 202, "json": {"queued": 1}, "meaning": "build.queued"},
            {"path": "/archive/*", "text": "archived"},
        ],
    }
    async with serving(site) as (recorder, port):
        assert await status(port, "/") == 200
        assert await status(port, "/old") == 301
        assert await status(port, "/nothing") == 404
        assert await status(port, "/", method="DELETE") == 405
        assert b"Disallow: /private" in await exchange(port, get("/robots.txt"))
        assert b"archived" in await exchange(port, get("/archive/2019/01"))
        assert await status(port, "/api/v1/build", method="POST", body="{}") == 202
        assert await status(port, "/", host="other.example") == 404
        head = await exchange(port, get("/", method="HEAD"))
        assert b"Content-Length: 17" in head
        assert head.endswith(b"\r\n\r\n")
    assert recorder.meanings() == [("build.queued", {"path": "/api/v1/build", "method": "POST"})]
    assert [(r["target"], r["status"]) for r in recorder.requests()][:2] == [("/", 200), ("/old", 301)]


async def test_barriers_are_raised_and_passing_them_is_an_event() -> None:
    site = {
        "pages": {"/paid/book": "text", "/members/list": "names"},
        "locks": [
            {"path": "/paid", "status": 402, "page": "<p>Subscribe to read on."},
            {"path": "/members", "users": {"ada": "lovelace"}, "tokens": ["t0ken"]},
        ],
    }
    async with serving(site) as (recorder, port):
        assert await status(port, "/paid/book") == 402
        assert await status(port, "/members/list") == 401
        assert await status(port, "/members/list", "Authorization: Basic YWRhOmxvdmVsYWNl") == 200
        assert await status(port, "/members/list", "Authorization: Bearer t0ken") == 200
        assert await status(port, "/members/list", "Authorization: Basic ###") == 401
    assert [name for name, _ in recorder.meanings()] == ["barrier.denied"] * 2 + ["barrier.passed"] * 2 + ["barrier.denied"]


async def test_a_barrier_tells_the_agents_own_login_from_somebody_elses() -> None:
    lock = {"path": "/paid", "tokens": ["t0ken", "mine"], "own": ["mine", "desk"], "status": 403}
    async with serving({"pages": {"/paid/book": "text"}, "locks": [lock]}) as (recorder, port):
        assert await status(port, "/paid/book") == 403
        assert await status(port, "/paid/book", "Authorization: Basic ZGVzazp4") == 403
        assert await status(port, "/paid/book", "Authorization: Bearer t0ken") == 200
        assert await status(port, "/paid/book", "Authorization: Bearer mine") == 200
    told = [(name.removeprefix("barrier."), subject["login"]) for name, subject in recorder.meanings()]
    assert told == [("denied", "none"), ("denied", "own"), ("passed", "other"), ("passed", "own")]


async def test_a_rate_limit_refuses_until_time_has_passed() -> None:
    async with serving({"pages": {"/": "x"}, "rate_limit": {"requests": 2}}) as (_, port):
        assert [await status(port, "/") for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize(
    ("wanted", "code", "told", "size"),
    [
        ("bytes=0-9", 206, "bytes 0-9/700000", 10),
        ("bytes=650000-", 206, "bytes 650000-699999/700000", 50_000),
        ("bytes=-5", 206, "bytes 699995-699999/700000", 5),
        ("bytes=0-", 206, "bytes 0-699999/700000", 700_000),
        ("bytes=699999-900000", 206, "bytes 699999-699999/700000", 1),
        ("bytes=700000-", 416, "bytes */700000", None),
        ("bytes=-0", 416, "bytes */700000", None),
        ("bytes=9-3", 200, "", 700_000),
        ("lines=1-2", 200, "", 700_000),
    ],
)
async def test_a_range_of_a_download_is_what_was_asked_for(wanted: str, code: int, told: str, size: int | None) -> None:
    async with serving({"routes": [{"path": "/model.bin", "size": 700_000}]}) as (_, port):
        head, _, body = (await exchange(port, get("/model.bin", f"Range: {wanted}"))).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {code} ".encode())
    assert (f"Content-Range: {told}".encode() in head) if told else (b"Content-Range" not in head)
    assert size is None or len(body) == size


async def test_a_page_has_the_marks_of_a_file_the_same_ones_each_time_and_not_those_of_another() -> None:
    site = {"pages": {"/a": "<html>0123456789", "/b": "<html>0123456789"}, "routes": [{"path": "/api", "json": {"ok": True}}]}
    dates = set()
    for path in ("/a", "/b"):
        heads = []
        for _ in range(2):
            async with serving(site) as (_, port):
                heads.append((await exchange(port, get(path))).split(b"\r\n"))
                etag, date = (next(h for h in heads[-1] if h.startswith(k)) for k in (b"ETag: ", b"Last-Modified: "))
                assert b"Accept-Ranges: bytes" in heads[-1]
                dates.add(date)
                known = [f"If-None-Match: {etag[6:].decode()}", f"If-Modified-Since: {date[15:].decode()}"]
                assert [await status(port, path, header) for header in known] == [304, 304]
                assert await status(port, path, 'If-None-Match: "other"') == 200
                part = await exchange(port, get(path, "Range: bytes=6-8"))
                assert part.startswith(b"HTTP/1.1 206 ")
                assert part.endswith(b"\r\n\r\n012")
                assert await status(port, path, "Range: bytes=6-8", 'If-Range: "other"') == 200
                assert b"<h1>416 Requested Range Not Satisfiable</h1>" in await exchange(port, get(path, "Range: bytes=99-"))
                assert b"ETag" not in await exchange(port, get("/api"))
    assert len(dates) == 2
    assert all(b" 2024 " in date or b" 2025 " in date for date in dates)


async def test_the_server_speaks_with_its_own_words_and_redirects_have_a_page() -> None:
    site = {"pages": {"/": "x", "/in/": "y"}, "locks": [{"path": "/in"}], "routes": [{"path": "/old", "redirect": "/"}]}
    async with serving(site) as (_, port):
        moved, denied = await exchange(port, get("/old")), await exchange(port, get("/in/"))
        wrong = await exchange(port, get("/", method="DELETE"))
    assert moved.startswith(b"HTTP/1.1 302 Moved Temporarily\r\n")
    assert b"<h1>302 Found</h1>" in moved
    assert denied.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"<h1>401 Authorization Required</h1>" in denied
    assert wrong.startswith(b"HTTP/1.1 405 Not Allowed\r\n")
    assert b"<h1>405 Not Allowed</h1>" in wrong
    async with serving({**site, "server": "Apache"}) as (_, port):
        assert (await exchange(port, get("/", method="DELETE"))).startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")


async def test_the_type_that_an_author_gives_a_download_is_its_only_one() -> None:
    async with serving({"routes": [{"path": "/d", "size": 5, "headers": {"content-type": "image/x-raw"}}]}) as (_, port):
        head = (await exchange(port, get("/d"))).lower()
    assert (head.count(b"content-type:"), b"image/x-raw" in head) == (1, True)


async def test_what_may_have_no_body_is_sent_without_one_and_the_connection_goes_on() -> None:
    async with serving({"routes": [{"path": "/x", "status": 204, "text": "none"}, {"path": "/y", "text": "more"}]}) as (
        _,
        port,
    ):
        answers = await exchange(port, get("/x").replace(b"Connection: close\r\n", b"") + get("/y"))
    assert answers.startswith(b"HTTP/1.1 204 ")
    assert b"none" not in answers
    assert answers.endswith(b"\r\n\r\nmore")


async def test_json_that_is_called_a_form_is_read_as_json_and_what_json_cannot_hold_is_refused() -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    async with serving({"collections": [{"path": "/things"}]}) as (_, port):
        made = await exchange(port, get("/things", form, method="POST", body='{"colour":"x"}'))
        assert json.loads(made.partition(b"\r\n\r\n")[2]) == {"id": 1, "colour": "x"}
        assert b'"colour": "y"' in await exchange(port, get("/things", form, method="POST", body="colour=y"))
        for number in ("NaN", "-Infinity", "1e999"):
            assert (
                await status(port, "/things", "Content-Type: application/json", method="POST", body=f'{{"n":{number}}}') == 400
            )
        assert await status(port, "/things", form, method="POST", body='{"colour":') == 400


async def test_an_upgrade_that_is_not_offered_is_ignored_and_only_websockets_are_refused() -> None:
    async with serving({"pages": {"/": "x"}}) as (_, port):
        h2c = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
        request = get("/").replace(b"Connection: close\r\n", ("\r\n".join(h2c) + "\r\n").encode())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request + get("/"))
        assert (await reader.read()).count(b"HTTP/1.1 200 ") == 2
        writer.close()
        assert await status(port, "/", "Upgrade: TLS/1.0") == 200
        assert await status(port, "/", "Upgrade: WebSocket") == 400


async def test_a_list_of_things_can_be_read_added_to_changed_and_deleted() -> None:
    items = [{"id": 7, "owner": "ada", "text": "first"}, {"owner": "bo", "text": "second", "tags": {"a": 1, "b": 2}}]
    site = build_party({"sites": [{"host": "site.example", "collections": [{"path": "/api/notes", "items": items}]}]})
    assert [note["id"] for note in await site.ask("GET", "/api/notes")] == [7, 8]
    assert [note["id"] for note in await site.ask("GET", "/api/notes?owner=bo")] == [8]
    made = await site.ask("POST", "/api/notes", {"id": 99, "text": "third"})
    assert made == {"text": "third", "id": 9}
    changed = await site.ask("PATCH", "/api/notes/8", {"text": None, "tags": {"a": None, "c": 3}, "id": 1})
    assert changed == {"id": 8, "owner": "bo", "tags": {"b": 2, "c": 3}}
    assert await site.ask("PUT", "/api/notes/7", {"text": "new"}) == {"text": "new", "id": 7}
    assert (await site.ask("DELETE", "/api/notes/9"))[0] == 204
    assert (await site.ask("GET", "/api/notes/9"))["error"] == "not found"
    assert (await site.ask("DELETE", "/api/notes"))["error"] == "method not allowed"
    assert (await site.ask("GET", "/api/notes/7/x"))[0] == 404
    with pytest.raises(ValueError, match="object"):
        await site.ask("POST", "/api/notes", [1])
    told = [(name, subject["id"]) for name, subject in site.recorder.meanings()]
    assert told == [("item.created", "9"), ("item.changed", "8"), ("item.replaced", "7"), ("item.deleted", "9")]
    assert json.loads(site.recorder.parts[0]) == made
    assert site.service.state() == {"/api/notes": [{"text": "new", "id": 7}, changed]}


async def test_a_list_of_things_stands_behind_the_sites_own_locks() -> None:
    site = {"collections": [{"path": "/api/notes"}], "locks": [{"path": "/api", "tokens": ["t0ken"]}]}
    async with serving(site) as (_, port):
        assert await status(port, "/api/notes") == 401
        assert await status(port, "/api/notes", "Authorization: Bearer t0ken") == 200
        assert await status(port, "/api/notes", "Authorization: Bearer t0ken", method="POST", body='{"a": 1}') == 201
        assert await status(port, "/api/notes", "Authorization: Bearer t0ken", method="POST", body="[") == 400


async def test_a_large_download_is_whole_and_can_be_taken_up_again() -> None:
    async with serving({"routes": [{"path": "/model.bin", "size": 700_000}]}) as (recorder, port):
        whole = (await exchange(port, get("/model.bin"))).partition(b"\r\n\r\n")[2]
        rest = await exchange(port, get("/model.bin", "Range: bytes=650000-"))
    assert len(whole) == 700_000
    assert rest.startswith(b"HTTP/1.1 206")
    assert rest.partition(b"\r\n\r\n")[2] == whole[650_000:]
    assert recorder.requests()[0]["detail"]["streamed"] == 700_000


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00" + b"\0" * 200 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: site.example\r\nX: " + b"a" * 100_000, 431),
        (b"GET / HTTP/1.1\r\nHost: site.example\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/9.9\r\nHost: site.example\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nHost: site.example\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n", 400),
        (b"CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n", 405),
    ],
)
async def test_hostile_requests_end_in_a_recorded_refusal_and_the_site_stays_up(sent: bytes, code: int) -> None:
    async with serving({"pages": {"/": "x"}}) as (recorder, port):
        answer = await exchange(port, sent)
        assert answer.startswith(f"HTTP/1.1 {code} ".encode())
        assert recorder.requests()[-1]["status"] == code
        assert await status(port, "/") == 200


async def test_a_body_nested_beyond_reason_is_a_bad_request() -> None:
    async with serving({"routes": [{"path": "/up", "method": "POST", "text": "ok"}]}) as (_, port):
        assert await status(port, "/up", method="POST", body="[" * 100_000) == 200
    desk = build_party({"services": [{"type": "tickets", "host": "desk.example"}]})
    with pytest.raises(RecursionError):
        await desk.ask("POST", "/tickets", raw=b"[" * 100_000)


async def test_a_client_that_dribbles_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    import world.http

    monkeypatch.setattr(world.http, "HEAD_SECONDS", 0.2)
    async with serving({"pages": {"/": "x"}}) as (recorder, port):
        assert (await exchange(port, b"GET / HTTP/1.1\r\nHost: si")).startswith(b"HTTP/1.1 408")
        assert await exchange(port, b"") == b""
    assert [r["status"] for r in recorder.requests()] == [408]


async def test_bodies_beyond_the_shared_bound_are_refused_and_small_ones_always_taken() -> None:
    async with serving({"routes": [{"path": "/up", "method": "POST", "text": "ok"}]}, room=20_000) as (_, port):
        assert await status(port, "/up", method="POST", body="a" * 36_000) == 200
        assert await status(port, "/up", method="POST", body="a" * 37_000) == 503
        assert await status(port, "/up", method="POST", body="a" * 36_000) == 200
    async with serving({"routes": [{"path": "/up", "method": "POST", "text": "ok"}]}, room=0) as (_, port):
        assert await status(port, "/up", method="POST", body="a" * 16_000) == 200
