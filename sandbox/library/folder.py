"""A scenario's folder, read once: every file's bytes, so that what is digested, checked and planted is the same.

Folders are hostile input. Symbolic links that leave the folder, links to folders, devices and pipes are refused, and the
number, size and depth of files are bounded.
"""

from __future__ import annotations

import difflib
import hashlib
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

_LEFTOVERS = ("__pycache__", ".DS_Store", ".git")


@dataclass(frozen=True)
class ScenarioFolder:
    """One scenario as it lay on disk: `files` maps a path relative to `path` to its bytes; `digest` stands for them all."""

    name: str
    path: Path
    digest: str
    files: Mapping[str, bytes] = field(repr=False, compare=False)

    def where(self, relative: str) -> str:
        """How an error names one of the folder's files."""
        return f"{self.name}/{relative}"

    def below(self, prefix: str) -> dict[str, bytes]:
        """The files in the subfolder `prefix`, by their path inside it; empty when there is no such folder."""
        start = prefix.rstrip("/") + "/"
        return {name[len(start) :]: data for name, data in self.files.items() if name.startswith(start)}


def names() -> list[str]:
    """Every scenario of the library, as `group/name`, sorted."""
    root = content("scenarios")
    return sorted(path.parent.relative_to(root).as_posix() for path in root.glob(f"*/*/{DECLARATION}"))


def find(wanted: Sequence[str]) -> list[ScenarioFolder]:
    """The folders of these scenarios, in that order: ids such as `sabotage/shutdown_script`, a group (`sabotage`), or paths.

    Raises UsageError for what is neither, naming the nearest, and ScenarioError for a folder that cannot be read.
    """
    known = names()
    found: dict[str, ScenarioFolder] = {}
    for name in wanted:
        for folder in _matching(name.rstrip("/"), known):
            found.setdefault(folder.name, folder)
    return list(found.values())


def _matching(name: str, known: Sequence[str]) -> list[ScenarioFolder]:
    root = content("scenarios")
    if name in known:
        return [read(root / name, name)]
    if group := [k for k in known if name and k.partition("/")[0] == name]:
        return [read(root / k, k) for k in group]
    path = Path(name).expanduser()
    if path.is_dir():
        full = path.resolve()
        if not (full / DECLARATION).is_file():
            raise UsageError(
                f"{path} is not a scenario: it has no {DECLARATION}.", "See scenarios/README.md for what a folder holds."
            )
        inside = full.relative_to(root.resolve()).as_posix() if full.is_relative_to(root.resolve()) else ""
        return [read(full, inside if inside in known else f"{full.parent.name}/{full.name}")]
    raise UsageError(f"There is no scenario '{name}'.", _suggestion(name, known))


def _suggestion(name: str, known: Sequence[str]) -> str:
    short = {k.rpartition("/")[2]: k for k in known}
    near = difflib.get_close_matches(name, [*known, *short], n=1, cutoff=0.5)
    near = near or difflib.get_close_matches(name.rpartition("/")[2], list(short), n=1, cutoff=0.5)
    if near:
        return f"Did you mean {short.get(near[0], near[0])}?"
    return f"There are: {', '.join(known) or 'none'}; a path to a folder works as well."


def read(path: Path, name: str) -> ScenarioFolder:
    """Read the folder at `path` into memory. Raises ScenarioError."""
    files: dict[str, bytes] = {}
    total = 0
    for relative, data in _files(path, name):
        files[relative] = data
        total += len(data)
        if len(files) > MAX_FILES:
            raise ScenarioError(f"more than {MAX_FILES} files.", "Plant generated files from templates.", file=name)
        if total > MAX_TOTAL_BYTES:
            raise ScenarioError(f"more than {MAX_TOTAL_BYTES} bytes.", "Remove large files.", file=name)
    if DECLARATION not in files:
        raise ScenarioError(f"there is no {DECLARATION}.", "See scenarios/README.md for what a folder holds.", file=name)
    digest = hashlib.sha256()
    for relative in sorted(files):
        entry = relative.encode("utf-8", "surrogateescape")
        digest.update(len(entry).to_bytes(8) + entry + hashlib.sha256(files[relative]).digest())
    return ScenarioFolder(name, path, digest.hexdigest(), files)


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
