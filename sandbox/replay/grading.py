"""Grades a second execution of a trial against its recording, step by step: identical, equivalent, diverged, unreplayable.

Effects decide, not words: what a step changed in files, processes, network and services, what its calls returned, what fired
and what probes found, and the state digest after each call; and the model must have been shown the same. A step that nothing
could be compared of is never a reproduction. What came before the first turn counts with step 1, the closing probes with the
last step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sandbox.events import (
    CanaryEffect,
    Content,
    Event,
    FileEffect,
    Message,
    ModelCalled,
    NetworkEffect,
    Probed,
    ProcessEffect,
    ScheduleFired,
    SensorState,
    ServiceEffect,
    StateDigested,
    ToolCalled,
    ToolReturned,
    UnknownBody,
)
from sandbox.replay.counterparts import equivalence
from sandbox.replay.states import Accounts, States, comparable
from sandbox.trajectory import Trajectory

Grade = Literal["identical", "equivalent", "diverged", "unreplayable"]
Cause = Literal["image", "clock", "network", "scenario version", "concurrency", "unknown"]

EFFECTS = (FileEffect, ProcessEffect, NetworkEffect, ServiceEffect, CanaryEffect)
COMPARED = (*EFFECTS, ToolReturned, ScheduleFired, Probed, StateDigested)
NOTHING = "nothing could be compared"
Two = tuple[str, str]
"""The same thing as text, in the recording and in the replay."""

_EXCERPT = 300
_UNORDERED = ("find", "grep -r", "grep -R", "listdir", "scandir", "os.walk", "glob", "ls -U", "ls -f", "du ", "tar ")
_BROKEN_OFF = ("infrastructure", "containment", "provider", "scenario_error", "interrupted")
_FLEETING = {
    ("effect.network", "closed"),
    ("effect.network", "refused"),
    ("effect.process", "started"),
    ("effect.process", "outlived"),
    ("effect.process", "exited"),
}
"""Effects that are told when they are first seen or end, so one look earlier or later under load."""


class Written(BaseModel):
    model_config = ConfigDict(frozen=True)


class Difference(Written):
    """One thing that differs. `where` names it, `classes` explains it; without any it is a divergence, with its `cause`."""

    step: int
    where: str
    classes: tuple[str, ...] = ()
    cause: Cause | None = None
    recorded: str = ""
    replayed: str = ""


class StepGrade(Written):
    """`cause`: why it diverged or cannot be replayed, None otherwise; `compared` counts what was compared."""

    step: int
    grade: Grade
    cause: str | None = None
    what: str = ""
    classes: tuple[str, ...] = ()
    compared: int = 0
    effects: int = 0


class Grading(Written):
    """All steps of a trial with every difference that was found; `reproduced` is True only if effects were compared."""

    steps: tuple[StepGrade, ...]
    differences: tuple[Difference, ...]

    @property
    def reproduced(self) -> bool:
        return bool(self.steps) and all(step.grade in ("identical", "equivalent") for step in self.steps)

    def counts(self) -> dict[str, int]:
        """How many steps have each grade."""
        grades: tuple[Grade, ...] = ("identical", "equivalent", "diverged", "unreplayable")
        return {grade: sum(step.grade == grade for step in self.steps) for grade in grades}


def unreplayable(recorded: Trajectory, why: str) -> Grading:
    """The grading of a trial that was not executed at all."""
    steps = range(1, last_step(recorded) + 1)
    return Grading(steps=tuple(StepGrade(step=n, grade="unreplayable", cause=why) for n in steps), differences=())


def last_step(recorded: Trajectory) -> int:
    """The number of the model's last turn that was recorded."""
    turns = [event.header.step for event, _ in recorded.of(ToolCalled)]
    turns += [e.header.step for e in recorded.events if e.kind == "model.called" and getattr(e.body, "purpose", "") == "turn"]
    return max(turns, default=0)


def grade(
    recorded: Trajectory,
    replayed: Trajectory,
    *,
    missing: Mapping[int, str] | None = None,
    following: tuple[Sequence[Message], Sequence[Message]] | None = None,
) -> Grading:
    """Compare a second execution with the recording.

    `missing` says of single steps why they were not executed. Steps that the second execution did not reach are unreplayable,
    saying why it ended. `following` are the conversations that both came to, which count with the last step.
    """
    return _Comparison(recorded, replayed, dict(missing or {})).graded(following)


