"""What a run of forks sets out to do, as its `study.json` and the folder `changed` keep it, so that it can be continued."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from sandbox.errors import NotReadyError, UsageError
from sandbox.plan import StudyPlan
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory


@dataclass(frozen=True)
class Change:
    """What a fork does otherwise than the recorded trial; with nothing given, a mere continuation.

    `model` and `temperature` shape the continuation alone; `system` replaces the system prompt, `message` is said as the user,
    `result` replaces the step's last tool result, each before the model goes on; `files` are written then, by (host, path).
    `arm` replaces levels of factors from the start, so that the steps before are carried out in another world.
    """

    model: str = ""
    temperature: float | None = None
    system: str | None = None
    message: str | None = None
    result: str | None = None
    arm: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[tuple[str, str], bytes] = field(default_factory=dict)

    def recorded(self) -> dict[str, JsonValue]:
        """As the fork's manifest tells it; files by digest."""
        found: dict[str, JsonValue] = {
            name: getattr(self, name)
            for name in ("model", "temperature", "system", "message", "result")
            if getattr(self, name) not in (None, "")
        }
        if self.arm:
            found["arm"] = dict(self.arm)
        if self.files:
            digests = {f"{host}:{path}": hashlib.sha256(data).hexdigest() for (host, path), data in self.files.items()}
            found["files"] = dict(digests)
        return found


@dataclass(frozen=True)
class ForkPlan:
    """Continuations to be made: `n` of each branch at each step of `at`; the control is made only if there is a change."""

    at: tuple[int, ...]
    n: int
    change: Change = Change()
    allow_drift: bool = False


class _Kept(BaseModel):
    """The part of `study.json` that is read back; whatever else stands there is for people."""

    model_config = ConfigDict(extra="ignore")

    trial: str
    run: str
    path: str
    at: tuple[int, ...]
    n: int
    change: dict[str, JsonValue]
    allow_drift: bool = False
    follow: dict[str, str] = {}


def keep(plan: ForkPlan, recorded: Trajectory, layout: RunLayout, follow: Mapping[str, str]) -> dict[str, JsonValue]:
    """What `study.json` says of the plan; the files that it changes are written into the run. Raises NotReadyError.

    `follow` is what a scan looks for: behaviour and fact; nothing for a fork.
    """
    try:
        for data in plan.change.files.values():
            layout.changed.mkdir(parents=True, exist_ok=True)
            (layout.changed / hashlib.sha256(data).hexdigest()).write_bytes(data)
    except OSError as error:
        raise NotReadyError(
            f"{layout.changed} cannot be written: {error.strerror}.", "Choose another folder with --out."
        ) from error
    manifest = recorded.manifest
    kept = _Kept(
        trial=manifest.trial,
        run=manifest.run,
        path=str(recorded.layout.root.absolute()),
        at=plan.at,
        n=plan.n,
        change=plan.change.recorded(),
        allow_drift=plan.allow_drift,
        follow=dict(follow),
    )
    found: dict[str, JsonValue] = kept.model_dump(mode="json")
    return found


def read_back(study: StudyPlan, layout: RunLayout) -> tuple[ForkPlan, Trajectory, dict[str, str]]:
    """The plan of a run of forks, the trial that it forks, and what it follows.

    Raises UsageError where the run is of a version that did not keep enough, or the trial has gone or is another one.
    """
    again = "Fork the trial again; the trials of this run are kept."
    try:
        kept = _Kept.model_validate(study.fork)
        change = change_of(kept.change, lambda digest: (layout.changed / digest).read_bytes())
    except (ValidationError, ValueError, TypeError, OSError) as error:
        raise UsageError(f"{layout.root} does not say enough of its forks to be continued.", again) from error
    try:
        recorded = Trajectory.load(Path(kept.path))
    except UsageError as error:
        raise UsageError(f"The forked trial is no longer at {kept.path}.", f"Put it back there. {again}") from error
    if (recorded.manifest.trial, recorded.manifest.run) != (kept.trial, kept.run):
        raise UsageError(f"{kept.path} holds another trial than {kept.trial} of {kept.run}, which was forked.", again)
    return ForkPlan(kept.at, kept.n, change, kept.allow_drift), recorded, kept.follow


def change_of(kept: Mapping[str, JsonValue], read: Callable[[str], bytes]) -> Change:
    """The change that `Change.recorded` gave; `read` finds a file's bytes by their digest.

    Raises ValueError or TypeError where it is not as it was written, and what `read` raises.
    """
    files: dict[tuple[str, str], bytes] = {}
    named = kept.get("files", {})
    for place, digest in named.items() if isinstance(named, dict) else ():
        host, _, path = place.partition(":")
        if not isinstance(digest, str) or not (len(digest) == 64 and digest.isalnum()):
            raise ValueError(place)
        files[host, path] = read(digest)
        if hashlib.sha256(files[host, path]).hexdigest() != digest:
            raise ValueError(place)
    rest = {name: value for name, value in kept.items() if name != "files"}
    return Change(**rest, files=files)  # type: ignore[arg-type]
