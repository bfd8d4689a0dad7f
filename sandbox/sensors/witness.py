"""The live witness of one trial: who did what the looks found, and what came and went between them.

The portable sensor says what is different and what it holds; the live ones say which process did it, hence for which call, and
tell of files that did not last, of renames on the way, of opens, and of every process. Where a live sensor cannot be had the
trial goes on with the portable ones, and the record says so and why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from sandbox.events import Draft, FileEffect, FileState, NetworkEffect, ObservedAt, SensorState, ServiceEffect
from sandbox.hosts.guests import Guests
from sandbox.hosts.processes import Processes
from sandbox.sensors import exectrace, fanotify, procevents, sentrytrace
from sandbox.sensors.canaries import NAME as CANARIES
from sandbox.sensors.canaries import Canaries
from sandbox.sensors.changes import shown
from sandbox.sensors.collector import collector
from sandbox.sensors.deeds import Deed, FileWatch, is_watched
from sandbox.sensors.exectrace import Record, space_of
from sandbox.sensors.fanotify import ATTRIB, CLOSE_WRITE, CREATE, DELETE, MODIFY, OPEN, RENAME
from sandbox.sensors.lineage import Calls, Cause, Lineage, Told
from sandbox.sensors.sentrytrace import SentryTrace

MOST_PROCESSES = 2_000
MOST_FILES = 4_000
"""Effects of one host told of between two drains; the rest are counted."""

_SANDBOX = 0
"""Stands for all of a sandbox's processes."""

_NOT_TOLD = {
    procevents.NAME: "arguments of the short-lived, and owners of sockets, are not told",
    sentrytrace.NAME: "owners of sockets are not told",
}

_ENTERED = CREATE | RENAME
_WROTE = MODIFY | CLOSE_WRITE | CREATE | RENAME


class View(NamedTuple):
    """What is watched of one host: its processes, where its trees lie on this machine, what they are called inside, the state
    in which the last look found a path, and the trace of the sandbox that it runs in, if it does."""

    processes: Processes | Guests
    root: Path
    trees: Sequence[str]
    found: Callable[[bytes], FileState | None] = lambda _: None
    trace: SentryTrace | None = None


class _Source(Protocol):
    """Where a host's process records come from; `drain` as `Collector.drain` has it."""

    @property
    def sensor(self) -> str: ...

    def drain(self) -> tuple[list[Record], int]: ...

    def close(self) -> None: ...


class _Space:
    """What the machine's own collector hears of one pid namespace. Raises OSError or ValueError where it cannot."""

    def __init__(self, space: int) -> None:
        self._space = space
        collector.join(space)

    @property
    def sensor(self) -> str:
        return collector.sensor

    def drain(self) -> tuple[list[Record], int]:
        return collector.drain(self._space)

    def close(self) -> None:
        collector.leave(self._space)


@dataclass
class _Host:
    name: str
    lineage: Lineage
    watched: tuple[bytes, ...]
    found: Callable[[bytes], FileState | None]
    source: _Source | None = None
    sandboxed: bool = False
    files: FileWatch | None = None
    carried: list[Deed] = field(default_factory=list)
    before: list[Deed] = field(default_factory=list)
    after: list[Deed] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    looked: Sequence[FileEffect] = ()