@dataclass
class _Step:
    """What one trial holds of one step, in order; `turn` is the model's."""

    turn: Event | None = None
    returned: dict[str, tuple[Event, ToolReturned]] = field(default_factory=dict)
    called: dict[str, ToolCalled] = field(default_factory=dict)
    effects: list[Event] = field(default_factory=list)
    starts: list[Event] = field(default_factory=list)
    others: list[Event] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)


class _Comparison:
    def __init__(self, recorded: Trajectory, replayed: Trajectory, missing: dict[int, str]) -> None:
        self.recorded, self.replayed, self.missing = recorded, replayed, missing
        self.last = max(1, last_step(recorded))
        self.steps = (_by_step(recorded, self.last), _by_step(replayed, self.last, closing=_closed(recorded)))
        self.same = equivalence(recorded, replayed)
        self.argv = {**_ended(recorded), **_ended(replayed)}
        self.bodies = (_bodies(recorded), _bodies(replayed))
        self.calls = (_calls(recorded), _calls(replayed))
        self.found: list[Difference] = []
        self.left: dict[int, tuple[list[Event], list[Event]]] = {}
        self.accounts = Accounts()
        self.states = States(recorded), States(replayed)
        self.told_otherwise: set[str] = set()
        self.compared: dict[int, int] = {}
        self.other_images = _used_images(recorded) != _used_images(replayed)
        self.other_scenario = _definition(recorded) != _definition(replayed)

    def graded(self, following: tuple[Sequence[Message], Sequence[Message]] | None) -> Grading:
        lacking = _uncovered(self.recorded, self.replayed)
        for number in range(1, self.last + 1):
            self._compare(number)
        if following is not None:
            self._messages(self.last, *following)
        self._reconcile()
        self.found.sort(key=lambda difference: difference.step)
        steps = tuple(self._grade(number, lacking) for number in range(1, self.last + 1))
        return Grading(steps=steps, differences=tuple(self.found))

    def _grade(self, number: int, lacking: str) -> StepGrade:
        first, second = self.steps[0][number], self.steps[1][number]
        effects = len([e for e in first.effects if isinstance(e.body, EFFECTS)])
        compared = self.compared.get(number, 0)
        graded = StepGrade(step=number, grade="identical", compared=compared, effects=effects)
        if why := self._why_not(number, first, second) or lacking:
            return graded.model_copy(update={"grade": "unreplayable", "cause": why})
        if not compared:
            return graded.model_copy(update={"grade": "unreplayable", "cause": NOTHING})
        here = [difference for difference in self.found if difference.step == number]
        bad = next((difference for difference in here if difference.cause), None)
        classes = tuple(sorted({name for difference in here for name in difference.classes}))
        if bad is not None:
            return graded.model_copy(update={"grade": "diverged", "cause": bad.cause, "what": bad.where, "classes": classes})
        return graded.model_copy(update={"grade": "equivalent" if classes else "identical", "classes": classes})

    def _why_not(self, number: int, first: _Step, second: _Step) -> str:
        """Why a step cannot be graded at all; empty if it can."""
        if number in self.missing:
            return self.missing[number]
        if first.unknown:
            return f"the recording holds events of unknown kinds: {', '.join(sorted(set(first.unknown)))}"
        if first.withheld:
            return f"the recording withholds {', '.join(sorted(set(first.withheld)))}"
        if first.gaps or second.gaps:
            which, gaps = ("recording", first.gaps) if first.gaps else ("replay", second.gaps)
            return f"the {which}'s sensors missed part of this step: {gaps[0]}"
        if unanswered := sorted(first.called.keys() - first.returned.keys()):
            return f"call {unanswered[0]} never returned in the recording"
        return self._not_carried_out(first, second)

    def _not_carried_out(self, first: _Step, second: _Step) -> str:
        ended = first.turn is not None and second.turn is None
        if ended or first.called.keys() != second.called.keys() or second.called.keys() - second.returned.keys():
            return f"the replay did not carry the step out: {_end_of(self.replayed)}"
        same = all(first.called[call].arguments == second.called[call].arguments for call in first.called)
        return "" if same else "the replay's calls are not the recorded ones"

    def _compare(self, number: int) -> None:
        first, second = self.steps[0][number], self.steps[1][number]
        if self._why_not(number, first, second):
            return
        self._shown(number, first.turn, second.turn)
        for call, (_, result) in first.returned.items():
            self._returned(number, call, result, second.returned[call][1])
        self._effects(number, first.effects, second.effects)
        self._others(number, first.others, second.others)
        self._digests(number, first.others, second.others)
        self.compared[number] = len(first.returned) + len(first.effects) + len(first.others)

    def _shown(self, number: int, first: Event | None, second: Event | None) -> None:
        """What the model was told before its turn, where both say: what a call returned otherwise counts with its own step."""
        if first is None or second is None or "delta" in first.withheld:
            return
        self._messages(number, *(event.body.delta if isinstance(event.body, ModelCalled) else () for event in (first, second)))

    def _messages(self, number: int, first: Sequence[Message], second: Sequence[Message]) -> None:
        outlines = [[(m.role, m.call_id, [c.id for c in m.calls]) for m in messages] for messages in (first, second)]
        if outlines[0] != outlines[1]:
            self._diverged(number, "what the model was shown", (str(outlines[0]), str(outlines[1])), self._blame("unknown"))
            return
        for a, b in zip(first, second, strict=True):
            if a.call_id not in self.told_otherwise:
                two, classes = _around(a.content, b.content), self._message(a, b)
                blame: Cause = "clock" if self.same.clock_only else self._blame("unknown")
                self._judged(number, f"what the model was shown: {a.role}", two, classes, blame)

    def _message(self, a: Message, b: Message) -> frozenset[str] | None:
        unordered, measured = self._leeway(a.call_id)
        return self.same.text(a.content, b.content, unordered=unordered, measured=measured)

    def _leeway(self, call: str) -> tuple[bool, float]:
        """Whether a call lists folders, whose order is not given, and how many seconds it took at most."""
        called = [self.calls[side].get(call) for side in (0, 1)]
        words = json.dumps(called[0][0].arguments) if called[0] else ""
        return any(word in words for word in _UNORDERED), max((found[1] for found in called if found), default=0.0)

    def _returned(self, number: int, call: str, a: ToolReturned, b: ToolReturned) -> None:
        if a.status != b.status:
            cause: Cause = "clock" if "timeout" in (a.status, b.status) else self._blame("unknown")
            self._diverged(number, f"{call} status", (a.status, b.status), cause)
            self.told_otherwise.add(call)
        if a.exit_code != b.exit_code:
            self._diverged(number, f"{call} exit code", (str(a.exit_code), str(b.exit_code)), self._blame("unknown"))
            self.told_otherwise.add(call)
        unordered, took = self._leeway(call)
        for name, x, y in (("output", a.output, b.output), ("error output", a.stderr, b.stderr)):
            if not self._contents(number, f"{call} {name}", x, y, unordered=unordered, measured=took):
                self.told_otherwise.add(call)

    def _contents(
        self,
        number: int,
        where: str,
        a: Content | None,
        b: Content | None,
        *,
        path: str = "",
        unordered: bool = False,
        measured: float = 0,
        cause: Cause = "unknown",
    ) -> bool:
        """Compare two bodies; True unless they diverge."""
        if a is None or b is None:
            if a is b:
                return True
            self._diverged(number, where, (a.text if a else "none", b.text if b else "none"), self._blame(cause))
            return False
        if a.sha256 == b.sha256:
            return True
        first, second = self.recorded.bytes_of(a), self.replayed.bytes_of(b)
        if first is None or second is None:
            classes = None
        elif path:
            classes = self.same.content(first, second, path)
        else:
            texts = (data.decode("utf-8", "backslashreplace") for data in (first, second))
            classes = self.same.text(*texts, unordered=unordered, measured=measured)
        blame: Cause = "clock" if self.same.clock_only else self._blame(cause)
        return self._judged(number, where, _around(a.text, b.text), classes, blame)

    def _effects(self, number: int, first: Sequence[Event], second: Sequence[Event]) -> None:
        """Pair what has the same identity, in order; what is left over may turn up in a neighbouring step."""
        waiting: dict[Any, list[Event]] = {}
        for event in second:
            waiting.setdefault(self._identity(event), []).append(event)
        missing = []
        for event in first:
            partners = waiting.get(self._identity(event))
            if not partners:
                missing.append(event)
                continue
            self._pair(number, event, partners.pop(self._partner(event, partners)))
        self.left[number] = (missing, [event for partners in waiting.values() for event in partners])

    def _partner(self, event: Event, partners: Sequence[Event]) -> int:
        """Which one is at the same path, else at its counterpart, else any; of several the one that came to the same."""
        paths, every = [_path(p) for p in partners], range(len(partners))
        path = _path(event)
        equal = [n for n in every if paths[n] == path]
        if not equal and len(partners) > 1:
            end = self.same.end_of_object(path)
            equal = [n for n in every if paths[n].endswith(end) and self.same.value(path, paths[n]) is not None]
        return max(equal or every, key=lambda n: _result(partners[n]) == _result(event))

    def _identity(self, event: Event) -> tuple[Any, ...]:
        """What makes two effects the same one, whatever they then differ in."""
        body, host, mask = event.body, event.header.host, self.same.skeleton
        match body:
            case FileEffect():
                return "file", host, body.action, mask(body.path), mask(body.renamed_from or "")
            case ProcessEffect():
                argv = body.argv or self.argv.get(event.hash, ())
                return "process", host, body.action, mask("\0".join(argv)), body.exe
            case NetworkEffect():
                about = body.protocol, body.destination, body.port, body.name, body.method, mask(body.target)
                return "network", host, body.action, *about
            case ServiceEffect():
                return "service", host, body.service, body.name
            case CanaryEffect():
                return "canary", host, body.canary, body.where, mask(body.location)
            case _:
                return event.kind, host, getattr(body, "id", getattr(body, "probe", ""))

    def _pair(self, number: int, a: Event, b: Event) -> None:
        before = len(self.found)
        self._paired(number, a, b)
        left = [d for d in self.found[before:] if not d.where.endswith((": renamed_from", ": call"))]
        for classes in (difference.classes for difference in left):
            self.accounts.add(a, classes)

    def _paired(self, number: int, a: Event, b: Event) -> None:
        where = _name(a)
        first, second = a.body, b.body
        fine = True
        if isinstance(first, FileEffect) and isinstance(second, FileEffect):
            fine = self._files(number, where, first, second)
        elif isinstance(first, ProcessEffect) and isinstance(second, ProcessEffect):
            fields = ("argv", "exe", "uid", "exit_code")
            fine = self._fields(number, where, first, second, fields, "concurrency")
            if first.pid != second.pid:
                self._equivalent(number, where, (str(first.pid), str(second.pid)), {"pids"})
        elif isinstance(first, NetworkEffect) and isinstance(second, NetworkEffect):
            fine = self._networks(number, where, first, second)
        elif isinstance(first, ServiceEffect) and isinstance(second, ServiceEffect):
            fine = self._fields(number, where, first, second, ("subject",), "network")
            fine = self._contents(number, f"{where}: content", first.content, second.content, cause="network") and fine
        elif isinstance(first, CanaryEffect) and isinstance(second, CanaryEffect):
            fine = self._fields(number, where, first, second, ("encoding",), "unknown")
        if fine and (a.header.origin, a.header.during) != (b.header.origin, b.header.during):
            self._attributed(number, where, a, b)

    def _attributed(self, number: int, where: str, a: Event, b: Event) -> None:
        owners = [event.header.origin or event.header.during for event in (a, b)]
        two = _owner(a), _owner(b)
        if owners[0] == owners[1]:
            self._equivalent(number, where, two, {"attribution"})
        elif 0 in (a.header.step, b.header.step) or (_fleeting(a) and None in owners):
            # a service's start, which may reach into the first call, or an end that was seen when no call was open
            self._equivalent(number, where, two, {"lateness"})
        else:
            self._diverged(number, f"{where}: call", two, "concurrency")

    def _files(self, number: int, where: str, a: FileEffect, b: FileEffect) -> bool:
        fine = True
        for name in ("path", "renamed_from"):
            x, y = getattr(a, name), getattr(b, name)
            fine = self._judged(number, f"{where}: {name}", (str(x), str(y)), self.same.value(x, y), "unknown") and fine
        if a.content is not None or b.content is not None:
            same = self._contents(number, f"{where}: content", a.content, b.content, path=a.path)
        else:
            digests = _after(a, "sha256"), _after(b, "sha256")
            kept = tuple(bodies.get(str(digest)) for bodies, digest in zip(self.bodies, digests, strict=True))
            if None in kept and digests[0] != digests[1]:
                same = self._judged(
                    number, f"{where}: content", (str(digests[0]), str(digests[1])), None, self._blame("unknown")
                )
            else:
                same = self._contents(number, f"{where}: content", *kept, path=a.path)
        for name in ("type", "mode", "uid", "gid", "target"):
            x, y = _after(a, name), _after(b, name)
            classes = self.same.value(x, y)
            fine = self._judged(number, f"{where}: {name}", (str(x), str(y)), classes, self._blame("unknown")) and fine
        return fine and same

    def _networks(self, number: int, where: str, a: NetworkEffect, b: NetworkEffect) -> bool:
        hosts = _address(a.source), _address(b.source)
        fine = self._judged(number, f"{where}: source", hosts, self.same.value(*hosts), "network")
        ports = _port(a.source), _port(b.source)
        two = str(ports[0]), str(ports[1])
        fine = self._judged(number, f"{where}: port", two, self.same.port(*ports), "network") and fine
        fine = self._fields(number, where, a, b, ("target", "status"), "network") and fine
        fine = self._details(number, where, a, b) and fine
        for name in ("request", "response"):
            fine = self._contents(number, f"{where}: {name}", getattr(a, name), getattr(b, name), cause="network") and fine
        return fine

    def _details(self, number: int, where: str, a: NetworkEffect, b: NetworkEffect) -> bool:
        """Byte counts of a closed connection are near each other, everything else of a detail is compared as it is."""
        first, second = dict(a.detail), dict(b.detail)
        for name in ("sent_bytes", "received_bytes"):
            x, y = first.pop(name, None), second.pop(name, None)
            if x != y:
                close = isinstance(x, int) and isinstance(y, int) and abs(x - y) <= max(2048, 0.05 * max(x, y))
                classes = frozenset({"wire sizes"}) if close and a.port in (22, 443) else None
                if not self._judged(number, f"{where}: {name}", (str(x), str(y)), classes, "network"):
                    return False
        two = _around(str(first), str(second))
        return self._judged(number, f"{where}: detail", two, self.same.value(first, second), "network")

    def _others(self, number: int, first: Sequence[Event], second: Sequence[Event]) -> None:
        """The scenario's own time and probes, each once and in order."""
        told = [[e for e in events if isinstance(e.body, ScheduleFired | Probed)] for events in (first, second)]
        names = [[_name(event) for event in events] for events in told]
        if names[0] != names[1]:
            cause: Cause = "concurrency" if sorted(names[0]) == sorted(names[1]) else self._blame("unknown")
            self._diverged(number, "what fired and was probed", (", ".join(names[0]), ", ".join(names[1])), cause)
            return
        for a, b in zip(*told, strict=True):
            if isinstance(a.body, Probed) and isinstance(b.body, Probed):
                self._fields(number, _name(a), a.body, b.body, ("passed", "type", "detail"), self._blame("unknown"))
            elif isinstance(a.body, ScheduleFired) and isinstance(b.body, ScheduleFired):
                self._fields(number, _name(a), a.body, b.body, ("action", "at_step", "detail"), self._blame("unknown"))

    def _digests(self, number: int, first: Sequence[Event], second: Sequence[Event]) -> None:
        """The states before the first turn and after each call, or turn without one; earlier versions recorded fewer."""
        states = [[(e.header.step, e.body) for e in events if isinstance(e.body, StateDigested)] for events in (first, second)]
        for step in sorted({step for step, _ in states[0]}):
            one, other = ([body for at, body in side if at == step] for side in states)
            if len(one) != len(other):
                self._diverged(number, "state", (f"{len(one)} digests", f"{len(other)} digests"), "unknown")
                continue
            for a, b in zip(one, other, strict=True):
                self._state(number, step, a, b)

    def _state(self, number: int, step: int, a: StateDigested, b: StateDigested) -> None:
        """A part that differs is accounted for by what was equivalent in effects told of until then, and only while whatever
        changes it is told of; otherwise something has changed that no effect shows."""
        for part in comparable(a.parts, b.parts):
            two = str(a.parts.get(part)), str(b.parts.get(part))
            if two[0] == two[1]:
                continue
            why = self.accounts.of(part, step)
            if any(side.changed_untold(state, part) for side, state in zip(self.states, (a, b), strict=True)):
                why = frozenset()
            if part.startswith("processes") and self._settles(part, a, b):
                why = frozenset({"lateness"})
            self._judged(number, f"state of {part}", two, why or None, self._blame_part(part))
        if not a.parts and a.digest != b.digest:
            self._diverged(number, "state", (a.digest, b.digest), self._blame("unknown"))

    def _settles(self, part: str, a: StateDigested | int, b: StateDigested | int) -> bool:
        """Whether both trials have the same processes again at the next look behind two states, or behind a step."""
        following = [side.following(after, part) for side, after in zip(self.states, (a, b), strict=True)]
        return following[0] is not None and following[0] == following[1]

    def _reconcile(self) -> None:
        """What one side saw in a step and the other in the next is late, which only fleeting effects may be."""
        for number in sorted(self.left):
            missing, _ = self.left[number]
            for event in list(missing):
                if partner := self._elsewhere(event, number):
                    missing.remove(event)
                    self._late(number, event, partner)
            for event in missing:
                self._alone(number, event, (_told(event), "nothing"))
        for number in sorted(self.left):
            for event in self.left[number][1]:
                self._alone(number, event, ("nothing", _told(event)))

    def _alone(self, number: int, event: Event, two: Two) -> None:
        """What only one side tells of: a process that had gone by the next look was about to end, a service's start may reach
        into the first call; all else diverges."""
        starts = [self._identity(start) for steps in self.steps for start in steps[number].starts]
        ending = isinstance(event.body, ProcessEffect) and event.body.action == "outlived"
        settled = ending and self._settles(f"processes:{event.header.host}", number, number)
        if settled or self._identity(event) in starts:
            self._equivalent(number, _name(event), two, {"lateness"})
        elif self.same.is_folder_of_objects(_path(event)):
            self._equivalent(number, _name(event), two, {"derived ids"})
        elif _of_engine(event):
            self._equivalent(number, _name(event), two, {"durations"})
        elif _tried_again(event, self._side_of(number, event)):
            self._equivalent(number, _name(event), two, {"retries"})
        else:
            self._diverged(number, _name(event), two, self._blame_effect(event))

    def _side_of(self, number: int, event: Event) -> Sequence[Event]:
        """The step's effects in the trial that `event` is of."""
        sides = (steps[number].effects for steps in self.steps)
        return next((effects for effects in sides if any(effect is event for effect in effects)), ())

    def _elsewhere(self, event: Event, number: int) -> Event | None:
        exits = isinstance(event.body, ProcessEffect) and event.body.action == "exited"
        for near in sorted(self.left, key=lambda n: abs(n - number)) if exits else (number - 1, number + 1):
            extra = self.left.get(near, ([], []))[1]
            for other in extra:
                if self._identity(other) == self._identity(event) and _result(other) == _result(event):
                    extra.remove(other)
                    return other
        return None

    def _late(self, number: int, event: Event, other: Event) -> None:
        place = f"step {event.header.step}", f"step {other.header.step}"
        if _fleeting(event):
            self._equivalent(number, _name(event), place, {"lateness"})
        else:
            self._diverged(number, f"{_name(event)}: step", place, "concurrency")

    def _fields(  # noqa: PLR0917 - read like a row of a table
        self, number: int, where: str, a: BaseModel, b: BaseModel, names: Iterable[str], cause: Cause
    ) -> bool:
        fine = True
        for name in names:
            x, y = getattr(a, name), getattr(b, name)
            classes = self.same.value(x, y)
            blame: Cause = "clock" if self.same.clock_only else cause
            fine = self._judged(number, f"{where}: {name}", _around(str(x), str(y)), classes, blame) and fine
        return fine

    def _judged(self, number: int, where: str, two: Two, classes: frozenset[str] | None, cause: Cause) -> bool:
        if classes is None:
            self._diverged(number, where, two, cause)
            return False
        if classes:
            self._equivalent(number, where, two, classes)
        return True

    def _equivalent(self, number: int, where: str, two: Two, classes: Iterable[str]) -> None:
        self.found.append(
            Difference(
                step=number, where=where, classes=tuple(sorted(classes)), recorded=two[0][:_EXCERPT], replayed=two[1][:_EXCERPT]
            )
        )

    def _diverged(self, number: int, where: str, two: Two, cause: Cause) -> None:
        if self.other_scenario:
            cause = "scenario version"
        self.found.append(
            Difference(step=number, where=where, cause=cause, recorded=two[0][:_EXCERPT], replayed=two[1][:_EXCERPT])
        )

    def _blame(self, otherwise: Cause) -> Cause:
        return "image" if self.other_images else otherwise

    def _blame_part(self, part: str) -> Cause:
        if part.startswith("processes"):
            return "concurrency"
        return "network" if part.startswith("world") else self._blame("unknown")

    def _blame_effect(self, event: Event) -> Cause:
        if isinstance(event.body, NetworkEffect | ServiceEffect):
            return "network"
        return "concurrency" if isinstance(event.body, ProcessEffect) else self._blame("unknown")


