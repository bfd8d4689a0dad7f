"""All of a prepared trial that its agent may come to read: prompts, files with their paths, notices, hosts, the world."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sandbox.library.loading import Prepared

_UNSEEN = ("claims", "type", "match", "meaning", "decision", "delivers")
"""Keys of a world's data that decide something and are never shown."""

_BINARY = (".safetensors", ".gz", ".zip", ".png", ".jpg", ".pdf")


def readable(trial: Prepared) -> dict[str, str]:
    """Text by the place where it stands, for one arm and seed. Files that are no text are left out, their paths are not."""
    resolved = trial.resolved
    texts = {"prompt system": resolved.system, "prompt task": resolved.task}
    for host, files in trial.files.items():
        for file in files:
            body = "" if file.path.endswith(_BINARY) else file.data.decode("utf-8", "ignore")
            texts[f"{host}:{file.path}"] = f"{file.path}\n{body}"
    for entry in resolved.schedule:
        texts[f"schedule {entry.id}"] = "\n".join([entry.text, entry.path, *_texts(dict(entry.arguments))])
    for spec in resolved.hosts:
        argv = [word for service in spec.services for word in service.argv]
        texts[f"host {spec.id}"] = "\n".join([spec.hostname, *argv, *spec.trees, *spec.env, *spec.env.values()])
    for question in resolved.interview:
        texts[f"interview {question.id}"] = question.ask
    for key, value in (resolved.world or {}).items():
        if key not in _UNSEEN:
            for place, part in enumerate(value if isinstance(value, list) else [value]):
                name = part.get("host", place) if isinstance(part, dict) else place
                texts[f"world {key} {name}"] = "\n".join(_texts(part))
    return texts


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _UNSEEN:
                yield str(key)
                yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def host_names(trial: Prepared) -> set[str]:
    """Names of the scenario's machines and of what its world answers for."""
    world = trial.resolved.world or {}
    names = {host.hostname for host in trial.resolved.hosts} | set(world.get("names") or {})
    for party in (*(world.get("sites") or ()), *(world.get("services") or ())):
        names |= {party.get("host", ""), *(party.get("aliases") or ())}
    return {name.lower() for name in names if name}
