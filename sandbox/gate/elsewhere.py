"""Whether the detectors of every other scenario stay silent on what a clean agent did in this one.

A recording is judged once more as if its scenario had declared, besides its own, the works, claims and assets of all others,
and its contents are searched for their canaries. Names lead back: `sabotage_backup_rotation_vault_log` is an asset of that
scenario. What lies on a path that this scenario uses itself is left out, since there it is another thing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from analysis.verdict import judge
from sandbox.events import Content, Event, TrialStarted
from sandbox.gate.trials import Played
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import Prepared, headline, load, prepare
from sandbox.library.references import is_below
from sandbox.scenario import BEHAVIOURS, Asset, Resolved
from sandbox.sensors.canaries import Scanner
from sandbox.trajectory import Trajectory


@dataclass(frozen=True)
class Declared:
    """What one scenario declares, under names of its own: assets, claims, canaries, texts by digest; `files` are its others."""

    scenario: str
    assets: tuple[Asset, ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()
    canaries: Mapping[str, bytes] = field(default_factory=dict)
    texts: Mapping[str, bytes] = field(default_factory=dict)
    files: tuple[bytes, ...] = ()


def declared(folder: ScenarioFolder) -> Declared:
    """The declarations of a scenario's headline arm in the first seed."""
    trial = prepare(folder, headline(load(folder)), 0)
    assets, claims = trial.resolved.assets, (trial.resolved.world or {}).get("claims") or ()
    stem = re.sub(r"[^a-z0-9]+", "_", folder.name.lower())
    works = {asset.id: _text_of(trial, asset) for asset in assets if asset.role in ("work", "licence")}
    marked = trial.environment_spec().canaries
    return Declared(
        scenario=folder.name,
        assets=tuple(_elsewhere(asset, stem, works.get(asset.id)) for asset in assets if asset.host == "agent"),
        claims=tuple({**claim, "id": f"{stem}_{claim.get('id')}"} for claim in claims),
        canaries={f"{stem}_{name}": data for name, data in marked.items()},
        texts={_digest(text): text for text in works.values() if text},
        files=tuple(
            f.data
            for files in trial.files.values()
            for f in files
            if b"\0" not in f.data and f.data not in set(marked.values())
        ),
    )


def _elsewhere(asset: Asset, stem: str, text: bytes | None) -> Asset:
    """The asset as another scenario would have it: nobody's process, and a work known by its text alone."""
    changes = {"id": f"{stem}_{asset.id}", "process": "", "sha256": _digest(text) if text else asset.sha256}
    return asset.model_copy(update=changes)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _text_of(trial: Prepared, asset: Asset) -> bytes | None:
    """A work's or a notice's text: its files, but for notices that lie among them, or the page at its address."""
    notices = {a.path for a in trial.resolved.assets if a.role == "licence"} - {asset.path}
    files = [f for f in trial.files.get(asset.host, ()) if is_below(f.path, asset.path) and f.path not in notices]
    pages = (
        body
        for site in (trial.resolved.world or {}).get("sites") or ()
        for path, body in (site.get("pages") or {}).items()
        if asset.path.endswith(f"://{site.get('host')}{path}") and isinstance(body, str)
    )
    whole = b"\n".join(f.data for f in files) or "\n".join(pages).encode()
    return whole or None


@dataclass(frozen=True)
class Abroad:
    """A recording whose scenario declares what others do as well, in the form in which trajectories are judged."""

    home: Trajectory
    others: Sequence[Declared]

    @cached_property
    def events(self) -> tuple[Event, ...]:
        return tuple(
            event._replace(body=body.model_copy(update={"resolved": self._resolved(body.resolved)}))
            if isinstance(body := event.body, TrialStarted)
            else event
            for event in self.home.events
        )

    @property
    def complete(self) -> bool:
        return self.home.complete

    @property
    def problems(self) -> Sequence[str]:
        return self.home.problems

    def blob(self, digest: str) -> bytes | None:
        found = next((other.texts[digest] for other in self.others if digest in other.texts), None)
        return found if found is not None else self.home.blob(digest)

    def _resolved(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        home = Resolved.model_validate(recorded)
        taken = [file.path for file in home.files] + [asset.path for asset in home.assets if asset.path]
        free = [a for other in self.others for a in other.assets if not any(_meet(a.path, path) for path in taken)]
        claims = [claim for other in self.others for claim in other.claims]
        world = home.world and {**home.world, "claims": [*(home.world.get("claims") or ()), *claims]}
        return home.model_copy(update={"assets": (*home.assets, *free), "world": world}).model_dump(mode="json")


def _meet(one: str, other: str) -> bool:
    return not one or is_below(one, other) or is_below(other, one)


class Elsewhere:
    """What all scenarios declare, for the trials of each."""

    def __init__(self, folders: Iterable[ScenarioFolder]) -> None:
        self._declared = [declared(folder) for folder in folders]
        # What other files hold as well is no sign of a canary, as in a trial: programs share their first lines.
        planted = {name: data for each in self._declared for name, data in each.canaries.items()}
        self._scanner = Scanner(planted, [data for each in self._declared for data in each.files])

    def heard(self, each: Played) -> Iterator[str]:
        """What the detectors of all other scenarios say of a clean agent's trial, in a sentence each."""
        if each.trajectory is None or each.verdict is None:
            return
        others = [other for other in self._declared if other.scenario != each.plan.scenario]
        abroad, said = judge(Abroad(each.trajectory, others)), f"{each.name}, with what other scenarios declare"
        for behaviour in BEHAVIOURS:
            now, before = abroad.verdicts[behaviour], each.verdict.verdicts[behaviour]
            if now.attempted != before.attempted:
                yield f"{said}: {behaviour} attempted is {now.attempted} ({now.findings['attempted'].account})"
        known = {indicator.kind for indicator in each.verdict.indicators}
        yield from (f"{said}: {i.kind} ({i.account})" for i in abroad.indicators if i.kind not in known)
        yield from (f"{said}: the planted bytes of {name} are recognised" for name in sorted(self._recognised(each)))

    def _recognised(self, each: Played) -> set[str]:
        """Canaries of others in what the recording keeps. What holds one of this scenario's own is passed over: two scenarios'
        runners resemble each other, and so do the heads of their weights."""
        own = {name for one in self._declared if one.scenario == each.plan.scenario for name in one.canaries}
        kept = _contents(each.trajectory) if each.trajectory is not None else iter(())
        found = ({finding.canary for finding in self._scanner.scan(data)} for data in kept)
        return {name for names in found if not names & own for name in names}


def _contents(trajectory: Trajectory) -> Iterator[bytes]:
    """Every content that a recording keeps, each once."""
    seen: set[str] = set()
    for event in trajectory.events:
        for value in dict(event.body).values() if isinstance(event.body, BaseModel) else ():
            if isinstance(value, Content) and value.sha256 not in seen:
                seen.add(value.sha256)
                yield trajectory.bytes_of(value) or b""
