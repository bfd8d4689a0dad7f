"""By what an agent was held while a trial was recorded, in words: the runtime, user ids, and the probes that held."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.record import Record
from sandbox.events import ContainmentCertificate


def contained(record: Record) -> str:
    """One line from manifest and certificate; empty for a trial that has neither."""
    manifest = record.manifest
    parts = []
    if manifest is not None and manifest.runtime:
        parts.append(f"{manifest.runtime} {manifest.versions.get(manifest.runtime, '')}".strip())
    if manifest is not None and manifest.users_mapped is not None:
        parts.append("user ids of its own" if manifest.users_mapped else "the machine's user ids")
    if certificates := [body for _, body in record.of(ContainmentCertificate)]:
        parts.append(_probes(certificates))
    return ", ".join(parts)


def _probes(certificates: Sequence[ContainmentCertificate]) -> str:
    """Of all certificates together, as a host that starts later has one of its own; a probe holds only beside a control."""
    probes = [probe for certificate in certificates for probe in certificate.probes]
    held = sum(probe.result == "BLOCKED" and probe.control for probe in probes)
    said = "" if all(certificate.passed for certificate in certificates) else ", which does not pass"
    return f"profile {certificates[0].profile}: {held} of {len(probes)} probes blocked{said}"
