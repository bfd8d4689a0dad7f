"""The writable trees of one host: folders on a sized tmpfs that the engine mounts, plants, reads and removes.

Layout, mirroring the host's own paths so that one root serves look-ups, sensors and digests:

    /run/belljar/<trial>-<token>/<host>/         the tmpfs, nosuid, nodev, size and number of files bounded
    ├── home/agent/  tmp/  var/tmp/  dev/shm/  …  the trees, bound read-write into the container
    └── etc/hosts, hostname, resolv.conf, …       the engine's own files, bound read-only; no tree

Where the daemon maps user ids, containers are shown it at `<host>.mapped` beside it (`idmap.py`).
The tmpfs belongs to the engine, so its content outlives the container, whatever killed it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from sandbox.environment import FileError, FileInfo, FileSpec, HostSpec
from sandbox.errors import InfrastructureError, NotReadyError, ScenarioError
from sandbox.hosts.idmap import Ids, show_mapped
from sandbox.hosts.rooted import open_below, opened, take_on
from sandbox.isolation import AGENT_UID, Bind, home_of

MOUNT_ROOT = Path(os.environ.get("BELLJAR_MOUNTS") or "/run/belljar")

as_agent = ThreadPoolExecutor(4, "agent-files", initializer=take_on, initargs=(AGENT_UID, AGENT_UID))
"""Threads with the file rights of the hosts' ordinary user: what fails for the agent fails there."""

_libc = ctypes.CDLL(None, use_errno=True)
_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2
_STICKY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - the hosts' own, not this machine's

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def file_type(mode: int) -> str:
    """The name that events give to a file's type, from `st_mode`."""
    return _TYPES.get(stat.S_IFMT(mode), "device")


def tree_paths(host: HostSpec) -> tuple[str, ...]:
    """The writable folders of a host, outermost only, sorted. Raises ScenarioError for one that no host can have."""
    wanted = {home_of(host), *_STICKY, *host.trees, *(("/run/sshd",) if host.ssh else ())}
    clean = sorted({_absolute(path, host.id) for path in wanted})
    for path in clean:
        if path in ("/", "/etc", "/dev", "/proc", "/sys", "/bin", "/sbin", "/lib", "/lib64", "/usr") or path.startswith(
            ("/proc/", "/sys/")
        ):
            raise ScenarioError(
                f"{path} on host {host.id} cannot be a writable tree.", "Name a folder below it, such as /srv/app."
            )
    return tuple(p for p in clean if not any(p != q and _below(p, q) for q in clean))


def _absolute(path: str, host: str) -> str:
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise ScenarioError(f"{path!r} on host {host} is not an absolute path.", "Write it from / and without `..`.")
    return "/" + "/".join(pure.parts[1:])


def _below(path: str, tree: str) -> bool:
    return path == tree or path.startswith(tree.rstrip("/") + "/")


def planted_at(file: FileSpec, host: HostSpec, trees: Sequence[str]) -> str:
    """The path of a planted file, normalised. Raises ScenarioError if it lies in none of `trees`, the host's."""
    path = _absolute(file.path, host.id)
    if path in trees or not any(_below(path, tree) for tree in trees):
        raise ScenarioError(
            f"The file {file.path} of host {host.id} lies in none of its writable trees ({', '.join(trees)}).",
            "Move it into one, or add its folder to the host's `trees`.",
        )
    return path


def folders_of_root(planted: Iterable[tuple[str, FileSpec]], trees: Sequence[str], *, own: Collection[str]) -> set[str]:
    """Folders in `trees`, but for the user's `own`, that hold planted files of root's alone: they are root's as well.

    Whoever owns a folder can replace what lies in it, whoever owns that.
    """
    owners: dict[str, set[str]] = {}
    for path, file in planted:
        for folder in map(str, PurePosixPath(path).parents):
            owners.setdefault(folder, set()).add(file.owner)
    return {f for f, who in owners.items() if who == {"root"} and f not in own and any(_below(f, tree) for tree in trees)}