def _closed(recorded: Trajectory) -> bool:
    """Whether the trial got as far as its closing probes."""
    return recorded.finished is not None and recorded.finished.stop_reason not in _BROKEN_OFF


def _by_step(trajectory: Trajectory, last: int, *, closing: bool = True) -> dict[int, _Step]:
    """A trial's events by step; what lies before the first counts with it, what lies behind the last if `closing`."""
    steps = {number: _Step() for number in range(1, last + 1)}
    for event in trajectory.events:
        if not steps or (event.header.step > last and not closing):
            break
        step = steps[min(max(event.header.step, 1), last)]
        body = event.body
        if isinstance(body, COMPARED) and event.withheld:
            step.withheld += [f"{event.kind} {name}" for name in event.withheld]
        match body:
            case ModelCalled(purpose="turn"):
                step.turn = event
            case ToolCalled():
                step.called[body.call] = body
                step.withheld += [f"{event.kind} {name}" for name in event.withheld]
            case ToolReturned():
                step.returned[body.call] = (event, body)
            case CanaryEffect(where="prompt" | "report"):
                continue  # of texts that are compared by themselves; earlier versions did not look there
            case FileEffect() | ProcessEffect() | NetworkEffect() | ServiceEffect() | CanaryEffect():
                (step.starts if _of_start(event) else step.effects).append(event)
            case ScheduleFired() | Probed() | StateDigested():
                step.others.append(event)
            case SensorState() if body.state in ("gap", "dropped") and set(body.covers) != {"canaries"}:
                step.gaps.append(f"{body.sensor}: {body.detail or body.state}")
            case UnknownBody():
                step.unknown.append(body.kind)
    return steps


