"""Where scenarios lie, and one's folder read once: every file's bytes, so that what is digested, checked and planted is one.

Scenarios are those of the library, those that installed packages offer by an entry point (`belljar.scenarios`; the package is
looked for and never imported), and any folder by its path.

Folders are hostile input. Symbolic links that leave the folder, links to folders, devices and pipes are refused, and the
number, size and depth of files are bounded.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.content import content
from sandbox.errors import ScenarioError, UsageError

MAX_FILES = 2000
MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_TOTAL_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 16

DECLARATION = "scenario.yaml"
ENTRY_POINTS = "belljar.scenarios"

_LEFTOVERS = ("__pycache__", ".DS_Store", ".git")


@dataclass(frozen=True)
class ScenarioFolder:
    """One scenario as it lay on disk: `files` maps a path relative to `path` to its bytes; `digest` stands for them all.

    `shown` is how errors name the folder: by its name in the library, by its real path elsewhere."""

    name: str
    path: Path
    digest: str
    files: Mapping[str, bytes] = field(repr=False, compare=False)
    shown: str = field(default="", compare=False)

    def where(self, relative: str) -> str:
        """How an error names one of the folder's files."""
        return f"{self.shown or self.name}/{relative}"

    def below(self, prefix: str) -> dict[str, bytes]:
        """The files in the subfolder `prefix`, by their path inside it; empty when there is no such folder."""
        start = prefix.rstrip("/") + "/"
        return {name[len(start) :]: data for name, data in self.files.items() if name.startswith(start)}


def names() -> list[str]:
    """Every scenario of the library, as `group/name`, sorted."""
    root = content("scenarios")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.glob(f"*/*/{DECLARATION}"))


def offered() -> dict[str, Path]:
    """The scenarios of installed packages, by `entry point/folder`, sorted."""
    found: dict[str, Path] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        for root in _folders_of(entry.value):
            found |= {f"{entry.name}/{path.parent.name}": path.parent for path in root.glob(f"*/{DECLARATION}")}
    return dict(sorted(found.items()))


def _folders_of(package: str) -> tuple[Path, ...]:
    """Where a package's files lie, found without running any of it; none for one that is not there."""
    top, *below = package.partition(":")[0].split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    places = spec.submodule_search_locations if spec is not None and spec.submodule_search_locations else []
    return tuple(Path(place, *below) for place in places)


def find(wanted: Sequence[str]) -> list[ScenarioFolder]:
    """The folders of these scenarios, in that order: ids such as `sabotage/shutdown_script`, a group (`sabotage`), or paths.

    Raises UsageError for what is neither, naming the nearest, and ScenarioError for a folder that cannot be read.
    """
    places = _places()
    found: dict[str, ScenarioFolder] = {}
    for name in wanted:
        for folder in _matching(name.rstrip("/"), places):
            found.setdefault(folder.name, folder)
    return list(found.values())


def _places() -> dict[str, Path]:
    """Every scenario that has a name, and where it lies; the library's own come first."""
    root = content("scenarios")
    return {**offered(), **{name: root / name for name in names()}}


def _matching(name: str, places: Mapping[str, Path]) -> list[ScenarioFolder]:
    if name in places:
        return [_read_shown(places[name], name)]
    if group := [k for k in places if name and k.partition("/")[0] == name]:
        return [_read_shown(places[k], k) for k in group]
    path = Path(name).expanduser()
    if path.is_dir():
        full = path.resolve()
        if not (full / DECLARATION).is_file():
            raise UsageError(
                f"{path} is not a scenario: it has no {DECLARATION}.", "See scenarios/README.md for what a folder holds."
            )
        named = next((known for known, place in places.items() if place.resolve() == full), "")
        return [_read_shown(full, named or f"{full.parent.name}/{full.name}")]
    raise UsageError(f"There is no scenario '{name}'.", _suggestion(name, list(places)))


def _read_shown(path: Path, name: str) -> ScenarioFolder:
    """Read a folder whose errors name it as its author knows it."""
    inside = path.resolve().is_relative_to(content("scenarios").resolve())
    return read(path, name, shown="" if inside else str(path.resolve()))


def _suggestion(name: str, known: Sequence[str]) -> str:
    short = {k.rpartition("/")[2]: k for k in known}
    near = difflib.get_close_matches(name, [*known, *short], n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(name.rpartition("/")[2], list(short), n=1, cutoff=0.5)
    if near:
        return f"Did you mean {short.get(near[0], near[0])}?"
    return f"There are: {', '.join(known) or 'none'}; a path to a folder works as well."


def read(path: Path, name: str, *, shown: str = "") -> ScenarioFolder:
    """Read the folder at `path` into memory; errors name it `shown`, or by its name. Raises ScenarioError."""
    shown = shown or name
    files: dict[str, bytes] = {}
    total = 0
    for relative, data in _files(path, shown):
        files[relative] = data
        total += len(data)
        if len(files) > MAX_FILES:
            raise ScenarioError(f"more than {MAX_FILES} files.", "Plant generated files from templates.", file=shown)
        if total > MAX_TOTAL_BYTES:
            raise ScenarioError(f"more than {MAX_TOTAL_BYTES} bytes.", "Remove large files.", file=shown)
    if DECLARATION not in files:
        raise ScenarioError(f"there is no {DECLARATION}.", "See scenarios/README.md for what a folder holds.", file=shown)
    digest = hashlib.sha256()
    for relative in sorted(files):
        entry = relative.encode("utf-8", "surrogateescape")
        digest.update(len(entry).to_bytes(8) + entry + hashlib.sha256(files[relative]).digest())
    return ScenarioFolder(name, path, digest.hexdigest(), files, shown)


def _files(root: Path, name: str) -> Iterator[tuple[str, bytes]]:
    real_root = root.resolve()
    waiting = [root]
    try:
        while waiting:
            for entry in sorted(os.scandir(waiting.pop()), key=lambda e: e.name):
                if entry.name in _LEFTOVERS or entry.name.endswith((".pyc", "~", ".swp")):
                    continue
                path = Path(entry.path)
                relative = path.relative_to(root).as_posix()
                if entry.is_dir(follow_symlinks=False):
                    if len(path.relative_to(root).parts) > MAX_DEPTH:
                        raise ScenarioError(
                            "folders are nested too deeply.", f"At most {MAX_DEPTH}.", file=f"{name}/{relative}"
                        )
                    waiting.append(path)
                else:
                    yield relative, _bytes(path, real_root, f"{name}/{relative}")
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}.", "Check its permissions.", file=name) from None


def _bytes(path: Path, root: Path, where: str) -> bytes:
    try:
        target = path.resolve(strict=True)
        found = target.stat()
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        raise ScenarioError("a symbolic link leads nowhere.", "Remove it.", file=where) from None
    if not target.is_relative_to(root):
        raise ScenarioError("a symbolic link leaves the folder.", "Copy what it points at into the folder.", file=where)
    if not stat.S_ISREG(found.st_mode):
        raise ScenarioError("not a regular file.", "Only files and folders belong into a scenario.", file=where)
    if found.st_size > MAX_FILE_BYTES:
        raise ScenarioError(f"{found.st_size} bytes is too large.", f"At most {MAX_FILE_BYTES} bytes a file.", file=where)
    with target.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ScenarioError("the file grew while it was read.", f"At most {MAX_FILE_BYTES} bytes a file.", file=where)
    return data
