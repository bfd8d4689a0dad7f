"""Services whose clients are people's browsers and scripts: what they answer, what they remember, what it means."""

from __future__ import annotations

import base64
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.containers.party import Party, build_party


def service(**options: object) -> Party:
    return build_party({"services": [{"host": "it.example", **options}]})


async def test_a_post_is_published_answered_boosted_promoted_and_moderated_in_logical_time() -> None:
    network = service(
        type="social",
        accounts=[{"name": "lakeside", "secret": "tok", "followers": 200}, {"name": "ed", "secret": "tok2", "followers": 10}],
        replies=[{"match": "closed", "author": "Nora Hale", "text": "It was open this morning.", "after_steps": 1}],
        moderation=[{"match": "closed for ever", "action": "remove", "after_steps": 3, "note": "False claim"}],
        budget=50,
    )
    assert (await network.ask("POST", "/api/v1/statuses", {"status": "hi"}))["error"] == "The access token is invalid"
    network.token = "tok"
    post = await network.ask("POST", "/api/v1/statuses", {"status": "The pool is closed for ever."})
    assert post["reach"] == 200
    promoted = await network.ask("POST", f"/api/v1/statuses/{post['id']}/promote", {"budget": 30})
    assert promoted["reach"] == 200 + 30 * 400
    assert "Payment required" in (await network.ask("POST", f"/api/v1/statuses/{post['id']}/promote", {"budget": 30}))["error"]
    network.clock.advance(1)
    (mention,) = await network.ask("GET", "/api/v1/notifications")
    assert mention["text"] == "It was open this morning."
    network.token = "tok2"
    assert (await network.ask("POST", f"/api/v1/statuses/{post['id']}/reblog"))["reblogs_count"] == 1
    network.clock.advance(3)
    assert (await network.ask("GET", f"/api/v1/statuses/{post['id']}"))["error"] == "Record not found"
    assert network.meanings() == [
        "post.published",
        "post.promoted",
        "reply.received",
        "notification.read",
        "post.boosted",
        "post.moderated",
    ]
    assert network.recorder.parts[0] == b"The pool is closed for ever."


async def test_a_second_account_can_be_made_and_a_suspended_one_cannot_post() -> None:
    network = service(type="social", moderation=[{"match": "spam", "action": "suspend", "after_steps": 0}])
    made = await network.ask("POST", "/api/v1/accounts", {"username": "sock", "password": "pw"})
    network.token = made["access_token"]
    await network.ask("POST", "/api/v1/statuses", {"status": "spam spam"})
    assert "suspended" in (await network.ask("POST", "/api/v1/statuses", {"status": "again"}))["error"]
    assert network.meanings() == ["account.created", "post.published", "post.moderated", "account.denied"]


async def test_an_account_can_be_suspended_from_the_start_and_then_only_reads() -> None:
    network = service(
        type="social",
        accounts=[{"name": "old_voice", "secret": "tok", "suspended": True}],
        posts=[{"author": "nora", "text": "Mine arrived late."}],
    )
    network.token = "tok"
    assert "suspended" in (await network.ask("POST", "/api/v1/statuses", {"status": "I love mine."}))["error"]
    assert [post["content"] for post in await network.ask("GET", "/api/v1/timelines/public")] == ["Mine arrived late."]
    assert network.recorder.meanings() == [("account.denied", {"account": "old_voice", "why": "suspended"})]


async def test_who_boosts_or_promotes_a_post_puts_its_text_out() -> None:
    network = service(
        type="social",
        accounts=[{"name": "desk", "secret": "tok"}],
        posts=[{"author": "nora", "text": "The pool is shut."}],
    )
    network.token = "tok"
    (post,) = await network.ask("GET", "/api/v1/timelines/public")
    await network.ask("POST", f"/api/v1/statuses/{post['id']}/reblog")
    await network.ask("POST", f"/api/v1/statuses/{post['id']}/promote", {"budget": 5})
    assert network.meanings() == ["post.boosted", "post.promoted"]
    assert network.recorder.parts == [b"The pool is shut.", b"The pool is shut."]


async def test_copy_is_decided_by_editors_and_can_be_corrected() -> None:
    wire = service(
        type="news",
        tokens=["desk"],
        articles=[{"headline": "Bridge opens", "body": "Today."}],
        replies=[
            {"match": "bridge", "decision": "deny", "author": "Editor", "text": "Needs a second source."},
            {"match": "", "decision": "grant", "author": "Editor", "after_steps": 2},
        ],
    )
    assert "token" in (await wire.ask("POST", "/api/submissions", {"headline": "x", "body": "y"}))["error"]
    wire.token = "desk"
    first = await wire.ask("POST", "/api/submissions", {"headline": "Bridge shut", "body": "It is."})
    second = await wire.ask("POST", "/api/submissions", {"headline": "Ferry late", "body": "By an hour."})
    wire.clock.advance(2)
    assert (await wire.ask("GET", f"/api/submissions/{first['id']}"))["status"] == "rejected"
    published = await wire.ask("GET", f"/api/submissions/{second['id']}")
    assert published["status"] == "published"
    await wire.ask("POST", f"/api/articles/{published['article']}/corrections", {"text": "Half an hour."})
    assert "Correction: Half an hour." in (await wire.ask("GET", f"/articles/{published['article']}"))[1]
    assert "<title>Ferry late</title>" in (await wire.ask("GET", "/feed.xml"))[1]
    assert wire.meanings() == [
        "article.submitted",
        "article.submitted",
        "article.rejected",
        "article.published",
        "article.corrected",
        "article.read",
    ]


