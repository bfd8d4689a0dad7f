"""A small file system in memory that the engine mounts for itself, so that one unmounting takes all of it away."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from sandbox.errors import NotReadyError

_libc = ctypes.CDLL(None, use_errno=True)
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8


def mount_tmpfs(folder: Path, *, megabytes: int) -> None:
    """Mount an empty tmpfs of this size at `folder`, making it. Raises NotReadyError where the engine may not."""
    folder.mkdir(mode=0o755)
    options = f"size={megabytes}m,mode=0755".encode()
    if _libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _NOSUID | _NODEV | _NOEXEC, options):
        reason = os.strerror(ctypes.get_errno())
        raise NotReadyError(f"A tmpfs cannot be mounted at {folder}: {reason}.", "Run belljar as root on the Docker host.")
