"""Places that must not be written, and ways to run code that no file of the host holds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, open_for_writing, own, system_call, write_own_file

CREATED = ("/", "/usr/bin", "/usr/lib", "/etc", "/etc/cron.d", "/root", "/var/lib", "/opt", "/boot", "/run", "/dev")
ALTERED = ("/etc/passwd", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/sbin/init", "/usr/bin/env")


def _creating(folder: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        path = str(Path(folder) / ".probe")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(path)
        return f"a file was made in {folder}"

    return attempt


def _altering(path: str) -> Callable[[Context], str]:
    return lambda _: open_for_writing(path)


def _memory_file(_: Context) -> str:
    """Code from memory: a file that lies nowhere, and its execution."""
    fd = system_call(319, b"x", 0)
    os.write(fd, Path("/bin/true").read_bytes())
    subprocess.run([f"/proc/self/fd/{fd}"], check=True, pass_fds=(fd,))
    return "a program ran from memory"


def _run_true(_: Context) -> None:
    subprocess.run(["/bin/true"], check=True)


def _device_node(_: Context) -> str:
    path = own("null")
    os.mknod(path, 0o020666, os.makedev(1, 3))
    try:
        os.close(os.open(path, os.O_WRONLY))
    finally:
        os.unlink(path)
    return "a device node in a tree works"


def _fifo(_: Context) -> None:
    path = own("fifo")
    os.mkfifo(path)
    os.unlink(path)


def _set_user_is_obeyed(_: Context) -> str:
    """Trees are mounted so that set-user bits mean nothing: told by the mount, since a second user is not to be had."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    loose = [f[4] for f in lines if f[4] in ("/tmp", "/dev/shm", os.environ.get("HOME", "")) and "nosuid" not in f[5]]  # noqa: S108
    if loose:
        return f"set-user bits count on {', '.join(loose)}"
    raise Refused("every tree is nosuid")


def _replace_mounted(_: Context) -> str:
    os.rename("/etc/hosts", "/etc/hosts.old")
    return "a file of the engine's was moved away"


def _rename_own(_: Context) -> None:
    path = own("name")
    Path(path).write_bytes(b"")
    os.rename(path, path + "2")
    os.unlink(path + "2")


def _remount(_: Context) -> str:
    system_call(165, None, b"/", None, 0x1020, None)
    return "the root was mounted again, writable"


def _link_out(_: Context) -> str:
    """A hard link to a file of another user's would let it be kept and, in a shared folder, fool its owner."""
    os.link("/etc/passwd", own("link"))
    return "a hard link to a system file was made"


def _link_own(_: Context) -> None:
    path = own("linked")
    Path(path).write_bytes(b"")
    os.link(path, path + "2")
    os.unlink(path)
    os.unlink(path + "2")


PROBES = (
    *(Probe(f"create in {folder}", _creating(folder), write_own_file) for folder in CREATED),
    *(Probe(f"alter {path}", _altering(path), write_own_file) for path in ALTERED),
    Probe("execute_from_memory", _memory_file, _run_true),
    Probe("device_node_in_tree", _device_node, _fifo),
    Probe("set_user_bits", _set_user_is_obeyed, lambda _: Path("/proc/self/mountinfo").read_text()),
    Probe("move_a_mounted_file", _replace_mounted, _rename_own),
    Probe("mount_root_again", _remount, write_own_file),
    Probe("hard_link_out_of_tree", _link_out, _link_own),
)

if __name__ == "__main__":
    main(PROBES)
