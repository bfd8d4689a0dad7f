"""User ids under a daemon with `userns-remap`: what a container calls 0 is another number on this machine.

The engine keeps a host's trees in the numbers that the host itself uses, and shows them to the container through a mount that
maps them (mount_setattr(2), Linux 6.3 for file systems in memory). So planting, reading, looking and digesting are the same on
every daemon; what is left to translate is whom the kernel names as the user of a process.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import ContainmentError, NotReadyError
from sandbox.events import ProcessEffect
from sandbox.hosts.daemon import Daemon

IDS = 65_536
"""How many ids, from 0 on, a host may use: all that its image and its agent know lie far below."""

_libc = ctypes.CDLL(None, use_errno=True)
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_HERE, _CLONE, _EMPTY_PATH, _IDMAP, _FROM_DESCRIPTOR = -100, 1, 0x1000, 0x100000, 4


class Ids(NamedTuple):
    """What the container's user and group 0 are on this machine."""

    uid: int
    gid: int


class _MountAttr(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def ids_of(engine: Daemon) -> Ids | None:
    """How the daemon maps ids; None if it does not. Blocks. Raises NotReadyError where it maps them without saying how."""
    info = engine.info()
    if not any("name=userns" in str(option) for option in info.get("SecurityOptions") or []):
        return None
    named = re.fullmatch(r"(\d+)\.(\d+)", Path(str(info.get("DockerRootDir"))).name)  # as dockerd names it under userns-remap
    if named is None:
        raise NotReadyError("The Docker daemon maps users (`userns-remap`) and does not say how.", "Start it without.")
    return Ids(int(named[1]), int(named[2]))


def require_ids(init: int, ids: Ids | None, name: str) -> None:
    """Raises ContainmentError unless the container `name`, with first process `init`, has its ids mapped as `ids` says."""
    if ids is None:
        return
    for file, base in (("uid_map", ids.uid), ("gid_map", ids.gid)):
        lines = [[int(number) for number in line.split()] for line in Path(f"/proc/{init}/{file}").read_text().splitlines()]
        if not lines or lines[0][:2] != [0, base] or lines[0][2] < IDS:
            raise ContainmentError(f"Host {name} has another {file} than its daemon told: {lines}, not {IDS} ids from {base}.")


def own_ids(effect: ProcessEffect, ids: Ids) -> ProcessEffect:
    """A process's effect with its user as the host itself calls it."""
    known = effect.uid is not None and ids.uid <= effect.uid < ids.uid + IDS
    return effect.model_copy(update={"uid": effect.uid - ids.uid}) if known and effect.uid is not None else effect


def show_mapped(folder: Path, target: Path, ids: Ids) -> None:
    """Mount what is mounted at `folder` once more at `target`, where its ids are the machine's. Raises NotReadyError."""
    target.mkdir(mode=0o711)
    tree = int(_libc.syscall(_OPEN_TREE, _HERE, os.fsencode(folder), _CLONE | os.O_CLOEXEC))
    if tree < 0:
        raise _cannot()
    try:
        attributes = _MountAttr(_IDMAP, 0, 0, _namespace(ids))
        size = ctypes.c_size_t(ctypes.sizeof(attributes))
        if _libc.syscall(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, ctypes.byref(attributes), size):
            raise _cannot()
        if _libc.syscall(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(target), _FROM_DESCRIPTOR):
            raise _cannot()
    finally:
        os.close(tree)


def _cannot() -> NotReadyError:
    reason = os.strerror(ctypes.get_errno())
    return NotReadyError(
        f"The Docker daemon maps users (`userns-remap`), and the trees of hosts cannot be mapped along with them: {reason}.",
        "Use Linux 6.3 or newer, or a daemon without `userns-remap`.",
    )


@lru_cache(maxsize=8)
def _namespace(ids: Ids) -> int:
    """A user namespace with this mapping, as a descriptor that is kept for the process's life."""
    with subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        try:
            holder.stdin.write(b"1")
            holder.stdin.flush()
            holder.stdout.read(1)  # it answers from inside its namespace
            Path(f"/proc/{holder.pid}/uid_map").write_text(f"0 {ids.uid} {IDS}\n")
            Path(f"/proc/{holder.pid}/gid_map").write_text(f"0 {ids.gid} {IDS}\n")
            return os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotReadyError(f"A user namespace cannot be made: {error.strerror}.", "Run belljar as root.") from error
        finally:
            holder.kill()
