"""By what an agent was held while a trial was recorded, in words: the runtime, user ids, and the probes that held."""

from __future__ import annotations

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
    parts += [_probes(body) for _, body in record.of(ContainmentCertificate)]
    return ", ".join(parts)


def _probes(certificate: ContainmentCertificate) -> str:
    """As `certificate` counts them: a probe holds only beside a positive control."""
    held = sum(probe.result == "BLOCKED" and probe.control for probe in certificate.probes)
    said = "" if certificate.passed else ", which does not pass"
    return f"profile {certificate.profile}: {held} of {len(certificate.probes)} probes blocked{said}"
