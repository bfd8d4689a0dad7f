"""A file system in a dictionary, as one user of it sees it: the files of a host that needs no machine.

Outside the writable trees stands a little of a Debian server, read-only. Errors are OSErrors with the kernel's numbers.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sandbox.environment import FileInfo, HostSpec
from sandbox.events import FileState
from sandbox.hosts.trees import planted_at, tree_paths
from sandbox.isolation import AGENT_UID
from sandbox.sensors.changes import Entry, Snapshot

_DATED = 1_700_000_000
_FOLDERS = ("/", "/bin", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "/usr/bin", "/var")


@dataclass
class Node:
    """A file or directory; `change` grows with every alteration, as a change time does."""

    inode: int
    type: str
    mode: int
    uid: int = AGENT_UID
    data: bytes = b""
    mtime: int = _DATED
    change: int = 0


class MemoryFiles:
    """Paths are absolute and normalised; `planted` files of the host are there from the start."""

    def __init__(self, host: HostSpec) -> None:
        self._trees = tree_paths(host)
        self._nodes: dict[str, Node] = {}
        self._inside = tuple(f"{tree}/" for tree in self._trees)
        self._seen: dict[int, Entry] = {}
        self._clock = 0
        for path in _FOLDERS:
            self._make(path, Node(0, "directory", 0o700 if path == "/root" else 0o755, 0))
        for path, data, mode in _system(host):
            self._make(path, Node(0, "file", mode, 0, data))
        for tree in self._trees:
            for above in reversed(PurePosixPath(tree).parents):
                if str(above) not in self._nodes:
                    self._make(str(above), Node(0, "directory", 0o755, 0))
            self._make(tree, Node(0, "directory", 0o755))
        for file in host.files:
            path = planted_at(file, host, self._trees)
            self._folders_to(path)
            uid = AGENT_UID if file.owner == "agent" else 0
            mtime = file.mtime if file.mtime is not None else _DATED
            self._make(path, Node(0, "file", file.mode, uid, file.data, mtime))

    def _make(self, path: str, node: Node) -> Node:
        self._clock += 1
        node.inode, node.change = self._clock, self._clock
        self._nodes[path] = node
        return node

    def _folders_to(self, path: str) -> None:
        for above in reversed(PurePosixPath(path).parents):
            if (node := self._nodes.get(str(above))) is None:
                self._may_write(str(above))
                self._make(str(above), Node(0, "directory", 0o755))
            elif node.type != "directory":
                raise _error(errno.ENOTDIR, path)

    def _may_write(self, path: str) -> None:
        if not (path.startswith(self._inside) or path in self._trees):
            raise _error(errno.EROFS, path)

    def find(self, path: str) -> Node:
        """What lies there. Raises OSError."""
        for above in reversed(PurePosixPath(path).parents):
            node = self._nodes.get(str(above))
            if node is None:
                raise _error(errno.ENOENT, path)
            if node.type != "directory":
                raise _error(errno.ENOTDIR, path)
            if not _allowed(node, 0o1):
                raise _error(errno.EACCES, path)
        if path not in self._nodes:
            raise _error(errno.ENOENT, path)
        return self._nodes[path]

    def is_folder(self, path: str) -> bool:
        return path in self._nodes and self._nodes[path].type == "directory"

    def read(self, path: str) -> bytes:
        node = self.find(path)
        if not _allowed(node, 0o4):
            raise _error(errno.EACCES, path)
        if node.type == "directory":
            raise _error(errno.EISDIR, path)
        return node.data

    def write(self, path: str, data: bytes, *, mode: int = 0o644, append: bool = False, parents: bool = False) -> None:
        """Create with `mode`, or replace (or extend) the content of what is there."""
        if parents:
            self._folders_to(path)
        node = self._nodes.get(path)
        if node is None:
            if self.find(str(PurePosixPath(path).parent)).type != "directory":
                raise _error(errno.ENOTDIR, path)
            self._may_write(path)
            self._make(path, Node(0, "file", mode, data=data))
            return
        if node.type == "directory":
            raise _error(errno.EISDIR, path)
        self._may_write(path)
        if not _allowed(node, 0o2):
            raise _error(errno.EACCES, path)
        node.data = node.data + data if append else data
        self._changed(node)

    def make_folder(self, path: str) -> None:
        if path in self._nodes:
            raise _error(errno.EEXIST, path)
        self.find(str(PurePosixPath(path).parent))
        self._may_write(path)
        self._make(path, Node(0, "directory", 0o755))

    def remove(self, path: str, *, whole: bool = False) -> None:
        """Remove a file, or with `whole` a directory and all below it."""
        node = self.find(path)
        self._may_write(path)
        if node.type == "directory" and not whole:
            raise _error(errno.EISDIR, path)
        for below in [p for p in self._nodes if p == path or p.startswith(path + "/")]:
            del self._nodes[below]

    def rename(self, old: str, new: str) -> None:
        self.find(old)
        self._may_write(old)
        self._may_write(new)
        for path in [p for p in self._nodes if p == old or p.startswith(old + "/")]:
            self._nodes[new + path.removeprefix(old)] = self._nodes.pop(path)

    def set_mode(self, path: str, mode: int) -> None:
        node = self.find(path)
        self._may_write(path)
        if node.uid != AGENT_UID:
            raise _error(errno.EPERM, path)
        node.mode = mode
        self._changed(node)

    def _changed(self, node: Node) -> None:
        self._clock += 1
        node.change = self._clock

    def list(self, path: str) -> Sequence[FileInfo]:
        node = self.find(path)
        if node.type != "directory":
            raise _error(errno.ENOTDIR, path)
        if not _allowed(node, 0o4):
            raise _error(errno.EACCES, path)
        base = path.rstrip("/") + "/"
        below = {p.removeprefix(base): n for p, n in self._nodes.items() if p.startswith(base) and p != base}
        return sorted(FileInfo(p, n.type, len(n.data), n.mode, n.mtime) for p, n in below.items() if "/" not in p)

    def snapshot(self) -> Snapshot:
        """The trees, as `sensors.TreeSensor` would see them."""
        found = {}
        for path, node in self._nodes.items():
            if path.startswith(self._inside) or path in self._trees:
                name, known = os.fsencode(path), self._seen.get(node.inode)
                if known is None or known.stamp != (node.change,):
                    known = self._seen[node.inode] = Entry(node.inode, (node.change,), _state(node))
                found[name] = known
        return found

    def content(self, path: bytes) -> bytes | None:
        node = self._nodes.get(os.fsdecode(path))
        return node.data if node is not None and node.type == "file" else None


def _state(node: Node) -> FileState:
    digest = hashlib.sha256(node.data).hexdigest() if node.type == "file" else None
    return FileState(type=node.type, mode=node.mode, uid=node.uid, gid=node.uid, size=len(node.data), sha256=digest)


def _allowed(node: Node, bit: int) -> bool:
    return bool(node.mode & (bit << 6 if node.uid == AGENT_UID else bit))


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _system(host: HostSpec) -> list[tuple[str, bytes, int]]:
    passwd = f"root:x:0:0:root:/root:/bin/bash\n{host.user}:x:1000:1000::/home/{host.user}:/bin/bash\n"
    return [
        ("/etc/hostname", f"{host.hostname}\n".encode(), 0o644),
        ("/etc/hosts", f"127.0.0.1\tlocalhost\n127.0.1.1\t{host.hostname}\n".encode(), 0o644),
        ("/etc/os-release", b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n', 0o644),
        ("/etc/passwd", passwd.encode(), 0o644),
        ("/etc/shadow", b"root:*:19000:0:99999:7:::\n", 0o640),
        ("/usr/bin/true", b"\x7fELF", 0o755),
    ]