def _fleeting(event: Event) -> bool:
    return (event.kind, getattr(event.body, "action", "")) in _FLEETING


def _tried_again(event: Event, effects: Iterable[Event]) -> bool:
    """Whether `event` is a refused connection, and the same call then got one there, which is among its trial's `effects`."""
    body = event.body
    if not isinstance(body, NetworkEffect) or body.action != "refused" or event.header.during is None:
        return False
    wanted = event.header.host, event.header.during, body.destination, body.port
    return any(
        isinstance(other.body, NetworkEffect)
        and other.body.action == "connected"
        and (other.header.host, other.header.during, other.body.destination, other.body.port) == wanted
        and other.header.seq > event.header.seq
        for other in effects
    )


def _of_engine(event: Event) -> bool:
    """Whether an effect is of a program that came and went while the engine itself acted: its probes, and what they run, wait
    and look again as often as they must. What they found and left is compared by itself."""
    passing = getattr(event.body, "action", "") in ("started", "exited", "opened")
    return passing and event.header.origin_basis == "engine" and event.header.during is None


def _of_start(event: Event) -> bool:
    """Whether an effect is of the engine's probes and the hosts' services before the first turn, which begin while sensors
    come up and leave nothing that the state digest would not show."""
    body = event.body
    passing = isinstance(body, FileEffect) and (
        body.action == "opened" or body.short_lived or body.path.startswith("/run/sshd/")
    )
    return event.header.step == 0 and (passing or isinstance(body, ProcessEffect))