class Witness:
    """Joins what live sensors hear to what looks find. `told` and `look` block; run them in a thread.

    Args:
        watch_paths: whose opens are told of: `path` on every host, or `host:path`; a folder's means all below it.
        live: whether to use live sensors where this machine has them.
        canaries: recognises planted bytes in everything that is told of; None for no such search.
    """

    def __init__(self, watch_paths: Sequence[str] = (), *, live: bool = True, canaries: Canaries | None = None) -> None:
        self._watch_paths = tuple(watch_paths)
        self._live = live
        self._canaries = canaries
        self._calls = Calls()
        self._hosts: dict[str, _Host] = {}
        self._read: list[tuple[str, str, str]] = []

    def start(self, views: Mapping[str, View], shell: tuple[str, int]) -> list[Draft]:
        """Listen from now on; what runs now is the scenario's, apart from the agent's `shell` (host and process id).

        Returns what the sensors say of themselves.
        """
        states: list[SensorState] = []
        for name, view in views.items():
            watched = tuple(_watched(self._watch_paths, name))
            host = _Host(name, Lineage(self._calls), watched, view.found, sandboxed=view.trace is not None)
            self._hosts = {**self._hosts, name: host}  # never changed in place: another thread may be at it
            if self._live:
                states += (_start_files(host, view), _start_processes(host, view))
        self._shell(*shell)
        if self._canaries is not None and self._canaries.any:
            states.append(SensorState(sensor=CANARIES, state="started", covers=("canaries",), hosts=tuple(views)))
        return [Draft(state, source="sensor", host=state.hosts[0] if len(state.hosts) == 1 else None) for state in states]

    def begin_call(self, call: str) -> None:
        self._calls.begin(call)

    def end_call(self) -> None:
        self._calls.end()

    def _shell(self, host: str, pid: int) -> None:
        if pid and host in self._hosts:
            self._hosts[host].lineage.shells.add(pid)

    def opened(self, host: str, path: str) -> None:
        """The engine itself opened a file for the open call."""
        call = self._calls.at(time.monotonic_ns())
        watched = self._hosts[host].watched if host in self._hosts else ()
        if call is not None and is_watched(os.fsencode(path), watched):
            self._read.append((host, path, call))

    def look(self, host: str, look: Callable[[], list[FileEffect]]) -> list[FileEffect]:
        """Take a look between two readings of the live events, so that each effect's are at hand."""
        known = self._hosts.get(host)
        if known is None or known.files is None:
            return look()
        try:
            known.before += self._deeds(known)
            return look()
        finally:
            known.after += self._deeds(known)

    def told(self, drafts: Sequence[Draft], during: str | None, shell: tuple[str, int]) -> list[Draft]:
        """`drafts` with their origins, and all that only the live sensors saw since the last time; `during` is the one call
        that was open since then, None if there were none or several; `shell` as in `start`."""
        found: list[Draft] = []
        self._shell(*shell)
        for host in self._hosts.values():
            found += self._processes(host)
        for draft in drafts:
            of = self._hosts.get(draft.host or "")
            found.append(draft if of is None else self._ascribed(draft, of, during))
        for host in self._hosts.values():
            looked = [d.body for d in drafts if d.host == host.name and isinstance(d.body, FileEffect)]
            found += self._passing(host, looked, during)
            host.carried, host.before, host.after = host.after, [], []
            host.lineage.settle()
        found += [
            Draft(_opened(path.encode("utf-8", "surrogateescape")), "sensor", host, call, call, "process_tree")
            for host, path, call in self._read
        ]
        self._read = []
        return self._canaries.recognised(found) if self._canaries is not None else found

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        for host in self._hosts.values():
            if host.files is not None:
                collector.remove(host.files)
            if host.source is not None:
                host.source.close()
        self._hosts = {}

    def _deeds(self, host: _Host) -> list[Deed]:
        assert host.files is not None
        collector.drain_files(host.files)
        deeds, missed = host.files.taken()
        host.missed += missed
        return [_by_the_sandbox(deed) for deed in deeds] if host.sandboxed else deeds

    def _processes(self, host: _Host) -> list[Draft]:
        if (source := host.source) is None:
            return []
        try:
            records, lost = source.drain()
        except (LookupError, OSError, ValueError) as error:
            host.source = None
            gap = SensorState(
                sensor=source.sensor, state="gap", covers=("processes",), hosts=(host.name,), detail=str(error)[:1000]
            )
            return [Draft(gap, "sensor", host.name)]
        told = host.lineage.feed(records)
        drafts = [self._process(host, each, source.sensor) for each in told[:MOST_PROCESSES]]
        if missing := lost + max(0, len(told) - MOST_PROCESSES):
            state = SensorState(sensor=source.sensor, state="dropped", covers=("processes",), hosts=(host.name,), count=missing)
            drafts.append(Draft(state, "sensor", host.name))
        return drafts

    def _process(self, host: _Host, told: Told, sensor: str) -> Draft:
        offset = time.time_ns() - time.monotonic_ns()
        at = ObservedAt((told.at_ns + offset) // 1000, told.at_ns // 1000)
        during = self._calls.at(told.at_ns)
        effect = told.effect if sensor == exectrace.NAME else told.effect.model_copy(update={"sensor": sensor})
        return Draft(effect, "sensor", host.name, during, told.cause.call, told.cause.basis, at)

    def _ascribed(self, draft: Draft, host: _Host, during: str | None) -> Draft:
        """With the one cause of all deeds that led to a file effect of a look, or the owner of a network effect's socket; as it
        was where there is none."""
        if isinstance(draft.body, NetworkEffect) and draft.origin is None:
            return _by_socket(draft, draft.body, host)
        if isinstance(draft.body, ServiceEffect) and draft.origin is None:
            return _by_client(draft, host)
        if not isinstance(effect := draft.body, FileEffect) or host.files is None:
            return draft
        deeds = (*host.carried, *host.before, *host.after)
        causes = {self._cause(host, deed.pid, during) for deed in _leading_to(effect, deeds)}
        causes.discard(None)
        if not causes:
            return draft
        cause = causes.pop() if len(causes) == 1 else Cause()
        assert cause is not None
        return draft._replace(origin=cause.call, origin_basis=cause.basis)

    def _cause(self, host: _Host, pid: int, during: str | None) -> Cause | None:
        """Whose a deed of `pid` is; None if it tells nothing."""
        if pid == os.getpid():  # the engine writes to the trees only for the call that asks for it
            return Cause(during, "process_tree") if during else None
        if pid == _SANDBOX:
            return None
        cause = host.lineage.cause(pid)
        if cause is None:
            return Cause(during, "process_tree") if during else Cause()
        return cause

    def _passing(self, host: _Host, looked: Sequence[FileEffect], during: str | None) -> list[Draft]:
        """What no look can see: what came and went or was put back, renames on the way, and opens of what is watched."""
        told = (*host.looked, *looked) if host.carried else looked  # what was carried over may have been told of last time
        deeds = [*host.carried, *host.before]
        found: list[tuple[FileEffect, int]] = _transient(deeds, told) + _put_back(deeds, told, host.found)
        host.looked = looked
        found += _opens(host.before + host.after, host.watched)
        drafts = []
        for effect, pid in found[:MOST_FILES]:
            cause = self._cause(host, pid, during) or Cause()
            drafts.append(Draft(effect, "sensor", host.name, during, cause.call, cause.basis))
        if len(found) > MOST_FILES:
            host.missed.append(f"{len(found) - MOST_FILES} effects more than are told of between two looks")
        for why in dict.fromkeys(host.missed):
            state = SensorState(
                sensor=fanotify.NAME, state="dropped", covers=("passing", "opens"), hosts=(host.name,), detail=why
            )
            drafts.append(Draft(state, "sensor", host.name))
        host.missed = []
        return drafts


def _by_the_sandbox(deed: Deed) -> Deed:
    """Whichever of its processes it was, on this machine the sandbox did it, for a process that cannot be told."""
    return deed if deed.pid == os.getpid() else deed._replace(pid=_SANDBOX)


def _by_socket(draft: Draft, effect: NetworkEffect, host: _Host) -> Draft:
    port = effect.source.rpartition(":")[2]
    if not port.isdigit() or effect.port is None:
        return draft
    if ":" in effect.destination:  # the listener tells the port from which IPv6 went out, not where to
        cause = host.lineage.connected_from(int(port))
    else:
        cause = host.lineage.connected(int(port), effect.destination, effect.port)
    return draft._replace(origin=cause.call, origin_basis=cause.basis) if cause.basis is not None else draft


def _by_client(draft: Draft, host: _Host) -> Draft:
    port = draft.client.rpartition(":")[2]
    cause = host.lineage.connected_from(int(port)) if port.isdigit() else Cause()
    return draft._replace(origin=cause.call, origin_basis=cause.basis) if cause.basis is not None else draft


def _start_files(host: _Host, view: View) -> SensorState:
    try:
        host.files = FileWatch(view.root, view.trees, host.watched)
    except OSError as error:
        return _unavailable(fanotify.NAME, host.name, error)
    collector.add(host.files)
    outside = [shown(path) for path in host.watched if not any(is_watched(path, (os.fsencode(t),)) for t in view.trees)]
    covers = ("passing", "opens") if host.watched and not outside and not host.sandboxed else ("passing",)
    detail = f"opens of {', '.join(outside)} cannot be seen: not in a writable tree" if outside else ""
    if host.sandboxed:
        detail = "the sandbox itself does what is done to files: by whom, and opens of what it holds open, cannot be seen"
    return SensorState(sensor=fanotify.NAME, state="started", covers=covers, hosts=(host.name,), detail=detail)


def _start_processes(host: _Host, view: View) -> SensorState:
    try:
        host.source = view.trace or _Space(space_of(view.processes.init))
        if view.trace is not None:
            view.trace.begin()
    except (OSError, ValueError) as error:
        return _unavailable(exectrace.NAME, host.name, error)
    for process in view.processes.alive():
        if (facts := view.processes.facts(process)) is not None:
            host.lineage.given(process.pid, facts.inner, facts.argv, facts.exe)
    sensor, untold = host.source.sensor, _NOT_TOLD.get(host.source.sensor, "")
    return SensorState(sensor=sensor, state="started", covers=("processes",), hosts=(host.name,), detail=untold)


def _unavailable(sensor: str, host: str, error: Exception) -> SensorState:
    return SensorState(sensor=sensor, state="stopped", hosts=(host,), detail=f"not available here: {error}"[:1000])


def _watched(paths: Iterable[str], host: str) -> Iterable[bytes]:
    for path in paths:
        name, colon, rest = path.partition(":")
        if path.startswith("/"):
            yield os.fsencode(path.rstrip("/") or "/")
        elif colon and name == host:
            yield os.fsencode(rest.rstrip("/") or "/")


def _leading_to(effect: FileEffect, deeds: Iterable[Deed]) -> list[Deed]:
    """The deeds that made an effect of a look: those of its kind on its name, or on a folder that carried it along."""
    path = effect.path
    old = effect.renamed_from
    led = []
    by_name = {"created": _WROTE, "modified": _WROTE | DELETE, "mode_changed": ATTRIB, "owner_changed": ATTRIB}
    wanted = by_name.get(effect.action, 0)
    for deed in deeds:
        at, came = _text(deed.path), _text(deed.old)
        if effect.action == "renamed":
            hit = bool(deed.mask & RENAME) and _carries(came, old or "") and _carries(at, path)
        elif effect.action == "deleted":
            hit = bool(deed.mask & DELETE and at == path) or bool(deed.mask & RENAME and _carries(came, path))
        else:
            hit = bool(deed.mask & wanted) and at == path
        if hit:
            led.append(deed)
    return led


def _carries(folder: str | None, path: str) -> bool:
    return folder is not None and (path == folder or path.startswith(folder + "/"))


def _text(path: bytes | None) -> str | None:
    return None if path is None else shown(path)


def _transient(deeds: Sequence[Deed], looked: Sequence[FileEffect]) -> list[tuple[FileEffect, int]]:
    """Creations and deletions of names that no look saw, and renames that none of them tells of, with who did each."""
    seen = {path for effect in looked for path in (effect.path, effect.renamed_from) if path}
    moves = {(effect.renamed_from, effect.path) for effect in looked if effect.action == "renamed"}
    last = {deed.path: deed for deed in deeds if deed.path is not None and deed.mask & (CREATE | DELETE | RENAME)}
    left = {deed.old for deed in deeds if deed.mask & RENAME}
    found = []
    for deed in deeds:
        path, old = _text(deed.path), _text(deed.old)
        if path is None:
            continue
        ended = deed.path in left or (deed.path in last and bool(last[deed.path].mask & DELETE))
        passing = ended and path not in seen
        if deed.mask & CREATE and passing:
            found.append((_effect("created", path), deed.pid))
        if deed.mask & RENAME and old is not None and (old, path) not in moves and not _carried(moves, old, path):
            found.append((_effect("renamed", path, old), deed.pid))
        if deed.mask & DELETE and passing:
            found.append((_effect("deleted", path), deed.pid))
    return found


def _put_back(
    deeds: Iterable[Deed], looked: Sequence[FileEffect], found: Callable[[bytes], FileState | None]
) -> list[tuple[FileEffect, int]]:
    """Files that were written to and that the look finds as they were, with who wrote: `before` and `after` are the same. What
    they held meanwhile is not known, nor whether it was anything else."""
    seen = {path for effect in looked for path in (effect.path, effect.renamed_from) if path}
    told: dict[tuple[bytes, int], FileEffect] = {}
    for deed in deeds:
        path = deed.path
        if path is None or not deed.mask & MODIFY or deed.mask & CREATE or deed.directory or shown(path) in seen:
            continue
        if (path, deed.pid) not in told and (state := found(path)) is not None and state.type == "file":
            same = {"before": state, "after": state}
            told[path, deed.pid] = _effect("modified", shown(path)).model_copy(update=same)
    return [(effect, pid) for (_, pid), effect in told.items()]


def _carried(moves: set[tuple[str | None, str]], old: str, path: str) -> bool:
    """Whether the look tells of this rename by what lay below the folder."""
    return any(o is not None and o.startswith(old + "/") and p.startswith(path + "/") for o, p in moves)


def _opens(deeds: Iterable[Deed], watched: tuple[bytes, ...]) -> list[tuple[FileEffect, int]]:
    if not watched:
        return []
    found: dict[tuple[bytes, int], None] = {}
    for deed in deeds:
        if not deed.mask & OPEN or deed.pid == os.getpid():
            continue
        if deed.path is not None and is_watched(deed.path, watched) and not deed.mask & CREATE:
            found.setdefault((deed.path, deed.pid))
        elif deed.watched is not None:
            found.setdefault((deed.watched, deed.pid))
    return [(_opened(path), pid) for path, pid in found]


def _opened(path: bytes) -> FileEffect:
    return FileEffect(action="opened", path=shown(path), sensor=fanotify.NAME)


def _effect(action: str, path: str, old: str | None = None) -> FileEffect:
    data = {"action": action, "path": path, "renamed_from": old, "short_lived": action != "renamed", "sensor": fanotify.NAME}
    return FileEffect.model_validate(data)
