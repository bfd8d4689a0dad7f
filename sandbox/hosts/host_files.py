"""The engine's own files on a host, in place of those that Docker would write, which name the machine below."""

from __future__ import annotations

import hashlib

from sandbox.environment import HostSpec, Network
from sandbox.hosts.daemon import Daemon
from sandbox.isolation import AGENT_UID

_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_bundles: dict[str, bytes] = {}


def own_files(host: HostSpec, network: Network | None, bundle: bytes | None) -> dict[str, bytes]:
    """Content by path: names, an id of the host's own that a replay gives it again, and resolver, `bundle` of certificates to
    trust, accounts where the user is not the image's."""
    name, resolver = host.hostname, network.resolver if network is not None else ""
    hosts = f"127.0.0.1\tlocalhost\n127.0.1.1\t{name}\n\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    files = {
        "/etc/hostname": f"{name}\n".encode(),
        "/etc/hosts": hosts.encode(),
        "/etc/machine-id": f"{hashlib.sha256(f'{name} {resolver}'.encode()).hexdigest()[:32]}\n".encode(),
        "/etc/resolv.conf": f"nameserver {resolver}\n".encode() if resolver else b"",
    }
    if bundle is not None:
        files[_BUNDLE] = bundle
    if host.user != "agent":
        files["/etc/passwd"], files["/etc/group"] = _accounts(host.user)
    return files


def trusted(engine: Daemon, image: str, authority: bytes) -> bytes:
    """An image's certificates with `authority` (PEM) added. Blocks."""
    if image not in _bundles:
        _bundles[image] = engine.file_of_image(image, _BUNDLE)
    return _bundles[image].rstrip(b"\n") + b"\n" + authority


def _accounts(user: str) -> tuple[bytes, bytes]:
    passwd = (
        "root:x:0:0:root:/root:/bin/bash\n"
        "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
        f"{user}:x:{AGENT_UID}:{AGENT_UID}::/home/{user}:/bin/bash\n"
    )
    group = f"root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n{user}:x:{AGENT_UID}:\n"
    return passwd.encode(), group.encode()
