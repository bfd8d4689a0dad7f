"""Which OCI runtimes a daemon offers: what may stand between a host and the kernel beside runc."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from sandbox.errors import UsageError
from sandbox.hosts.daemon import daemon
from sandbox.hosts.idmap import ids_of

GVISOR_OLDEST = "20240729"
"""The oldest release that was tried and found to do: on 20221219 `ls` and `stat` of Debian 12 fail with EINVAL."""

GVISOR_NEEDS = ("--network=host", "--oci-seccomp", "--directfs=false")
"""Options that gVisor must have for trials: hosts are wired into the sandbox's network from outside, the first process gets its
filter as every later one does, and the sentry itself has no right to files."""


def runtimes() -> tuple[str, ...]:
    """Names that `--runtime` takes on this daemon, sorted; `runsc` among them is gVisor. Blocks. Raises NotReadyError."""
    return tuple(sorted(name for name in daemon().runtimes() if not name.startswith("io.containerd.")))


def require_runtime(name: str) -> str:
    """`name`, if the daemon knows it. Raises UsageError naming those that it knows."""
    if name not in (known := runtimes()):
        raise UsageError(f"The Docker daemon has no runtime {name!r}.", f"It has: {', '.join(known)}.")
    return name


def is_gvisor(options: Mapping[str, Any]) -> bool:
    """Whether a runtime of the daemon's, by what it says of it, is gVisor."""
    return "runsc" in (PurePosixPath(options.get("path") or "").name, *(options.get("runtimeType") or "").split("."))


def require_trial_runtime(name: str) -> str:
    """`name`, if trials can be held by it. Raises UsageError for one that the daemon does not know, and for a gVisor that is
    too old or lacks what trials need. Most of it the certificate would refuse as well; this says so before anything starts."""
    options = daemon().runtimes()[require_runtime(name)]
    if not is_gvisor(options):
        return name
    given = {f"--{word.lstrip('-').removesuffix('=true')}" for word in options.get("runtimeArgs") or ()}
    if missing := [each for each in GVISOR_NEEDS if each not in given]:
        raise UsageError(
            f"Trials under gVisor ({name}) need the daemon to give it {', '.join(missing)}.",
            "Add it to `runtimeArgs` in the daemon's configuration; containers/README.md shows how.",
        )
    if ids_of(daemon()) is not None:
        raise UsageError("Trials under gVisor were never tried where the daemon maps user ids.", "Use one of the two.")
    if (version := gvisor_version(options)) < GVISOR_OLDEST:
        raise UsageError(
            f"Trials under gVisor ({name}) need its release {GVISOR_OLDEST} or a later one; this is {version or 'not known'}.",
            "Debian 13 has it (package `runsc`). It must be on this machine, and the engine too.",
        )
    return name


def gvisor_version(options: Mapping[str, Any]) -> str:
    """The day of a gVisor's release, as its program on this machine says; "" if that cannot be asked. Blocks."""
    with suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            (options.get("path") or "runsc", "--version"), capture_output=True, timeout=20, check=False
        ).stdout
        if day := re.search(rb"\b(20\d{6})\b", said):
            return day[1].decode()
    return ""
