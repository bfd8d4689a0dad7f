"""The certificate authority of one installation, and what one trial gets from it.

One root per installation: its key stays in the user's state folder (0600) and never enters a container. Each trial has
an intermediate of its own whose key lives in memory only; leaves are minted here for the names that the world declares,
so that a compromised world could sign nothing. Subject names are those of an ordinary authority.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANISATION = "Meridian Trust Services"
ROOT_NAME = "Meridian Root R1"
ISSUING_NAME = "Meridian TLS ECC E5"
DAY = datetime.timedelta(days=1)


def state_folder() -> Path:
    """Where this installation keeps what outlives a run: BELLJAR_STATE, else ~/.local/state/belljar."""
    given = os.environ.get("BELLJAR_STATE")
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(given) if given else Path(base).expanduser() / "belljar"


@dataclass(frozen=True)
class Issuer:
    """A certificate and the key that signs with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def root(folder: Path | None = None) -> Issuer:
    """The installation's root, made on first use. Two processes that start at once agree on one."""
    folder = folder or state_folder() / "ca"
    file = folder / "root.pem"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(file, _new_root())
    data = file.read_bytes()
    key = serialization.load_pem_private_key(data, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{file} holds no elliptic curve key")
    return Issuer(x509.load_pem_x509_certificate(data), key)


def intermediate(parent: Issuer) -> Issuer:
    """A fresh issuing authority below `parent`, for one trial."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(ISSUING_NAME), parent.certificate.subject, key, days=(-200 * DAY, 900 * DAY))
    signed = _authority(builder, path_length=0).add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.key.public_key()), critical=False
    )
    return Issuer(signed.sign(parent.key, hashes.SHA256()), key)


class Mint:
    """Makes the leaves of one trial; all share one key, as names on one load balancer do."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._key_pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def leaf(self, names: Sequence[str]) -> bytes:
        """Key, certificate for `names` (hosts, wildcards or addresses) and issuing certificate, as one PEM."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        builder = _builder(subject, self._issuer.certificate.subject, self._key, days=(-23 * DAY, 67 * DAY))
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        signed = (
            builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(usage, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._issuer.key.public_key()), critical=False)
            .sign(self._issuer.key, hashes.SHA256())
        )
        return self._key_pem + signed.public_bytes(serialization.Encoding.PEM) + self._issuer.pem


def _new_root() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(ROOT_NAME), _name(ROOT_NAME), key, days=(-900 * DAY, 6000 * DAY))
    certificate = _authority(builder, path_length=None).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_once(file: Path, data: bytes) -> None:
    """Create `file` (0600) with `data`, unless another process or thread was first."""
    with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.") as draft:
        draft.write(data)
        draft.flush()
        with suppress(FileExistsError):
            os.link(draft.name, file)


def _name(common: str) -> x509.Name:
    parts = ((NameOID.COUNTRY_NAME, "US"), (NameOID.ORGANIZATION_NAME, ORGANISATION), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    days: tuple[datetime.timedelta, datetime.timedelta],
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0])
        .not_valid_after(now + days[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _key_usage(key_cert_sign=True, crl_sign=True), critical=True
    )


def _key_usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