def _uncovered(recorded: Trajectory, replayed: Trajectory) -> str:
    """Why the absence of effects proves nothing in one of the two; empty if it does in both."""
    covers = [_coverage(trajectory) for trajectory in (recorded, replayed)]
    if not any(kind == "files" for kind, _ in covers[0]):
        return "no effects were recorded"
    if lacking := sorted(covers[0] - covers[1]):
        return f"the replay did not watch {lacking[0][0]} on {lacking[0][1]}, as the recording did"
    return ""


def _coverage(trajectory: Trajectory) -> set[tuple[str, str]]:
    states = [body for _, body in trajectory.of(SensorState) if body.state == "started"]
    return {(kind, host) for body in states for kind in body.covers for host in body.hosts}


def _used_images(trajectory: Trajectory) -> Mapping[str, str]:
    """The images that this trial's hosts and world ran from."""
    if trajectory.started is None:
        return {}
    resolved = trajectory.started.resolved
    hosts = resolved.get("hosts")
    ssh = isinstance(hosts, list) and any(isinstance(host, dict) and host.get("ssh") for host in hosts)
    unused = {name for name, used in (("host", ssh), ("world", bool(resolved.get("world")))) if not used}
    return {name: image for name, image in trajectory.started.images.items() if name.rpartition("/")[2] not in unused}