class Trees:
    """The trees of one host, mounted by `mount` and gone after `unmount`. Methods block: call them in a thread.

    Those documented as the agent's must run in `as_agent`; they raise FileError as the agent would see it, and `LinkedError`
    where a symlink on the way makes the container itself the only one to know where it leads.
    """

    def __init__(self, host: HostSpec, folder: Path) -> None:
        self.host = host
        self.root = folder
        self.paths = tree_paths(host)
        self._mapped = folder.with_name(f"{folder.name}.mapped")
        self._fd = -1
        self._planted = [(planted_at(file, host, self.paths), file) for file in host.files]

    def holds(self, path: str) -> bool:
        """Whether an absolute path lies in a tree by its name; never one with `..`, which only the host can follow."""
        return ".." not in path.split("/") and any(_below(path, tree) for tree in self.paths)

    def mount(self, own_files: Mapping[str, bytes], ids: Ids | None = None) -> None:
        """Mount the tmpfs, make the trees, plant the host's files and write `own_files` (the engine's, by path).

        Args:
            ids: how the daemon maps the container's user ids.
        """
        self.root.mkdir(parents=True, mode=0o711, exist_ok=True)
        megabytes = self.host.limits.disk_mb
        options = f"size={megabytes}m,nr_inodes={max(16384, megabytes * 128)},mode=0755"
        if _libc.mount(b"tmpfs", os.fsencode(self.root), b"tmpfs", _MS_NOSUID | _MS_NODEV, options.encode()):
            number = ctypes.get_errno()
            if number in (errno.EPERM, errno.EACCES):
                raise NotReadyError(
                    "The engine may not mount the writable trees of its hosts.", "Run belljar as root on the Docker host."
                )
            raise InfrastructureError(f"Mounting a tmpfs at {self.root} failed: {os.strerror(number)}.")
        self._fd = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._populate(own_files)
        except OSError as error:
            raise InfrastructureError(f"Writing the files of host {self.host.id} failed: {error}.") from error
        if ids is not None:
            show_mapped(self.root, self._mapped, ids)

    def _populate(self, own_files: Mapping[str, bytes]) -> None:
        for path, data in own_files.items():
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(0o644)
        for path in self.paths:
            target = self.root / path.lstrip("/")
            target.mkdir(parents=True, exist_ok=True)
            os.chown(target, AGENT_UID, AGENT_UID)
            target.chmod(0o1777 if path in _STICKY else 0o755)
        for path, file in sorted(self._planted, key=lambda planted: planted[0]):
            self._plant(path, file)
        for path in folders_of_root(self._planted, self.paths, own=(home_of(self.host), *_STICKY)):
            os.chown(self.root / path.lstrip("/"), 0, 0)
        self._date_folders()

    def _plant(self, path: str, file: FileSpec) -> None:
        target = self.root / path.lstrip("/")
        self._make_folders(target.parent)
        target.write_bytes(file.data)
        uid = AGENT_UID if file.owner == "agent" else 0
        os.chown(target, uid, uid)
        target.chmod(file.mode)
        when = file.mtime if file.mtime is not None else int(time.time())
        os.utime(target, (when, when))

    def _make_folders(self, folder: Path) -> None:
        missing = [p for p in (folder, *folder.parents) if not p.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o755)
            os.chown(path, AGENT_UID, AGENT_UID)

    def _date_folders(self) -> None:
        """A folder looks as old as the newest file planted below it, not as old as this trial."""
        newest: dict[Path, int] = {}
        for path, file in self._planted:
            if file.mtime is None:
                continue
            for folder in (self.root / path.lstrip("/")).parents:
                if folder == self.root:
                    break
                newest[folder] = max(newest.get(folder, 0), file.mtime)
        for folder, when in newest.items():
            os.utime(folder, (when, when))

    def unmount(self) -> None:
        """Give the memory back; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        for folder in (self._mapped, self.root):
            detach(folder)

    def binds(self, own_files: Iterable[str]) -> list[Bind]:
        """What the container is to be shown of this tmpfs."""
        shown = self._mapped if self._mapped.exists() else self.root
        trees = [Bind(str(shown / p.lstrip("/")), p, False) for p in self.paths]
        return trees + [Bind(str(shown / p.lstrip("/")), p, True) for p in own_files]

    def read(self, path: str, limit: int) -> bytes:
        """The agent's: at most `limit` bytes of a regular file."""
        with _answered(path), opened(self._fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as fd:
            _require_regular(path, fd)
            return _read_at_most(fd, limit)

    def write(self, path: str, data: bytes, mode: int) -> None:
        """The agent's: create with `mode`, or replace the content of what is there, which keeps its mode."""
        with _answered(path):
            self._make_parents(path)
            try:
                fd = open_below(self._fd, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                os.fchmod(fd, mode)
            except FileExistsError:
                fd = open_below(self._fd, path, os.O_WRONLY | os.O_NONBLOCK)
            try:
                _require_regular(path, fd)
                os.ftruncate(fd, 0)
                _write_all(fd, data)
            finally:
                os.close(fd)

    def _make_parents(self, path: str) -> None:
        parts = PurePosixPath(path).parts[1:-1]
        for depth in range(1, len(parts) + 1):
            above, name = "/" + "/".join(parts[: depth - 1]), parts[depth - 1]
            with opened(self._fd, above, os.O_PATH | os.O_DIRECTORY) as fd:
                try:
                    os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    os.mkdir(name, 0o755, dir_fd=fd)

    def list(self, path: str) -> Sequence[FileInfo]:
        """The agent's: the entries of a directory by name."""
        with _answered(path), opened(self._fd, path, os.O_RDONLY | os.O_DIRECTORY) as fd, os.scandir(fd) as entries:
            return sorted(file_info(entry.name, entry.stat(follow_symlinks=False)) for entry in entries)


class LinkedError(Exception):
    """A symlink lies on the way: only the container itself can say where it leads."""


def file_info(name: str, status: os.stat_result) -> FileInfo:
    return FileInfo(name, file_type(status.st_mode), status.st_size, stat.S_IMODE(status.st_mode), int(status.st_mtime))


@contextmanager
def _answered(path: str) -> Iterator[None]:
    """Turns an OSError about `path` into the FileError that the agent is to see."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LinkedError(path) from error
        raise FileError(path, os.strerror(error.errno or errno.EIO)) from error


def _require_regular(path: str, fd: int) -> None:
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise FileError(path, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise FileError(path, f"Not a regular file ({file_type(mode)})")


def _read_at_most(fd: int, limit: int) -> bytes:
    chunks, left = [], limit
    while left > 0 and (chunk := os.read(fd, min(left, 2**20))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_MARK = ".engine"


def claim(folder: Path, mark: str) -> None:
    """Make a trial's folder, marked as the one of an engine. Raises NotReadyError without the right to."""
    try:
        folder.mkdir(parents=True, mode=0o711)
        (folder / _MARK).write_text(mark)
    except PermissionError as error:
        raise NotReadyError(f"The engine may not create {folder}.", "Run belljar as root on the Docker host.") from error
    except OSError as error:
        raise InfrastructureError(f"Creating {folder} failed: {error}.") from error


def claimant(folder: Path) -> str:
    """The mark that `claim` left; "" if there is none."""
    try:
        return (folder / _MARK).read_text()
    except OSError:
        return ""


def release(folder: Path) -> bool:
    """Unmount whatever is left in a trial's folder and remove it; says whether it is gone. Safe to call twice."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                detach(path)
        (folder / _MARK).unlink(missing_ok=True)
        folder.rmdir()
    return not folder.exists()


def detach(folder: Path) -> None:
    """Unmount what is mounted at `folder`, also while in use, and remove the empty folder."""
    _libc.umount2(os.fsencode(folder), _MNT_DETACH)
    with suppress(OSError):
        folder.rmdir()
