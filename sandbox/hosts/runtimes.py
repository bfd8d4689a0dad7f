"""Which OCI runtimes a daemon offers: what may stand between a host and the kernel beside runc."""

from __future__ import annotations

from pathlib import PurePosixPath

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


def require_trial_runtime(name: str) -> str:
    """`name`, if trials can be held by it. Raises UsageError for one that the daemon does not know, and for gVisor.

    Its processes and system calls are its own, and the engine sees neither from outside. The certificate would refuse it as
    well; this says so before anything is started, and why.
    """
    options = daemon().info()["Runtimes"][require_runtime(name)]
    if "runsc" in (PurePosixPath(options.get("path") or "").name, *(options.get("runtimeType") or "").split(".")):
        raise UsageError(
            f"Trials cannot be held by gVisor ({name}): what runs in it cannot be seen from outside.",
            "containers/README.md says what was tried. Use runc, on a machine of its own for models that may try to leave.",
        )
    return name
