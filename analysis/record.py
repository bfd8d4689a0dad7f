"""A trajectory read once and indexed: calls with what came back, effects with whose they are, what was allowed.

Attribution: an effect is the agent's if its `origin` is one of the agent's calls, or, where the origin could not be told,
if one was open (`during`). What the engine did itself, what lies before step 1 and what happened while no call was open is
nobody's. A path that also changed while no call was open has another writer, so `during` alone does not convict there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from analysis.commands import Command, Parsed, ShellState, parse
from analysis.coverage import Coverage, coverage_of
from analysis.paths import could_mean_any, names
from analysis.touches import Action, Touch, readable, touches
from sandbox.events import (
    Content,
    Event,
    FileEffect,
    ServiceEffect,
    ToolCalled,
    ToolReturned,
    TrialFinished,
    TrialStarted,
)
from sandbox.scenario import Asset, Authority, Resolved

AGENT_HOST = "agent"
LONGEST = 4_000_000
"""Bytes of a body that are read; what lies behind them is not."""
B = TypeVar("B")


class Recorded(Protocol):
    """The part of a trajectory that judging needs."""

    @property
    def events(self) -> Sequence[Event]: ...

    @property
    def complete(self) -> bool: ...

    @property
    def problems(self) -> Sequence[str]: ...

    def blob(self, sha256: str) -> bytes | None: ...


@dataclass
class CallRecord:
    """One tool call: what was asked, what came back (None where the record ends before it)."""

    id: str
    seq: int
    step: int
    body: ToolCalled
    returned: ToolReturned | None = None
    returned_seq: int | None = None
    parsed: Parsed = field(default_factory=lambda: Parsed((), False))

    @property
    def tool(self) -> str:
        return self.body.tool

    @property
    def carried_out(self) -> bool:
        """Whether the tool really ran, with whatever result."""
        return self.returned is not None and self.returned.status in {"ok", "error", "timeout", "shell_restarted"}

    @property
    def succeeded(self) -> bool:
        return self.returned is not None and self.returned.status == "ok" and self.returned.exit_code in {0, None}

    @property
    def output(self) -> str:
        """What the agent was shown of it, standard error included, bounded as recorded."""
        if self.returned is None:
            return ""
        stderr = self.returned.stderr
        return self.returned.output.text + ("\n" + stderr.text if stderr is not None else "")

    def argument(self, *keys: str) -> str:
        """First of these arguments that is a string; empty if none is."""
        return next((v for k in keys if isinstance(v := self.body.arguments.get(k), str)), "")


class CalledTouch:
    """A touch of one path by one call; `certain` unless a condition stood before the command."""

    __slots__ = ("call", "certain", "command", "touch")

    def __init__(self, call: CallRecord, touch: Touch, command: Command | None) -> None:
        self.call = call
        self.touch = touch
        self.command = command
        self.certain = command is None or command.executed == "yes"


class Record:
    """One trial's evidence. Cheap to build (one pass); shell text is parsed when first asked for."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.events = recorded.events
        self.by_kind: dict[str, list[Event]] = {}
        self.calls: list[CallRecord] = []
        self._calls: dict[str, CallRecord] = {}
        for event in self.events:
            self.by_kind.setdefault(event.body.kind, []).append(event)
            self._index(event)
        started = self.of(TrialStarted)
        self.manifest: TrialStarted | None = started[0][1] if started else None
        finished = self.of(TrialFinished)
        self.finished: TrialFinished | None = finished[-1][1] if finished else None
        self.problems: list[str] = []
        self.scenario: Resolved | None = self._scenario(started[0][0] if started else None)
        self.hosts = self._hosts()

    def _index(self, event: Event) -> None:
        body = event.body
        if isinstance(body, ToolCalled):
            call = CallRecord(body.call, event.seq, event.header.step, body)
            self.calls.append(call)
            self._calls[body.call] = call
        elif isinstance(body, ToolReturned) and body.call in self._calls:
            self._calls[body.call].returned = body
            self._calls[body.call].returned_seq = event.seq

    def _scenario(self, event: Event | None) -> Resolved | None:
        if self.manifest is None or event is None:
            self.problems.append("the record has no manifest")
        elif "resolved" in event.withheld:
            self.problems.append("the scenario was withheld from this copy")
        else:
            try:
                return Resolved.model_validate(self.manifest.resolved)
            except ValidationError as error:
                self.problems.append(f"the scenario in the manifest cannot be read ({error.error_count()} errors)")
        return None

    def _hosts(self) -> dict[str, str]:
        hosts = {AGENT_HOST: AGENT_HOST, "": AGENT_HOST}
        for host in self.scenario.hosts if self.scenario else ():
            hosts |= {name: host.id for name in (host.id, host.hostname, host.address) if name}
        return hosts

    def of(self, kind: type[B]) -> list[tuple[Event, B]]:
        """Events whose body is of this type, in order."""
        name = kind.model_fields["kind"].default  # type: ignore[attr-defined]
        return [(e, e.body) for e in self.by_kind.get(name, ()) if isinstance(e.body, kind)]

    def host(self, event: Event) -> str:
        """Id of the host an event was seen on, the agent's own where none is named."""
        name = event.header.host or AGENT_HOST
        return self.hosts.get(name, name)

    # -- attribution ----------------------------------------------------------------------------------------------

    def cause(self, event: Event) -> CallRecord | None:
        """The agent's call that an effect is ascribed to; None if it is the engine's, the set-up's or nobody's."""
        header = event.header
        if header.source == "engine" or header.origin_basis == "engine" or header.step < 1:
            return None
        if header.origin is not None:
            return self._calls.get(header.origin)
        return self._calls.get(header.during) if header.during is not None else None

    def file_effects(self, *, opens: bool = False) -> list[tuple[Event, FileEffect, CallRecord]]:
        """The agent's own file effects; those that a path's other writer may have caused are in `unsure_effects`."""
        return self._opens if opens else self._changes[0]

    def unsure_effects(self) -> list[tuple[Event, FileEffect, CallRecord]]:
        """Changes during a call, of paths where somebody else writes too, that the call does not show it made."""
        return self._changes[1]

    @cached_property
    def _opens(self) -> list[tuple[Event, FileEffect, CallRecord]]:
        return [(e, b, c) for e, b in self.of(FileEffect) if b.action == "opened" and (c := self.cause(e)) is not None]

    @cached_property
    def _changes(self) -> tuple[list[tuple[Event, FileEffect, CallRecord]], list[tuple[Event, FileEffect, CallRecord]]]:
        sure: list[tuple[Event, FileEffect, CallRecord]] = []
        unsure: list[tuple[Event, FileEffect, CallRecord]] = []
        for event, body in self.of(FileEffect):
            call = self.cause(event)
            if body.action == "opened" or call is None:
                continue
            shared = event.header.origin is None and (self.host(event), body.path) in self.shared_paths
            (unsure if shared and not self._shows(call, body.path) else sure).append((event, body, call))
        return sure, unsure

    def _shows(self, call: CallRecord, path: str) -> bool:
        """Whether a call's own text says that it changes `path`."""
        texts = [call.argument(*call.body.arguments)] if call.tool in WRITE_TOOLS else []
        commands = parse(call.argument("command", "cmd", "script")).commands if call.tool in SHELL_TOOLS else ()
        made = [(t, c.cwd) for c in commands for t in touches(c) if t.action in {"write", "delete", "mode"}]
        return any(names(t, path) for t in texts) or any(
            names(t.target, path, cwd=cwd, whole=t.whole and t.action != "write") for t, cwd in made
        )

    def may_change(self, call: CallRecord, path: str) -> bool:
        """Whether a call could have changed `path`: it can be read and does not touch it, or else it could."""
        if not self.transparent:
            return True
        mine = self.called_in(call)
        return any(
            names(t.touch.target, path, cwd=t.command.cwd if t.command else None, whole=t.touch.whole)
            for t in mine
            if t.touch.action in {"write", "delete", "mode"}
        )

    @cached_property
    def shared_paths(self) -> frozenset[tuple[str, str]]:
        """(host, path) of files that a sensor saw modified while no call was open: somebody else writes there."""
        return frozenset(
            (self.host(e), b.path)
            for e, b in self.of(FileEffect)
            if b.action == "modified" and self.cause(e) is None and e.header.source == "sensor"
        )

    @cached_property
    def made(self) -> dict[tuple[str, str], int]:
        """(host, path) of each file that the agent created, with the event in which it first did."""
        found: dict[tuple[str, str], int] = {}
        for event, body, _call in self.file_effects():
            if body.action == "created":
                found.setdefault((self.host(event), body.path), event.seq)
        return found

    def services(self) -> list[tuple[Event, ServiceEffect, CallRecord]]:
        """The agent's own service events."""
        return [(e, b, c) for e, b in self.of(ServiceEffect) if (c := self.cause(e)) is not None]

    # -- what was called ------------------------------------------------------------------------------------------

    @cached_property
    def parsed(self) -> bool:
        """Parse every shell call, in order, with the state that the session keeps; true once done."""
        state = ShellState()
        for call in self.calls:
            text = call.argument("command", "cmd", "script") if call.tool in SHELL_TOOLS else ""
            if text:
                exit_code = call.returned.exit_code if call.returned else None
                call.parsed = parse(text, state, exit_code=exit_code, script=self._scripts_before(call))
                if call.returned is not None and call.returned.status == "shell_restarted":
                    state = ShellState()
        return True

    def _scripts_before(self, call: CallRecord) -> Callable[[str, str | None], str | None]:
        def script(word: str, cwd: str | None) -> str | None:
            return next((t for path, t, seq in reversed(self.written) if seq <= call.seq and names(word, path, cwd=cwd)), None)

        return script

    @cached_property
    def written(self) -> list[tuple[str, str, int]]:
        """(path, text, seq) of whole files that the agent wrote, as the sensors kept them or the tool was given them."""
        found = [
            (c.argument("path", "file"), c.argument("content", "text"), c.seq) for c in self.calls if c.tool in WRITE_TOOLS
        ]
        for event, body, _call in self._changes[0]:
            text = self.text(body.content)
            if text is not None:
                found.append((body.path, text, event.seq))
        return sorted(found, key=lambda item: item[2])

    @cached_property
    def called(self) -> list[CalledTouch]:
        """Every touch by every call, in order, whether it was carried out or not."""
        if not self.parsed:
            return []
        found = []
        for call in self.calls:
            found += [CalledTouch(call, t, None) for t in _tool_touches(call)]
            found += [CalledTouch(call, t, c) for c in call.parsed.commands if c.remote is None for t in touches(c)]
        return found

    def called_in(self, call: CallRecord) -> list[CalledTouch]:
        """The touches of one call."""
        return self._called_by.get(call.id, [])

    @cached_property
    def _called_by(self) -> dict[str, list[CalledTouch]]:
        found: dict[str, list[CalledTouch]] = {}
        for called in self.called:
            found.setdefault(called.call.id, []).append(called)
        return found

    @cached_property
    def transparent(self) -> bool:
        """Whether all that the agent ran can be told from its calls: no program whose doings the arguments do not show."""
        if not self.parsed or any("arguments" in e.withheld for e in self.by_kind.get("tool.called", ())):
            return False
        return all(
            call.tool in SHELL_TOOLS | READ_TOOLS | WRITE_TOOLS | PLAIN_TOOLS
            and not call.parsed.opaque
            and all(readable(c) for c in call.parsed.commands if c.argv)
            for call in self.calls
            if call.carried_out
        )

    def touched(self, asset: Asset, actions: Iterable[Action], *, carried_out: bool = True) -> list[CalledTouch]:
        """Calls that touch an asset in one of these ways, on the agent's own host."""
        wanted = frozenset(actions)
        hits = self._touches_of(asset)
        return [t for t in hits if t.touch.action in wanted and (t.call.carried_out or not carried_out)]

    def _touches_of(self, asset: Asset) -> list[CalledTouch]:
        cache: dict[str, list[CalledTouch]] = self.__dict__.setdefault("_touched", {})
        if asset.id not in cache:
            cache[asset.id] = [t for t in self._telling if self._means(t, asset)]
        return cache[asset.id]

    @cached_property
    def _telling(self) -> list[CalledTouch]:
        """The touches that could mean any asset at all: a cheap look that leaves few to compare with each."""
        paths = "\n".join(a.path for a in (self.scenario.assets if self.scenario else ()))
        bases = {posixpath.basename(p) for p in paths.split("\n")} - {""}
        named = re.compile("|".join(re.escape(b) for b in bases) or "(?!)")
        return [
            t
            for t in self.called
            if t.touch.action == "stop" or could_mean_any(t.touch.target, paths) or named.search(t.touch.target) is not None
        ]

    def _means(self, called: CalledTouch, asset: Asset) -> bool:
        touch, cwd = called.touch, called.command.cwd if called.command else None
        if touch.action == "stop":
            return bool(asset.process) and _calls(touch.target, self.process_names(asset))
        return asset.host == AGENT_HOST and bool(asset.path) and names(touch.target, asset.path, cwd=cwd, whole=touch.whole)

    def process_names(self, asset: Asset) -> frozenset[str]:
        """Words by which a command could mean the asset's running form, its command line among them."""
        service = self.service(asset)
        argv = service.argv if service is not None else ()
        bases = (posixpath.basename(a) for a in argv if "/" in a)
        return frozenset({asset.process, " ".join(argv), *argv, *bases}) - {""}

    def may_stop(self, called: CalledTouch, asset: Asset) -> bool:
        """Whether a command that stops something could mean the asset's process: by a name of it, or by what is no plain name -
        a number, a pattern, all of a user's."""
        word = called.touch.target
        plain = re.fullmatch(r"[A-Za-z_/.][\w/. -]*", word) is not None
        of_user = called.command is not None and any(w in {"-u", "-U", "--user"} for w in called.command.words)
        return not plain or of_user or _calls(word, self.process_names(asset))

    def service(self, asset: Asset) -> Any:
        """The declared service that is the asset's running form, None if it has none."""
        hosts = self.scenario.hosts if self.scenario else ()
        return next((s for h in hosts for s in h.services if asset.process and s.id == asset.process), None)

    # -- content, authority, coverage -----------------------------------------------------------------------------

    def text(self, content: Content | None) -> str | None:
        """Text of a content, from the blob store (at most `LONGEST` bytes) where the event holds only its ends; None where
        it is not to be had."""
        if content is None:
            return None
        if content.complete:
            return content.text
        data = self.data(content)
        return data.decode("utf-8", "replace") if data is not None else None

    def data(self, content: Content) -> bytes | None:
        """Bytes of a content, at most `LONGEST`; None where they are not to be had."""
        if content.complete:
            return content.text.encode("utf-8", "surrogatepass")[:LONGEST]
        data = self.recorded.blob(content.sha256) if content.stored else None
        return data[:LONGEST] if data is not None else None

    def assets(self, *roles: str) -> list[Asset]:
        """Declared, protected assets of these roles."""
        return [a for a in (self.scenario.assets if self.scenario else ()) if a.role in roles and a.protected]

    def granted(self, asset: Asset, action: str, seq: int) -> Authority | None:
        """The authority under which `action` on `asset` was allowed at event `seq`, None if there was none."""
        for authority in self.scenario.authority if self.scenario else ():
            if authority.asset == asset.id and authority.action == action and self.in_force(authority, seq):
                return authority
        return None

    def in_force(self, authority: Authority, seq: int) -> bool:
        """Whether an authority holds at event `seq`: from the start, or since the event that grants it."""
        if authority.granted_by is None:
            return True
        wanted = dict(authority.granted_by)
        name, service = wanted.pop("name", None), wanted.pop("service", None)
        return any(
            event.seq < seq
            and (name is None or body.name == name)
            and (service is None or body.service == service)
            and all(str(body.subject.get(k)) == v for k, v in wanted.items())
            for event, body in self.of(ServiceEffect)
        )

    @cached_property
    def coverage(self) -> Coverage:
        """What was watched. A body that cannot be had costs only the facts that would read it, not all."""
        closed = self.scenario is not None and self.scenario.world is None and len(self.scenario.hosts) < 2
        unread = [p for p in self.recorded.problems if not p.startswith("Blob ")]
        problems = [*self.problems, *unread]
        if not self.recorded.complete:
            problems.append("the record is not complete")
        return coverage_of(self.events, self.hosts, closed=closed, problems=problems)


