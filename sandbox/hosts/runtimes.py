"""Which OCI runtimes a daemon offers: what may stand between a host and the kernel beside runc."""

from __future__ import annotations

from sandbox.errors import UsageError
from sandbox.hosts.daemon import daemon


def runtimes() -> tuple[str, ...]:
    """Names that `--runtime` takes on this daemon, sorted; `runsc` among them is gVisor. Blocks. Raises NotReadyError."""
    found = daemon().info().get("Runtimes") or {}
    return tuple(sorted(name for name in found if not name.startswith("io.containerd.")))


def require_runtime(name: str) -> str:
    """`name`, if the daemon knows it. Raises UsageError naming those that it knows."""
    if name not in (known := runtimes()):
        raise UsageError(f"The Docker daemon has no runtime {name!r}.", f"It has: {', '.join(known)}.")
    return name