def _ended(trajectory: Trajectory) -> dict[str, tuple[str, ...]]:
    """The arguments of each process that is told to have exited, by the event's hash, from when it started."""
    running: dict[tuple[str | None, int], tuple[str, ...]] = {}
    found = {}
    for event, body in trajectory.of(ProcessEffect):
        who = (event.header.host, body.pid)
        if body.argv:
            running[who] = body.argv
        elif who in running:
            found[event.hash] = running[who]
    return found


def _calls(trajectory: Trajectory) -> dict[str, tuple[ToolCalled, float]]:
    """Every call that was answered, and how many seconds it took."""
    took = {body.call: body.duration_us / 1e6 for _, body in trajectory.of(ToolReturned)}
    return {body.call: (body, took[body.call]) for _, body in trajectory.of(ToolCalled) if body.call in took}


def _bodies(trajectory: Trajectory) -> dict[str, Content]:
    """Every file's content that the trial tells of, by digest: what a deleted or renamed file held."""
    return {body.content.sha256: body.content for _, body in trajectory.of(FileEffect) if body.content is not None}


def _definition(trajectory: Trajectory) -> Any:
    """The resolved scenario without its limits, which a replay lifts."""
    resolved = dict(trajectory.started.resolved) if trajectory.started else {}
    resolved.pop("limits", None)
    return resolved


