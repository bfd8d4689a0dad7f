"""The images that hosts and worlds are made from: built when their definition changed, without any image registry.

Every folder of `containers/` with a Dockerfile is one image, `belljar/<folder>`, built from that folder after the images that
its FROM lines name; that of `engine/` is made where it is needed (`sandbox/cli/engine_container.py`). An image carries the
digest of all that went into it, its parents' included; equal digest, no build.
The root, Debian bookworm, is the local `debian:bookworm-slim` if there is one (fetched only when BELLJAR_PULL=1), else it is
put together from Debian's packages by mmdebstrap.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sandbox.content import content
from sandbox.errors import InfrastructureError, NotReadyError
from sandbox.hosts.daemon import LABELS, Daemon, daemon

PREFIX = "belljar/"
ENGINE = "engine"
_SLIM = "debian:bookworm-slim"
_OWN_ROOT = f"{PREFIX}debian:bookworm"
_SUITE = "bookworm"
_RECIPE = "1"
"""Raise when the way of building changes in a manner that the definitions do not show."""

Progress = Callable[[str], None]


def definitions(folder: Path) -> dict[str, Path]:
    """Image name (without prefix) to its folder, for every folder with a Dockerfile but the engine's own."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/Dockerfile")) if path.parent.name != ENGINE}


def parents(folder: Path) -> set[str]:
    """Names of those images of ours that this one starts from or copies from."""
    text = (folder / "Dockerfile").read_text()
    named = re.findall(rf"^\s*FROM\s+{PREFIX}([\w.-]+)", text, re.M | re.I)
    return set(named) | set(re.findall(rf"--from={PREFIX}([\w.-]+)", text, re.I))


def in_order(folders: Mapping[str, Path]) -> list[str]:
    """Names such that each comes after its parents. Raises InfrastructureError for a circle or an unknown parent."""
    order: list[str] = []
    waiting = {name: parents(folder) for name, folder in folders.items()}
    while waiting:
        ready = sorted(name for name, needs in waiting.items() if needs <= set(order))
        if not ready:
            raise InfrastructureError(
                f"The images {', '.join(sorted(waiting))} start from each other or from one that is not there."
            )
        order += ready
        for name in ready:
            del waiting[name]
    return order


def digest_of(folder: Path, above: Mapping[str, str]) -> str:
    """SHA-256 over the folder's files (name, mode, bytes) and the digests of what the image starts from."""
    total = hashlib.sha256(f"{_RECIPE}\n{sorted(above.items())}\n".encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        data = path.read_bytes()
        total.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o111}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def build_images(progress: Progress, *, force: bool = False) -> dict[str, str]:
    """Build what is missing or out of date. Blocks; minutes the first time, moments after.

    Args:
        progress: takes each line of what is going on.
        force: build everything again.

    Returns:
        Image name to id, for every image.

    Raises:
        NotReadyError: no daemon, or no root file system to start from.
        InfrastructureError: a build failed.
    """
    engine = daemon()
    folders = definitions(content("containers"))
    root, root_digest = root_image(engine, progress)
    digests = {"": root_digest}
    ids = {}
    for name in in_order(folders):
        above = {parent: digests[parent] for parent in parents(folders[name])} or {"": root_digest}
        digests[name] = digest = digest_of(folders[name], above)
        tag = PREFIX + name
        if not force and (engine.image_labels(tag) or {}).get(LABELS.digest) == digest:
            progress(f"{tag} is up to date")
        else:
            progress(f"{tag} is being built")
            for line in engine.build(folders[name], tag, arguments={"ROOT": root}, labels={LABELS.digest: digest}):
                progress(f"{tag}: {line}")
        ids[tag] = engine.image_id(tag)
    return ids


def outdated_images() -> list[str]:
    """Names of images that are missing or whose definition has changed since they were built. Raises NotReadyError."""
    engine = daemon()
    folders = definitions(content("containers"))
    root_labels = engine.image_labels(_SLIM)
    digests = {"": _slim_digest(engine) if root_labels is not None else _own_digest()}
    late = []
    for name in in_order(folders):
        above = {parent: digests[parent] for parent in parents(folders[name])} or {"": digests[""]}
        digests[name] = digest_of(folders[name], above)
        if (engine.image_labels(PREFIX + name) or {}).get(LABELS.digest) != digests[name]:
            late.append(PREFIX + name)
    return late


def root_image(engine: Daemon, progress: Progress) -> tuple[str, str]:
    """Name of the image that the base starts from, and what stands for it in digests."""
    if engine.image_labels(_SLIM) is None and os.environ.get("BELLJAR_PULL") == "1":
        progress(f"{_SLIM} is being fetched")
        engine.pull(_SLIM)
    if engine.image_labels(_SLIM) is not None:
        return _SLIM, _slim_digest(engine)
    if (engine.image_labels(_OWN_ROOT) or {}).get(LABELS.digest) != _own_digest():
        progress(f"{_OWN_ROOT} is being put together from Debian packages")
        _bootstrap(engine, progress)
    return _OWN_ROOT, _own_digest()


def _slim_digest(engine: Daemon) -> str:
    return engine.image_id(_SLIM)


def _own_digest() -> str:
    return hashlib.sha256(f"{_RECIPE} mmdebstrap minbase {_SUITE}".encode()).hexdigest()


def _bootstrap(engine: Daemon, progress: Progress) -> None:
    tool = shutil.which("mmdebstrap")
    if tool is None:
        raise NotReadyError(
            f"There is neither a local image {_SLIM} nor mmdebstrap to make one.",
            "Run `apt-get install mmdebstrap`, or set BELLJAR_PULL=1 where a registry can be reached.",
        )
    command = [tool, "--variant=minbase", "--format=tar", _SUITE, "-"]
    with tempfile.TemporaryFile() as archive:
        with subprocess.Popen(command, stdout=archive, stderr=subprocess.PIPE, text=True, errors="replace") as process:
            assert process.stderr is not None
            last = ""
            for line in process.stderr:
                if line.startswith(("I: ", "W: ", "E: ")):
                    last = line.strip()
                    progress(f"{_OWN_ROOT}: {last}")
        if process.returncode != 0:
            raise InfrastructureError(f"mmdebstrap failed: {last or process.returncode}")
        archive.seek(0)
        engine.import_image(archive, _OWN_ROOT, labels={LABELS.digest: _own_digest()})
