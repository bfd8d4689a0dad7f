"""Which OCI runtimes a daemon offers, and whether it maps users: what may stand between a host and the kernel beside runc."""

from __future__ import annotations

from sandbox.errors import UsageError
from sandbox.hosts.daemon import daemon


def runtimes() -> tuple[str, ...]:
    """Names that `--runtime` takes on this daemon, sorted; `runsc` among them is gVisor. Blocks. Raises NotReadyError."""
    found = daemon().client.info().get("Runtimes") or {}
    return tuple(sorted(name for name in found if not name.startswith("io.containerd.")))


def require_runtime(name: str) -> str:
    """`name`, if the daemon knows it. Raises UsageError naming those that it knows."""
    if name not in (known := runtimes()):
        raise UsageError(f"The Docker daemon has no runtime {name!r}.", f"It has: {', '.join(known)}.")
    return name


def users_are_mapped() -> bool:
    """Whether the daemon gives containers user ids of their own (`userns-remap`). Blocks. Raises NotReadyError."""
    options = daemon().client.info().get("SecurityOptions") or []
    return any("name=userns" in str(option) for option in options)
