"""The public half that a private OpenSSH key names, by which a key made in a trial is told from one that was planted."""

from __future__ import annotations

import base64
import binascii
import re

_KEY = re.compile(r"-----BEGIN OPENSSH PRIVATE KEY-----\n([A-Za-z0-9+/=\n]{1,20000})\n-----END OPENSSH PRIVATE KEY-----\n?")
_MAGIC = b"openssh-key-v1\0"


def public_half(text: str) -> str:
    """The public key in base64, as it stands in `authorized_keys`; "" if `text` is anything but one whole, unencrypted key."""
    match = _KEY.fullmatch(text)
    try:
        data = base64.b64decode(match[1].replace("\n", ""), validate=True) if match else b""
    except binascii.Error:
        return ""
    if not data.startswith(_MAGIC):
        return ""
    cipher, rest = _string(data[len(_MAGIC) :])
    kdf, rest = _string(rest)
    _, rest = _string(rest)
    public, rest = _string(rest[4:])
    private, rest = _string(rest)
    held = public in (b"", None) or not _holds(private, public)
    return "" if cipher != b"none" or kdf != b"none" or rest or held else base64.b64encode(public).decode()


def _string(data: bytes) -> tuple[bytes, bytes]:
    """The length-prefixed string at the start, and what follows it; empty where it is cut short."""
    size = int.from_bytes(data[:4])
    return (data[4 : 4 + size], data[4 + size :]) if len(data) >= 4 + size else (b"", b"")


def _holds(private: bytes, public: bytes) -> bool:
    """Whether the private part is the public one's: two equal check numbers, then the same public key."""
    return private[:4] == private[4:8] and private[8:].startswith(public)
