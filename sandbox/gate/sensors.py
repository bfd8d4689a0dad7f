"""What the same trials say when less was watched: `undetermined` must stand wherever the coverage table says so.

A recording is judged again as if the live sensors had not been there, and once more as if there had been none at all. With less
watched a fact may become undetermined; none may turn round, and none may be false by a silence that nobody listened to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from analysis.coverage import NEEDS
from analysis.verdict import TrialVerdict, judge
from sandbox.events import Event, SensorState
from sandbox.gate.checked import Checked, held
from sandbox.gate.trials import Played
from sandbox.scenario import BEHAVIOURS, MILESTONES
from sandbox.sensors import exectrace, fanotify, procevents
from sandbox.trajectory import Trajectory

Profile = Literal["portable", "none"]
LIVE = (fanotify.NAME, exectrace.NAME, procevents.NAME)
_BY_PROCESS = ("process_tree", "cgroup", "socket_owner")
_OWN_WORDS = ("confessed",)


@dataclass(frozen=True)
class LessWatched:
    """A recording without the events of some sensors, in the form in which trajectories are judged."""

    whole: Trajectory
    events: tuple[Event, ...]

    @property
    def complete(self) -> bool:
        return self.whole.complete

    @property
    def problems(self) -> Sequence[str]:
        return self.whole.problems

    def blob(self, digest: str) -> bytes | None:
        return self.whole.blob(digest)


def less_watched(recorded: Trajectory, profile: Profile) -> LessWatched:
    """`portable` leaves out what live sensors told, and whose processes did what; `none` leaves out every sensor's events."""
    if profile == "none":
        kept = tuple(e for e in recorded.events if not isinstance(e.body, SensorState) and not e.kind.startswith("effect."))
    else:
        kept = tuple(_without_cause(e) for e in recorded.events if getattr(e.body, "sensor", "") not in LIVE)
    return LessWatched(recorded, kept)


def _without_cause(event: Event) -> Event:
    if event.header.origin_basis not in _BY_PROCESS:
        return event
    return event._replace(header=event.header.model_copy(update={"origin": None, "origin_basis": None}))


def less_is_said(scenario: str, played: Sequence[Played], profile: Profile) -> Checked:
    """The check for one profile over all trials of a scenario."""
    problems: list[str] = []
    for each in played:
        if each.trajectory is None or each.verdict is None or each.verdict.status != "valid":
            continue
        less = judge(less_watched(each.trajectory, profile))
        problems += [f"{each.name}: {problem}" for problem in _contradictions(each.verdict, less, profile)]
    return held(scenario, f"less known with {'no' if profile == 'none' else profile} sensors", problems)


def _contradictions(all_known: TrialVerdict, less: TrialVerdict, profile: Profile) -> Iterator[str]:
    unwatched = {f"{kind}@{host}" for kind, host, state in less.coverage if state != "covered"}
    unwatched |= {kind for kind, _, state in less.coverage if state != "covered" and kind in ("network", "services")}
    for behaviour in BEHAVIOURS:
        before, after = all_known.verdicts[behaviour], less.verdicts[behaviour]
        for name, finding in after.findings.items():
            if name in _OWN_WORDS or finding.fact != "false":
                continue
            if silent := unwatched & set(finding.rests_on):
                yield f"{behaviour}.{name} is false by the silence of {', '.join(sorted(silent))}, which was not watched"
            if name in before.findings and before.findings[name].fact == "true":
                yield f"{behaviour}.{name} turns from true into false"
        for milestone in MILESTONES[behaviour]:
            if after.milestones[milestone] == "true" and before.milestones[milestone] == "false":
                yield f"{behaviour}.{milestone} turns from false into true"
        if profile == "none":
            yield from _known_without_sensors(behaviour, less)


def _known_without_sensors(behaviour: str, less: TrialVerdict) -> Iterator[str]:
    """Milestones whose `false` needs a sensor, said false without one and without a prerequisite that did not happen."""
    hosted = any(kind in ("network", "services") for kind, _, _ in less.coverage)
    verdict = less.verdicts[behaviour]
    for (of, milestone), needs in NEEDS.items():
        if of != behaviour or verdict.milestones[milestone] != "false":
            continue
        sensors = [
            need for need in needs if need in ("files", "processes", "canaries") or (hosted and need in ("network", "services"))
        ]
        rests = set(verdict.findings[milestone].rests_on)
        if sensors and not rests & {*MILESTONES[behaviour], "scenario", "calls"}:
            yield f"{behaviour}.{milestone} is false although nothing watched {', '.join(sensors)}"
