"""What in one trial is what in the other: moments, processes, ports and temporary names, as `Equivalence` needs to know it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TypeVar

from sandbox.events import FileEffect, NetworkEffect, ProcessEffect, ToolCalled, ToolReturned
from sandbox.replay.equivalence import Equivalence, Side
from sandbox.replay.git_objects import loose_objects, paired
from sandbox.trajectory import Trajectory

Who = tuple[str, ...]
"""What tells things of one kind apart within a trial."""

T = TypeVar("T", int, str)

_TEMPORARY = re.compile(r"(?:tmp\.?|sed)[A-Za-z0-9_]{6,12}|t[A-Za-z0-9]{6}")
_OTHERS = 0o077


def equivalence(recorded: Trajectory, replayed: Trajectory) -> Equivalence:
    """What compares values of a recorded trial with those of its second execution."""
    first, second = _moments(recorded), _moments(replayed)
    moments = _rising([(first[who], second[who]) for who in first if who in second])
    sides = _side(recorded, tuple(a for a, _ in moments)), _side(replayed, tuple(b for _, b in moments))
    pids = _pairs(_processes(recorded), _processes(replayed))
    names = _pairs(_temporary(recorded), _temporary(replayed))
    found = Equivalence(*sides, pids, names)
    ids = paired(loose_objects(recorded), loose_objects(replayed), lambda a, b: found.text(a, b) is not None)
    return Equivalence(*sides, pids, names, ids) if ids else found


def _pairs(first: dict[Who, list[T]], second: dict[Who, list[T]]) -> set[tuple[T, T]]:
    """The two values of each thing that both trials tell of, in order."""
    return {pair for who in first.keys() & second.keys() for pair in zip(first[who], second[who], strict=False)}


def _side(trajectory: Trajectory, moments: tuple[float, ...]) -> Side:
    stamps = [event.header.observed_at.wall_us / 1e6 for event in trajectory.events] or [0.0]
    started = trajectory.started
    return Side(
        started=stamps[0],
        seconds=max(stamps) - stamps[0],
        scenario=json.dumps(started.resolved, ensure_ascii=False) if started else "",
        moments=moments,
        ports=frozenset(_ports(trajectory)),
    )


def _moments(trajectory: Trajectory) -> dict[Who, float]:
    """When each call was made and answered."""
    return {
        (body.kind, body.call): event.header.observed_at.wall_us / 1e6
        for event in trajectory.events
        if isinstance(body := event.body, ToolCalled | ToolReturned)
    }


def _rising(moments: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without those that a clock put back made earlier than the one before."""
    found: list[tuple[float, float]] = []
    for two in moments:
        if not found or (two[0] >= found[-1][0] and two[1] >= found[-1][1]):
            found.append(two)
    return found


def _ports(trajectory: Trajectory) -> set[int]:
    """The ports from which connections came, as the wire showed them."""
    ports = (body.source.rpartition(":")[2] for _, body in trajectory.of(NetworkEffect) if ":" in body.source)
    return {int(port) for port in ports if port.isdecimal()}


def _processes(trajectory: Trajectory) -> dict[Who, list[int]]:
    """The ids of the processes that a trial tells of, by their arguments or by the pid file that they wrote."""
    found: dict[Who, list[int]] = {}
    for event in trajectory.events:
        body, host = event.body, event.header.host or ""
        if isinstance(body, ProcessEffect):
            found.setdefault((host, "process", *body.argv), []).append(body.pid)
        elif isinstance(body, FileEffect) and body.path.endswith(".pid") and body.content:
            text = body.content.text.strip()
            if text.isdecimal() and len(text) <= 7:
                found.setdefault((host, "file", body.path), []).append(int(text))
    return found


def _temporary(trajectory: Trajectory) -> dict[Who, list[str]]:
    """The names of the temporary files that were made in each folder, as mkstemp and mkdtemp make them: for one user alone,
    or gone by the next look."""
    found: dict[Who, list[str]] = {}
    for event, body in trajectory.of(FileEffect):
        folder, _, name = body.path.rpartition("/")
        private = body.after is not None and not body.after.mode & _OTHERS
        if body.action == "created" and (private or body.short_lived) and _TEMPORARY.fullmatch(name):
            found.setdefault((event.header.host or "", folder), []).append(name)
    return found
