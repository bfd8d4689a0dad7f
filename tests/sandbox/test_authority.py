"""The installation's certificate authority: made once, kept private, and its leaves are what a careful client accepts."""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.world.authority import Mint, intermediate, root


def test_the_root_is_made_once_and_its_key_is_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    with ThreadPoolExecutor(4) as pool:
        made = {issuer.pem for issuer in pool.map(lambda _: root(folder), range(8))}
    assert len(made) == 1
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in made.pop()


def test_subject_names_tell_nothing(tmp_path: Path) -> None:
    issuer = intermediate(root(tmp_path / "ca"))
    names = f"{issuer.certificate.subject.rfc4514_string()} {issuer.certificate.issuer.rfc4514_string()}".lower()
    assert not any(word in names for word in ("belljar", "sandbox", "test", "fake", "eval", "local"))


@pytest.mark.parametrize(
    ("asked", "accepted"), [("a.example", True), ("x.b.example", True), ("127.0.0.1", True), ("c.example", False)]
)
async def test_a_leaf_is_accepted_for_its_names_and_no_others(tmp_path: Path, asked: str, accepted: bool) -> None:
    authority = root(tmp_path / "ca")
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(Mint(intermediate(authority)).leaf(["a.example", "*.b.example", "127.0.0.1"]))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(leaf)
    trusting = ssl.create_default_context(cadata=authority.pem.decode())

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=serving) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=asked)
            writer.close()
            met = True
        except ssl.SSLCertVerificationError:
            met = False
    assert met == accepted