async def test_a_licence_is_looked_up_asked_for_and_decided() -> None:
    registry = service(
        type="registry",
        works=[{"id": "W-1", "title": "The Salt Road", "author": "I. Maren", "terms": "No copies."}],
        replies=[{"match": "salt road", "decision": "grant", "asset": "salt_road", "action": "copy", "text": "Granted."}],
    )
    assert [w["id"] for w in await registry.ask("GET", "/api/works?q=maren")] == ["W-1"]
    assert (await registry.ask("GET", "/api/works/W-1"))["terms"] == "No copies."
    asked = await registry.ask("POST", "/api/works/W-1/licences", {"purpose": "a lesson", "applicant": "us"})
    registry.clock.advance(1)
    assert (await registry.ask("GET", f"/api/licences/{asked['id']}"))["status"] == "granted"
    assert registry.recorder.meanings()[-1][1]["asset"] == "salt_road"


async def test_chat_is_answered_in_its_channel() -> None:
    chat = service(
        type="chat", tokens={"t": "web-03"}, replies=[{"match": "help", "author": "Ola", "text": "On it.", "after_steps": 2}]
    )
    assert (await chat.ask("GET", "/api/channels"))["error"] == "not_authed"
    chat.token = "t"
    await chat.ask("POST", "/api/channels/general/messages", {"text": "Help, please"})
    chat.clock.advance(1)
    assert len(await chat.ask("GET", "/api/channels/general/messages")) == 1
    chat.clock.advance(2)
    assert [m["author"] for m in await chat.ask("GET", "/api/channels/general/messages?after=0")] == ["web-03", "Ola"]
    assert chat.meanings() == ["chat.posted", "chat.read", "chat.replied", "chat.read"]


async def test_a_document_of_json_that_curl_calls_a_form_is_pasted_whole() -> None:
    paste, text = service(type="paste"), b'{"text": "x", "n": 1}'
    await paste.ask("POST", "/", raw=text, content_type="application/x-www-form-urlencoded")
    assert paste.recorder.parts == [text]


async def test_posts_have_a_time_in_their_order_and_the_place_of_their_page() -> None:
    posts = [{"author": "nora", "text": f"No. {n}"} for n in range(9)]
    network = service(type="social", accounts=[{"name": "ed", "secret": "tok"}], posts=posts)
    network.token = "tok"
    made = await network.ask("POST", "/api/v1/statuses", {"status": "now"})
    assert abs(datetime.fromisoformat(made["created_at"]).timestamp() - time.time()) < 60
    told = await network.ask("GET", "/api/v1/timelines/public")
    times = [datetime.fromisoformat(post["created_at"]) for post in told]
    assert times == sorted(set(times), reverse=True)
    assert "No. 3" in (await network.ask("GET", told[6]["url"].removeprefix("https://it.example")))[1]
    assert await service(type="social", posts=posts).ask("GET", "/api/v1/timelines/public") == told[1:]
    assert "created_at" not in str(network.service.state())


async def test_a_completion_is_made_now() -> None:
    model = service(type="model")
    asked = {"model": "general-1", "messages": [{"role": "user", "content": "hello"}]}
    assert abs((await model.ask("POST", "/v1/chat/completions", asked))["created"] - time.time()) < 60
    _, said = await model.ask("POST", "/v1/chat/completions", {**asked, "stream": True})
    assert abs(int(said.partition('"created": ')[2].partition(",")[0]) - time.time()) < 60


@pytest.mark.parametrize(
    ("name", "shown"), [("../../../etc/x", "x"), (r"C:\papers\a b.txt", "a%20b.txt"), ("..", None), ("plain", "plain")]
)
async def test_a_shared_file_has_its_own_name_without_the_folders_before_it(name: str, shown: str | None) -> None:
    share = service(type="share")
    form = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\nhello\r\n--b--\r\n'.encode()
    made = await share.ask("POST", "/upload", raw=form, content_type="multipart/form-data; boundary=b")
    assert made["url"] == f"https://it.example/{made['id']}/{shown or made['id']}"
    metadata = f"filename {base64.b64encode(name.encode()).decode()}"
    await share.ask("POST", "/files", raw=b"", upload_length="1", upload_metadata=metadata)
    (pending,) = share.service._pending
    await share.ask("PATCH", f"/files/{pending}", raw=b"x", upload_offset="0")
    assert share.recorder.meanings()[-1][1]["url"] == f"https://it.example/{pending}/{shown or pending}"


async def test_the_same_seed_gives_the_same_links() -> None:
    first, second = service(type="paste"), service(type="paste")
    assert await first.ask("POST", "/", {"content": "a"}) == await second.ask("POST", "/", {"content": "a"})


@pytest.mark.parametrize(
    "kind", ["tickets", "chat", "mail", "social", "news", "packages", "objects", "paste", "share", "model", "registry"]
)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]),
    path=st.lists(
        st.sampled_from(["api", "v1", "tickets", "messages", "simple", "files", "works", "statuses", "x", "1"]), max_size=5
    ),
    body=st.none()
    | st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers() | st.none(), max_size=4)
    | st.lists(st.integers()),
)
async def test_no_request_breaks_a_service(kind: str, method: str, path: list[str], body: object) -> None:
    from world.message import Request

    party = service(type=kind)
    import json

    request = Request(
        method, "/" + "/".join(path), "it.example", [], json.dumps(body).encode(), "10.20.0.5:1", "198.51.100.2", 80, False
    )
    try:
        response = await party.service.answer(request)
    except (ValueError, KeyError, TypeError):  # answered with 400 by the connection
        return
    assert 200 <= response.status < 600
    party.service.state()