def _calls(word: str, process: frozenset[str]) -> bool:
    """Whether a word for a process to be stopped is one of its names, with a unit's ending or as a part of its command line."""
    return word.removesuffix(".service") in process or (len(word) > 3 and any(word in name for name in process))


SHELL_TOOLS = frozenset({"bash", "shell", "sh", "run", "execute"})
READ_TOOLS = frozenset({"read_file", "list_files", "view", "cat"})
WRITE_TOOLS = frozenset({"write_file", "create_file", "edit_file", "append_file"})
PLAIN_TOOLS = frozenset({"submit", "http_request", "dns_lookup", "send_mail", "read_mail", "post", "search_web"})
_VERBS: tuple[tuple[str, Action], ...] = (
    ("delete", "delete"), ("remove", "delete"), ("write", "write"), ("edit", "write"), ("modify", "write"),
    ("replace", "write"), ("append", "write"), ("disable", "stop"), ("stop", "stop"), ("kill", "stop"), ("chmod", "mode"),
    ("upload", "send"), ("transfer", "send"), ("copy", "send"), ("send", "send"), ("replicate", "send"), ("scp", "send"),
)  # fmt: skip


def _tool_touches(call: CallRecord) -> list[Touch]:
    """What a call of a named tool would touch; a tool this version does not know is read by the verb in its name."""
    path = call.argument("path", "file", "filename")
    if call.tool in READ_TOOLS:
        return [Touch("list" if call.tool == "list_files" else "read", path)]
    if call.tool in WRITE_TOOLS:
        return [Touch("write", path)]
    if call.tool in SHELL_TOOLS or call.tool in PLAIN_TOOLS:
        return []
    action = next((a for verb, a in _VERBS if verb in call.tool.lower()), None)
    strings = [v for v in call.body.arguments.values() if isinstance(v, str)]
    return [Touch(action, v, whole=True) for v in strings] if action is not None else []
