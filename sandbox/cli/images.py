"""`belljar images`: build the container images, each only when its definition changed."""

from __future__ import annotations

from sandbox.cli.output import JsonFlag, errors, plain, print_json
from sandbox.hosts.images import build_images


def images(json_output: JsonFlag = False) -> None:
    """Build the images that trials run in, without an image registry; an unchanged definition is not rebuilt."""
    screen = errors()
    built = build_images(lambda line: screen.print(plain(line), markup=False, soft_wrap=True))
    if json_output:
        print_json({"images": built})
    else:
        for name, digest in built.items():
            screen.print(f"{name}: {digest[:19]}", markup=False)
