"""Files, devices and sockets of the machine under the container: none may be read, written or even seen."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from sandbox.audit.inside.probing import Context, Probe, Refused, main, open_for_writing, own, system_call

_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/crio/crio.sock")


def _docker_socket(_: Context) -> str:
    for path in _SOCKETS:
        if Path(path).exists():
            return f"{path} is there"
    raise Refused("no runtime's socket is there")


def _connect_own(_: Context) -> None:
    path = own("socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
    Path(path).unlink()


def _read(path: str, context: Context) -> str:
    return f"read {len(Path(path).read_bytes())} bytes of {path} ({context.get('secret', '')})"


def _secret_at(prefix: str) -> Callable[[Context], str]:
    return lambda context: _read(prefix + context["secret"], context)


def _read_own(_: Context) -> None:
    Path("/proc/self/root/etc/hostname").read_bytes()


def _open_of_init(name: str) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        os.close(os.open(f"/proc/1/{name}", os.O_RDONLY))
        return f"/proc/1/{name} opened"

    return attempt


def _open_of_self(name: str) -> Callable[[Context], None]:
    def control(_: Context) -> None:
        os.close(os.open(f"/proc/self/{name}", os.O_RDONLY))

    return control


def _block_device(_: Context) -> str:
    """A node for the machine's first disk, made in each writable place."""
    numbers = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    major, minor = map(int, numbers[0]) if numbers else (8, 0)
    path = own("disk")
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(major, minor))
    os.unlink(path)
    return f"a node for block device {major}:{minor} was made"


def _fifo(_: Context) -> None:
    path = own("fifo")
    os.mkfifo(path)
    os.unlink(path)


def _devices(_: Context) -> str:
    found = [str(p) for p in Path("/dev").iterdir() if stat.S_ISBLK(p.lstat().st_mode)]
    found += [p for p in ("/dev/mem", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/loop-control") if Path(p).exists()]
    if not found:
        raise Refused("/dev has no device of the machine's")
    return f"in /dev: {', '.join(found)}"


def _null(_: Context) -> None:
    Path("/dev/null").write_bytes(b"x")


def _overlay(_: Context) -> str:
    """The container's layers lie in folders of the machine whose names it can read."""
    named = re.findall(r"(?:upperdir|workdir)=([^,\s]+)", Path("/proc/self/mountinfo").read_text())
    return f"{named[0]}: {len(os.listdir(named[0]))} entries" if named else _nothing()


def _nothing() -> str:
    raise Refused("mountinfo names no layer")


def _mountinfo(_: Context) -> None:
    if " / / " not in Path("/proc/self/mountinfo").read_text():
        raise RuntimeError("mountinfo names no root")


def _mounting(kind: bytes, options: bytes) -> Callable[[Context], str]:
    def attempt(_: Context) -> str:
        path = own("mount")
        os.mkdir(path)
        try:
            system_call(165, b"none", path.encode(), kind, 0, options)
            system_call(166, path.encode(), 2)
        finally:
            os.rmdir(path)
        return f"a {kind.decode()} file system was mounted"

    return attempt


def _own_folder(_: Context) -> None:
    path = own("folder")
    os.mkdir(path)
    system_call(332, -100, path.encode(), 0, 0x7FF, b"\0" * 256)  # statx, made in the same way
    os.rmdir(path)


def _other_processes(_: Context) -> str:
    names = {int(p.name): (p / "comm").read_text().strip() for p in Path("/proc").iterdir() if p.name.isdigit()}
    if "kthreadd" in names.values() or len(names) > 60:
        return f"{len(names)} processes are seen, kernel threads among them"
    raise Refused(f"{len(names)} processes are seen, all of this host")


def _see_self(_: Context) -> None:
    Path(f"/proc/{os.getpid()}/comm").read_text()


PROBES = (
    Probe("runtime_sockets", _docker_socket, _connect_own),
    Probe("secret_by_path", _secret_at(""), _read_own),
    Probe("secret_through_init_root", _secret_at("/proc/1/root"), _read_own),
    Probe("secret_through_init_cwd", _secret_at("/proc/1/cwd/.."), _read_own),
    Probe("init_environment", _open_of_init("environ"), _open_of_self("environ")),
    Probe("init_memory", _open_of_init("mem"), _open_of_self("mem")),
    Probe("init_descriptors", lambda _: f"{os.listdir('/proc/1/fd')}", lambda _: os.listdir("/proc/self/fd")),
    Probe("init_binary", lambda _: open_for_writing("/proc/1/exe"), _open_of_self("exe")),
    Probe("block_device_node", _block_device, _fifo),
    Probe("devices", _devices, _null),
    Probe("overlay_layers", _overlay, _mountinfo),
    Probe("mount_tmpfs", _mounting(b"tmpfs", b"size=4k"), _own_folder),
    Probe("mount_proc", _mounting(b"proc", b""), _own_folder),
    Probe("mount_cgroup", _mounting(b"cgroup", b"pids"), _own_folder),
    Probe("other_processes", _other_processes, _see_self),
)

if __name__ == "__main__":
    main(PROBES)
