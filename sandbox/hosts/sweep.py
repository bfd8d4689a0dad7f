"""Removing what killed runs left on this machine: containers of ours, and the trees that the engine had mounted for them.

Each container carries the mark of the engine process that made it; what belongs to one that still lives is left alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sandbox.hosts.daemon import LABELS, daemon
from sandbox.hosts.processes import Process, process
from sandbox.hosts.trees import MOUNT_ROOT, claimant, release


def engine_mark() -> str:
    """Names this process among all that ever ran since this machine's boot: id, and start in clock ticks."""
    own = process(os.getpid())
    return f"{os.getpid()}:{own.started if own else 0}"


def sweep(labels: Mapping[str, str] | None = None, *, living: bool = False) -> list[str]:
    """Remove leftovers that carry all of `labels`, e.g. {"belljar.run": RUN}; None means of any run. Blocks.

    Args:
        living: also take what belongs to an engine that still runs, this one's own included.

    Returns:
        One line for each thing removed.

    Raises:
        NotReadyError: no daemon. InfrastructureError: the daemon refused.
    """
    engine = daemon()
    removed, folders = [], set()
    for found in engine.list_containers(labels or {}):
        if not living and _lives(found["Labels"].get(LABELS.engine, "")):
            continue
        folders |= _folders(found)
        engine.force_remove(found["Id"])
        removed.append(f"container {found['Id'][:12]} ({found['Labels'].get(LABELS.trial, 'no trial')})")
    if not labels:
        folders |= _orphans(living)
    for folder in sorted(folders):
        removed += [f"trees {folder}"] if release(folder) else []
    return removed


def _lives(mark: str) -> bool:
    pid, _, started = mark.partition(":")
    return pid.isdigit() and started.isdigit() and process(int(pid)) == Process(int(pid), int(started))


def _folders(container: Mapping[str, object]) -> set[Path]:
    """The trial's folder below MOUNT_ROOT, as the container's mounts name it."""
    mounts = container.get("Mounts") or ()
    assert isinstance(mounts, list | tuple)
    sources = (Path(str(mount.get("Source", ""))) for mount in mounts)
    return {MOUNT_ROOT / source.relative_to(MOUNT_ROOT).parts[0] for source in sources if source.is_relative_to(MOUNT_ROOT)}


def _orphans(living: bool) -> set[Path]:
    """Folders whose containers are gone: the engine that made them names itself in each."""
    if not MOUNT_ROOT.is_dir():
        return set()
    return {folder for folder in MOUNT_ROOT.iterdir() if living or not _lives(claimant(folder))}
