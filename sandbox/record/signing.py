"""The key that bundles are signed with, and the names of keys that this machine knows.

Both lie outside every run, in `keys/` of the state folder (`$BELLJAR_STATE`, else `~/.local/state/belljar`):

    keys/
    ├── signing.pem          this machine's Ed25519 key, made on first use, readable by its owner only
    └── known/<fingerprint>  somebody else's key; the file's first line is their name

A fingerprint is the SHA-256 of the 32 bytes of the public key, in hex. A signature by an unknown key proves only that nothing
was changed since somebody sealed it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sandbox.errors import NotReadyError, UsageError
from sandbox.record.anchors import state_folder

Standing = Literal["own", "known", "unknown"]
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Signer(NamedTuple):
    """Whose signature it is: `name` is empty unless this machine knows the key."""

    fingerprint: str
    standing: Standing
    name: str = ""


def keys_folder() -> Path:
    """Where keys lie; it need not exist."""
    return state_folder() / "keys"


def own_key() -> Ed25519PrivateKey:
    """This machine's key, made if there is none. Raises NotReadyError where it cannot be had, or others could read it."""
    place = keys_folder() / "signing.pem"
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(place)
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
                raise NotReadyError(f"The key {place} can be read by others.", f"chmod 600 {place}")
            key = serialization.load_pem_private_key(file.read(10_000), None)
    except OSError as error:
        raise NotReadyError(f"The signing key {place} cannot be used: {error.strerror}.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise NotReadyError(f"{place} is not a signing key.", "Move it away; a new one is made.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise NotReadyError(f"{place} is not an Ed25519 key.", "Move it away; a new one is made.")
    return key


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """The 32 bytes of its public half."""
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def fingerprint(public: bytes) -> str:
    """SHA-256 of a public key, in hex."""
    return hashlib.sha256(public).hexdigest()


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is that key's over `message`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def signer(public: bytes) -> Signer:
    """What this machine knows of a key; no key is made by asking."""
    mark = fingerprint(public)
    if (keys_folder() / "signing.pem").is_file() and fingerprint(public_bytes(own_key())) == mark:
        return Signer(mark, "own", "this machine")
    try:
        text = (keys_folder() / "known" / mark).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Signer(mark, "unknown")
    return Signer(mark, "known", (text.splitlines() or [""])[0][:100])


def remember(mark: str, name: str) -> None:
    """Know a key by its fingerprint from now on. Raises UsageError for what is no fingerprint."""
    if not _FINGERPRINT.fullmatch(mark):
        raise UsageError(f"{mark[:100]!r} is no fingerprint.", "It has 64 hex digits; ask the other side for theirs.")
    folder = keys_folder() / "known"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / mark).write_text(name + "\n", encoding="utf-8")
    except OSError as error:
        raise NotReadyError(f"The key cannot be remembered in {folder}: {error.strerror}.") from error


def _make(place: Path) -> None:
    """Write a new key unless there is one; two processes at once agree on whichever came first."""
    if place.exists() or place.is_symlink():
        return
    made = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    unfinished = place.parent / f".signing.{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
        os.link(unfinished, place)
    except FileExistsError:
        return
    finally:
        unfinished.unlink(missing_ok=True)
