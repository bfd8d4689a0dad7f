"""The object store's listings, as clients that follow every page see them."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.containers.party import Party, build_party

KEYS = [*(f"a/{n:02d}" for n in range(7)), "b", "c/1", "c/2/3", "d", "e/1"]


def store() -> Party:
    buckets = [{"name": "vault", "objects": dict.fromkeys(KEYS, "x")}]
    return build_party({"services": [{"type": "objects", "host": "s3.example", "buckets": buckets}]})


async def follow(party: Party, size: int, **wanted: str) -> list[list[str]]:
    """Keys and prefixes of every page of a listing."""
    pages, token, second = [], "", "list-type" in wanted
    while True:
        query = {**wanted, "max-keys": str(size), **({"continuation-token" if second else "marker": token} if token else {})}
        text = (await party.ask("GET", "/vault?" + "&".join(f"{k}={quote(v)}" for k, v in query.items()), raw=b""))[1]
        pages.append(re.findall(r"<(?:Contents><Key|CommonPrefixes><Prefix)>([^<]*)<", text))
        assert f"<KeyCount>{len(pages[-1])}<" in text or not second
        found = re.search(r"<Next(?:ContinuationToken|Marker)>([^<]*)<", text)
        assert ("<IsTruncated>true<" in text) == bool(found)
        if not found:
            return pages
        token = found[1]


@pytest.mark.parametrize("version", [{"list-type": "2"}, {}])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_keys_and_prefixes_come_in_order_once_each_however_small_the_pages(version: dict[str, str], size: int) -> None:
    def whole(pages: list[list[str]]) -> list[str]:
        assert all(len(page) <= size for page in pages)
        return [name for page in pages for name in page]

    assert whole(await follow(store(), size, **version)) == KEYS
    assert whole(await follow(store(), size, delimiter="/", **version)) == ["a/", "b", "c/", "d", "e/"]
    assert whole(await follow(store(), size, prefix="a/", **version)) == KEYS[:7]
    assert whole(await follow(store(), size, prefix="c/", delimiter="/", **version)) == ["c/1", "c/2/"]


async def test_a_listing_dates_an_object_as_its_own_head_does() -> None:
    from email.utils import parsedate_to_datetime

    from world.message import Request

    party = store()
    await party.ask("PUT", "/vault/new", raw=b"x")
    listed = (await party.ask("GET", "/vault?list-type=2", raw=b""))[1]
    for key in ("b", "new"):
        request = Request("HEAD", f"/vault/{key}", "s3.example", [], b"", "10.20.0.5:1", "198.51.100.2", 80, False)
        dated = parsedate_to_datetime(dict((await party.service.answer(request)).headers)["Last-Modified"])
        assert f"<Key>{key}</Key><LastModified>{dated:%Y-%m-%dT%H:%M:%S}.000Z<" in listed
    assert "2025-06-03T08:31:00.000Z" in listed


async def test_keys_can_be_asked_for_in_an_encoding_that_xml_can_carry() -> None:
    party = store()
    await party.ask("PUT", "/vault/" + quote("\x01 é"), raw=b"x")
    listed = (await party.ask("GET", "/vault?list-type=2&encoding-type=url&prefix=%01", raw=b""))[1]
    assert "<Key>%01%20%C3%A9</Key>" in listed
    assert "<EncodingType>url</EncodingType>" in listed
    assert "InvalidArgument" in (await party.ask("GET", "/vault?max-keys=-1", raw=b""))[1]


async def sent(party: Party, method: str, target: str, raw: bytes = b"", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of one answer."""
    from world.message import Request

    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    request = Request(method, target, "s3.example", given, raw, "10.20.0.5:1", "198.51.100.2", 80, False)
    response = await party.service.answer(request)
    return response.status, dict(response.headers), response.body.decode()


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("/vault?versioning", 200, "<VersioningConfiguration "),
        ("/vault?acl", 200, "<Permission>FULL_CONTROL<"),
        ("/vault/b?acl", 200, "<Permission>FULL_CONTROL<"),
        ("/vault?policy", 404, "<Code>NoSuchBucketPolicy<"),
        ("/vault?tagging", 404, "<Code>NoSuchTagSet<"),
        ("/vault?cors", 404, "<Code>NoSuchCORSConfiguration<"),
        ("/vault/b?tagging", 200, "<TagSet/>"),
        ("/vault/b?torrent", 501, "<Code>NotImplemented<"),
        ("/vault/b?uploadId=1", 501, "<Code>NotImplemented<"),
        ("/vault?uploads", 501, "<Code>NotImplemented<"),
        ("/vault?versions", 501, "<Code>NotImplemented<"),
        ("/vault/none?tagging", 404, "<Code>NoSuchKey<"),
        ("/none?acl", 404, "<Code>NoSuchBucket<"),
    ],
)
async def test_what_a_store_tells_beside_contents_is_no_listing_and_no_download(target: str, status: int, said: str) -> None:
    party = store()
    found, _, text = await sent(party, "GET", target)
    assert (found, said in text) == (status, True), text
    assert party.meanings() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("target", ["/vault?policy", "/vault/b?tagging", "/vault/b?acl"])
