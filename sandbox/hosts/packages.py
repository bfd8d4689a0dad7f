"""Which packages images have: read from their package database without running them, once for each image id."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from sandbox.errors import BelljarError
from sandbox.hosts.daemon import Daemon
from sandbox.record.anchors import state_folder

_STATUS = "/var/lib/dpkg/status"


def installed(engine: Daemon, images: Mapping[str, str]) -> str:
    """A line for each package of each image (id by name): image, package and version, parted by tabs. Blocks.

    An image whose packages cannot be read has the one line `?` instead.
    """
    lines = [f"{name}\t{line}" for name, image in sorted(images.items()) for line in _of_image(engine, image)]
    return "".join(f"{line}\n" for line in lines)


def read(text: str) -> dict[str, str]:
    """Versions by `image package`, from the text that `installed` gives."""
    rows = (line.split("\t") for line in text.splitlines())
    return {f"{row[0]} {row[1]}": row[2] if len(row) > 2 else "" for row in rows if len(row) > 1}


def _of_image(engine: Daemon, image: str) -> list[str]:
    kept = state_folder() / "packages" / image.replace(":", "-")
    with contextlib.suppress(OSError):
        return kept.read_text().splitlines()
    try:
        found = listed(engine.file_of_image(image, _STATUS).decode("utf-8", "replace"))
    except BelljarError:
        return ["?"]
    with contextlib.suppress(OSError):
        _keep(kept, "".join(f"{line}\n" for line in found))
    return found


def listed(status: str) -> list[str]:
    """Package and version of each installed package of a dpkg database, sorted."""
    found = []
    for entry in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.append(f"{fields.get('Package', '')}\t{fields.get('Version', '')}")
    return sorted(found)


def _keep(place: Path, text: str) -> None:
    """Whole or not at all, however many processes do it at once. Raises OSError."""
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
    fresh.write_text(text)
    fresh.replace(place)
