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