async def test_what_cannot_be_set_beside_contents_changes_no_contents(method: str, target: str) -> None:
    party = store()
    before = party.service.state()
    assert (await sent(party, method, target, b"<x/>"))[0] == 501
    assert (party.service.state(), party.meanings()) == (before, [])


async def test_an_error_has_its_own_request_id_the_same_one_whatever_came_before() -> None:
    async def ids(*targets: str) -> dict[str, str]:
        party, found = store(), {}
        for target in targets:
            _, headers, text = await sent(party, "GET", target)
            found[target] = headers["x-amz-request-id"]
            assert f"<RequestId>{found[target]}</RequestId>" in text
        return found

    first, second = await ids("/vault/no", "/none"), await ids("/none", "/vault/no")
    assert first == second
    assert len(set(first.values())) == 2


async def test_only_a_signature_shows_who_may_read_a_public_bucket() -> None:
    buckets = [{"name": "vault", "public": True, "objects": {"b": "x"}}]
    party = build_party({"services": [{"type": "objects", "host": "s3.example", "buckets": buckets, "keys": {"AKIA": "s"}}]})
    assert (await sent(party, "GET", "/vault/b"))[0] == 200
    assert (await sent(party, "GET", "/vault?acl"))[0] == 403


async def test_what_a_client_tells_of_an_object_comes_back_with_it_and_gives_its_room_back() -> None:
    party = store()
    room = party.service._around.store.taken
    await sent(party, "PUT", "/vault/new", b"x", x_amz_meta_k="v", x_amz_meta_name="Zoë")
    for method in ("GET", "HEAD"):
        told = (await sent(party, method, "/vault/new"))[1]
        assert (told["x-amz-meta-k"], told["x-amz-meta-name"]) == ("v", "=?UTF-8?B?Wm/Dqw==?=")
    await sent(party, "PUT", "/vault/same", x_amz_copy_source="/vault/new")
    await sent(
        party, "PUT", "/vault/other", x_amz_copy_source="/vault/new", x_amz_metadata_directive="REPLACE", x_amz_meta_k="w"
    )
    _, _, begun = await sent(party, "POST", "/vault/large?uploads", x_amz_meta_k="p", content_type="text/csv")
    (number,) = re.findall("<UploadId>(.*)</UploadId>", begun)
    await sent(party, "PUT", f"/vault/large?partNumber=1&uploadId={number}", b"x")
    await sent(party, "POST", f"/vault/large?uploadId={number}")
    found = {key: (await sent(party, "GET", f"/vault/{key}"))[1] for key in ("same", "other", "large")}
    assert {key: told["x-amz-meta-k"] for key, told in found.items()} == {"same": "v", "other": "w", "large": "p"}
    assert found["large"]["Content-Type"] == "text/csv"
    assert (await sent(party, "PUT", "/vault/new", b"x", x_amz_meta_k="v" * 3000))[0] == 400
    for key in ("new", "same", "other", "large"):
        await sent(party, "DELETE", f"/vault/{key}")
    assert party.service._around.store.taken == room
