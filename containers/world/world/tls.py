"""TLS for the world's names: certificates are minted by the engine before the start, one per host name, and chosen here by SNI.

No signing key is inside the world. A client that names no host, or one that does not live at the address it called, is
shown the certificate of that address's first site, as real servers do.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path


class Certificates:
    """Contexts by host name, each built when first asked for."""

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self._folder = folder
        self._files = files
        self._built: dict[str, ssl.SSLContext] = {}

    def context(self, default: str) -> ssl.SSLContext:
        """A server context for a listener: shows `default`'s certificate unless SNI names another host."""
        key = f"\0{default}"
        if key not in self._built:
            context = self._load(default)
            context.sni_callback = self._choose
            self._built[key] = context
        return self._built[key]

    def _choose(self, connection: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        host = self._known((name or "").lower())
        if host:
            if host not in self._built:
                self._built[host] = self._load(host)
            connection.context = self._built[host]

    def _known(self, name: str) -> str:
        if name in self._files:
            return name
        parent = "*." + name.partition(".")[2]
        return parent if parent in self._files else ""

    def _load(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._folder / self._files[host])
        return context
