"""The blob store: what goes in comes out, nothing altered comes out, and contents say what was cut."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import InfrastructureError, IntegrityError
from sandbox.record import blobs
from sandbox.record.blobs import BlobStore


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def _file(store: BlobStore, digest: str) -> Path:
    (found,) = (store.root / digest[:2]).glob(digest + "*")
    return found


@given(st.binary(max_size=3000) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(0, 500)))
def test_anything_put_in_comes_out(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    digest = store.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.get(digest) == data
    assert digest in store


def _got(store: BlobStore, digest: str) -> bytes | None:
    try:
        return store.get(digest)
    except IntegrityError:
        return None


def test_equal_bodies_are_kept_once_and_compressed_where_that_is_smaller(store: BlobStore) -> None:
    text, noise = b"the same line\n" * 1000, os.urandom(5000)
    assert store.put(text) == store.put(text)
    digests = sorted([store.put(text), store.put(noise)])
    assert list(store) == digests
    assert _file(store, store.put(text)).stat().st_size < 500
    assert zstandard.decompress(_file(store, store.put(text)).read_bytes()) == text
    assert _file(store, store.put(noise)).read_bytes() == noise


@given(st.binary(max_size=3000) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(0, 500)))
def test_a_size_is_that_of_what_comes_out(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    assert store.size(store.put(data)) == len(data)
    with pytest.raises(IntegrityError, match="larger"):
        store.size(store.put(data + b"x"), limit=len(data))


def test_a_missing_blob_is_named(store: BlobStore) -> None:
    with pytest.raises(IntegrityError, match="missing") as caught:
        store.get("ab" * 32)
    assert caught.value.place.endswith("ab/" + "ab" * 32)


@pytest.mark.parametrize("data", [b"short", b"long enough to be packed " * 100], ids=["as it is", "packed"])
def test_an_altered_blob_is_noticed_whichever_byte_changed(store: BlobStore, data: bytes) -> None:
    digest = store.put(data)
    file = _file(store, digest)
    stored = file.read_bytes()
    for at in range(len(stored)):
        changed = stored[:at] + bytes([stored[at] ^ 0x55]) + stored[at + 1 :]
        file.write_bytes(changed)
        got = _got(store, digest)
        assert got is None or got == data == zstandard.decompress(changed), "only a change without meaning may pass"
    file.write_bytes(stored[:-1])
    with pytest.raises(IntegrityError):
        store.get(digest)


def test_a_blob_that_unpacks_to_too_much_is_refused(store: BlobStore) -> None:
    digest = store.put(bytes(50_000_000))
    assert _file(store, digest).stat().st_size < 10_000
    with pytest.raises(IntegrityError, match="larger than 1,000 bytes"):
        store.get(digest, limit=1000)


def test_a_body_that_could_not_be_read_again_is_not_stored(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "MAX_BLOB", 1000)
    with pytest.raises(InfrastructureError, match="1,001 bytes is too large"):
        store.put(bytes(1001))


@pytest.mark.parametrize("digest", ["../../etc/passwd", "", "AB" * 32, "ab" * 31 + "/x", "ab" * 33])
def test_a_name_that_is_no_digest_is_never_looked_for(store: BlobStore, digest: str) -> None:
    assert digest not in store
    with pytest.raises(IntegrityError, match="missing"):
        store.get(digest)


def test_a_symbolic_link_is_not_followed(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put(b"here")
    file = _file(store, digest)
    (tmp_path / "elsewhere").write_bytes(b"here")
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="symbolic link"):
        store.get(digest)


def test_short_text_stands_in_the_event(store: BlobStore) -> None:
    content = store.keep("grüße\n".encode())
    assert (content.text, content.size, content.complete, content.stored) == ("grüße\n", 8, True, False)
    assert not store.root.exists()


def test_long_text_keeps_head_and_tail_and_says_what_was_cut(store: BlobStore) -> None:
    data = b"".join(b"line %06d\n" % k for k in range(10_000))
    content = store.keep(data, 1000)
    assert content.text.startswith("line 000000\n")
    assert content.text.endswith("line 009999\n")
    assert "\n[… 119,000 bytes cut …]\n" in content.text
    assert (content.size, content.complete, content.stored) == (120_000, False, True)
    assert store.get(content.sha256) == data


def test_bytes_that_are_not_text_are_stored_whatever_their_size(store: BlobStore) -> None:
    content = store.keep(b"ok \xff\xfe")
    assert content.text == "ok \ufffd\ufffd"
    assert (content.complete, content.stored) == (False, True)
    assert store.get(content.sha256) == b"ok \xff\xfe"


@given(st.text(max_size=400).map(lambda text: text.encode("utf-8", "ignore")), st.integers(0, 300))
def test_a_cut_never_splits_a_character(tmp_path_factory: pytest.TempPathFactory, data: bytes, limit: int) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    content = store.keep(data, limit)
    assert content.text.count("\ufffd") <= data.decode().count("\ufffd")
    if content.complete:
        assert content.text.encode() == data
    else:
        head, _, tail = content.text.partition("\n[… ")
        assert data.startswith(head.encode())
        assert data.endswith(tail.partition(" bytes cut …]\n")[2].encode())
        assert len(head.encode()) <= limit


@given(st.binary(max_size=400), st.integers(0, 300))
def test_any_bytes_make_a_content_that_leads_back_to_them(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, limit: int
) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    content = store.keep(data, limit)
    assert content.size == len(data)
    assert content.sha256 == hashlib.sha256(data).hexdigest()
    assert (store.get(content.sha256) if content.stored else content.text.encode()) == data
