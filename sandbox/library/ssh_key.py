"""An Ed25519 key pair made from a seed, in OpenSSH's own file format, so that the same seed plants the same key.

The file is laid out here (OpenSSH's PROTOCOL.key, unencrypted), since every library puts random check bytes into it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import struct
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class SshKey(NamedTuple):
    """`private` is the text of an `id_ed25519` file, `public` the line for `authorized_keys` (no line end)."""

    private: str
    public: str


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


@functools.lru_cache(maxsize=256)
def ssh_key(secret: bytes, comment: str) -> SshKey:
    """The pair of a 32-byte secret; `comment` is what `ssh-keygen` would call the key."""
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    kind = b"ssh-ed25519"
    blob = _text(kind) + _text(public)
    check = hashlib.sha256(b"check" + secret).digest()[:4]
    inner = check + check + _text(kind) + _text(public) + _text(secret + public) + _text(comment.encode())
    inner += bytes(range(1, 1 + -len(inner) % 8))
    outer = (
        b"openssh-key-v1\0" + _text(b"none") + _text(b"none") + _text(b"") + struct.pack(">I", 1) + _text(blob) + _text(inner)
    )
    body = base64.b64encode(outer).decode()
    lines = [body[i : i + 70] for i in range(0, len(body), 70)]
    private = "\n".join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----", ""])
    return SshKey(private, f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}")