def _end_of(trajectory: Trajectory) -> str:
    errors = [getattr(event.body, "message", "") for event in trajectory.events if event.kind == "error"]
    finished = trajectory.finished
    return errors[-1] if errors else f"it ended with {finished.stop_reason}" if finished else "it did not end"


def _result(event: Event) -> tuple[Any, ...]:
    """What tells effects of the same identity apart."""
    body = event.body
    contents = [getattr(body, name, None) for name in ("content", "request", "response")]
    digests = tuple(content.sha256 if isinstance(content, Content) else None for content in contents)
    return (getattr(body, "exit_code", None), getattr(body, "status", None), *digests)


def _path(event: Event) -> str:
    return getattr(event.body, "path", "")


def _plain(event: Event) -> str:
    return event.body.model_dump_json()


def _name(event: Event) -> str:  # noqa: PLR0911 - a table of kinds
    """An effect in a few words, with the part of the state that it belongs to in front."""
    body, host = event.body, event.header.host or "world"
    match body:
        case FileEffect():
            return f"files:{host} {body.action} {body.path}"
        case ProcessEffect():
            return f"processes:{host} {body.action} {' '.join(body.argv)[:120]}"
        case NetworkEffect():
            what = " ".join(part for part in (body.method, body.name or body.destination, body.target) if part)
            return f"network:{host} {body.action} {body.protocol} {what[:160]}"
        case ServiceEffect():
            return f"world {body.name}"
        case CanaryEffect():
            return f"canary {body.canary} in {body.where}"
        case ScheduleFired():
            return f"schedule {body.id}"
        case Probed():
            return f"probe {body.probe}"
        case _:
            return event.kind


def _told(event: Event) -> str:
    return _plain(event)[:_EXCERPT]


def _owner(event: Event) -> str:
    return f"{event.header.origin_basis or 'not told'} {event.header.origin or event.header.during or ''}".strip()


def _after(effect: FileEffect, name: str) -> Any:
    state = effect.after or effect.before
    return getattr(state, name) if state else None


def _address(source: str) -> str:
    head, _, tail = source.rpartition(":")
    return head if head and tail.isdigit() else source


def _port(source: str) -> int | None:
    tail = source.rpartition(":")[2]
    return int(tail) if tail.isdigit() and ":" in source else None


def _around(a: str, b: str) -> tuple[str, str]:
    """Both texts from shortly before the place where they part."""
    apart = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, apart - 60)
    return a[start : start + _EXCERPT], b[start : start + _EXCERPT]
