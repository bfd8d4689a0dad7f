"""Where the data that travels with the program lies: `scenarios/` and `containers/`, in a checkout or in a wheel."""

from __future__ import annotations

from pathlib import Path


def content(name: str) -> Path:
    """The folder `name` of the project: beside the packages in a checkout, below `sandbox/_content/` in a wheel."""
    package = Path(__file__).resolve().parent
    packed = package / "_content" / name
    return packed if packed.is_dir() else package.parent / name
