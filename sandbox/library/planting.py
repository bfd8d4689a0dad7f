"""The files that are on a host before a trial: their bytes, rendered and generated, and what the record keeps of them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence

from sandbox.environment import FileSpec
from sandbox.errors import ScenarioError
from sandbox.library.document import Document
from sandbox.library.folder import ScenarioFolder
from sandbox.library.template import render
from sandbox.library.variables import Value
from sandbox.scenario import Asset, FileFact, PlantedFile, Scenario, Weights

MAX_PLANTED_BYTES = 128 * 1024 * 1024
DAY = 86_400


def plant(
    folder: ScenarioFolder, scenario: Scenario, document: Document, context: Mapping[str, Value], *, seed: int, now: int
) -> tuple[dict[str, tuple[FileSpec, ...]], tuple[FileFact, ...]]:
    """The files of one arm by host, and their facts. `document` is the resolved one, for the lines of errors.

    Raises ScenarioError, also when an asset that is to be recognised elsewhere was not planted.
    """
    planted: dict[str, dict[str, FileSpec]] = {host.id: {} for host in scenario.hosts}
    total = 0
    for index, file in enumerate(scenario.files):
        for path, data in _contents(folder, file, context, seed):
            if path in planted[file.host]:
                raise document.error(("files", index), f"{path} is planted twice on {file.host}.", "Remove one of the entries.")
            total += len(data)
            if total > MAX_PLANTED_BYTES:
                raise document.error(("files", index), f"more than {MAX_PLANTED_BYTES} bytes are planted.", "Plant less.")
            mtime = now - _age(folder.name, path, seed, file.age_days)
            planted[file.host][path] = FileSpec(path, data, int(file.mode, 8), mtime, file.owner)
    _check_assets(scenario, document, planted)
    facts = tuple(_fact(host, file) for host, files in planted.items() for _, file in sorted(files.items()))
    return {host: tuple(files.values()) for host, files in planted.items()}, facts


def asset_digests(assets: Sequence[Asset], facts: Sequence[FileFact]) -> tuple[Asset, ...]:
    """The assets, each with the digest of the bytes that were planted at its path, where there is such a file."""
    digests = {(fact.host, fact.path): fact.sha256 for fact in facts}
    return tuple(asset.model_copy(update={"sha256": digests.get((asset.host, asset.path))}) for asset in assets)


def weights_bytes(weights: Weights, *, scenario: str, path: str, seed: int) -> bytes:
    """A safetensors file of about `weights.kib` KiB: a true header around random numbers that fit no model."""
    chance = random.Random(f"{scenario}|{path}|{seed}")  # noqa: S311 - reproducible, not secret
    count = (weights.kib * 1024 - 512) // 2
    header = {
        "__metadata__": {"format": "pt", "revision": chance.randbytes(20).hex()},
        "model.layers.0.weight": {"dtype": "F16", "shape": [count], "data_offsets": [0, count * 2]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + chance.randbytes(count * 2)


def _contents(
    folder: ScenarioFolder, file: PlantedFile, context: Mapping[str, Value], seed: int
) -> Iterator[tuple[str, bytes]]:
    if file.text is not None:
        yield file.path, file.text.encode()
    elif file.weights is not None:
        yield file.path, weights_bytes(file.weights, scenario=folder.name, path=file.path, seed=seed)
    elif f"files/{file.source}" in folder.files:
        yield file.path, _rendered(folder, f"files/{file.source}", context)
    else:
        for relative in sorted(folder.below(f"files/{file.source}")):
            yield f"{file.path}/{relative.removesuffix('.j2')}", _rendered(folder, f"files/{file.source}/{relative}", context)


def _rendered(folder: ScenarioFolder, name: str, context: Mapping[str, Value]) -> bytes:
    data = folder.files[name]
    if not name.endswith(".j2"):
        return data
    return render(utf8(folder, name), context, file=folder.where(name)).encode()


def utf8(folder: ScenarioFolder, name: str) -> str:
    """A file of the folder as text. Raises ScenarioError when it is not UTF-8."""
    try:
        return folder.files[name].decode("utf-8")
    except UnicodeDecodeError:
        fix = "Remove the .j2 to plant it as it is." if name.endswith(".j2") else "Save it as UTF-8."
        raise ScenarioError("the file is not UTF-8 text.", fix, file=folder.where(name)) from None


def _age(scenario: str, path: str, seed: int, days: tuple[float, float]) -> int:
    low, high = sorted(days)
    chance = random.Random(f"{scenario}|{path}|{seed}|age")  # noqa: S311 - reproducible, not secret
    return int(chance.uniform(low, high) * DAY)


def _check_assets(scenario: Scenario, document: Document, planted: Mapping[str, Mapping[str, FileSpec]]) -> None:
    for index, asset in enumerate(scenario.assets):
        if asset.canary and asset.path not in planted[asset.host]:
            fix = "Plant a file there under `files`, or set `canary: false`."
            raise document.error(
                ("assets", index), f"`{asset.id}` is to be recognised, but nothing is planted at {asset.path}.", fix
            )
        if asset.canary and len(planted[asset.host][asset.path].data) < 16:
            raise document.error(("assets", index), f"`{asset.id}` is too short to be recognised.", "Plant at least 16 bytes.")


def _fact(host: str, file: FileSpec) -> FileFact:
    return FileFact(
        host=host, path=file.path, sha256=hashlib.sha256(file.data).hexdigest(), size=len(file.data), mode=f"{file.mode:04o}"
    )
