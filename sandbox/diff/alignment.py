"""Aligning two trials and naming what differs: settings, the first parting, calls, outputs, effects, verdicts.

Calls are aligned so that as many as possible stand beside an equal one, in order (a longest common subsequence, by bit
vectors, since hostile trials repeat themselves and common matchers turn cubic on that); what lies between is paired where the
tool is the same. The first parting is told apart by whose doing it was. Outputs that differ in numbers only (times, sizes,
process ids) are marked and do not count as a parting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import JsonValue

from sandbox.diff.steps import CallStep, Steps, TurnStep, canonical, masked, steps_of
from sandbox.events import Frozen
from sandbox.trajectory import Trajectory

Whose = Literal["told", "said", "called", "answered", "caused", "length"]
"""told: the model was shown something else; said: its words differ; called: its calls do; answered: the same call gave
something else; caused: the same call had other effects; length: one trial goes on where the other ends."""

SHOWN = 4000
"""Characters of each side that a difference keeps."""
MAX_ALIGNED = 10_000
_FACTS = ("stage_name", "attempted", "succeeded", "concealed", "disclosed", "confessed")
_SETTINGS = ("scenario", "scenario_digest", "model", "arm", "seed", "epoch", "sampling", "limits", "images", "runtime")


class Difference(Frozen):
    """One thing that differs; `numbers_only` where it is equal once numbers are masked."""

    what: str
    a: str
    b: str
    numbers_only: bool = False


class Divergence(Frozen):
    """Where the two trials first part: turns counted from 1, the events in either ledger, and what differs."""

    turn: int
    whose: Whose
    call: str = ""
    seq_a: int | None = None
    seq_b: int | None = None
    difference: Difference


class SideCall(Frozen):
    """One call of one side as the reader sees it."""

    id: str
    step: int
    seq: int
    tool: str
    arguments: str


class Row(Frozen):
    """One place of the alignment. `same` calls may still differ in what came back."""

    state: Literal["same", "changed", "only_a", "only_b"]
    a: SideCall | None = None
    b: SideCall | None = None
    differences: tuple[Difference, ...] = ()


class TrialDiff(Frozen):
    """All that differs. `first` is the first parting, `first_action` the first one in calls, answers or effects."""

    a: str
    b: str
    identical: bool
    settings: tuple[Difference, ...] = ()
    first: Divergence | None = None
    first_action: Divergence | None = None
    rows: tuple[Row, ...] = ()
    counts: dict[str, int] = {}
    effects_only_a: dict[str, int] = {}
    effects_only_b: dict[str, int] = {}
    verdicts: tuple[Difference, ...] = ()


def compare(
    a: Trajectory,
    b: Trajectory,
    *,
    verdict_a: Mapping[str, Any] | None = None,
    verdict_b: Mapping[str, Any] | None = None,
) -> TrialDiff:
    """Compare two trials; verdicts are those of `belljar analyze --json`, as plain data, and are compared if both are given.

    Raises IntegrityError where one has no manifest.
    """
    left, right = steps_of(a), steps_of(b)
    settings = tuple(_settings(a, b))
    partings = list(_partings(left, right))
    rows = tuple(_rows(left.calls, right.calls))
    more_a, more_b = left.effects - right.effects, right.effects - left.effects
    verdicts = tuple(_verdicts(verdict_a, verdict_b)) if verdict_a is not None and verdict_b is not None else ()
    actions = (parting for parting in partings if parting.whose not in ("told", "said"))
    return TrialDiff(
        a=_title(a),
        b=_title(b),
        identical=not (partings or settings or more_a or more_b or verdicts or any(row.differences for row in rows)),
        settings=settings,
        first=partings[0] if partings else None,
        first_action=next(actions, None),
        rows=rows,
        counts=_counts(rows, left, right),
        effects_only_a=dict(sorted(more_a.items())),
        effects_only_b=dict(sorted(more_b.items())),
        verdicts=verdicts,
    )


def align(a: Sequence[CallStep], b: Sequence[CallStep]) -> Iterator[tuple[CallStep | None, CallStep | None]]:
    """Pairs of calls in order; a call without a partner stands alone."""
    start = _common([call.key for call in a], [call.key for call in b])
    end = _common([call.key for call in reversed(a[start:])], [call.key for call in reversed(b[start:])])
    inner_a, inner_b = a[start : len(a) - end], b[start : len(b) - end]
    yield from zip(a[:start], b[:start], strict=True)
    i = j = 0
    for x, y in _matches([call.key for call in inner_a], [call.key for call in inner_b]):
        yield from _paired(inner_a[i:x], inner_b[j:y])
        yield inner_a[x], inner_b[y]
        i, j = x + 1, y + 1
    yield from _paired(inner_a[i:], inner_b[j:])
    yield from zip(a[len(a) - end :], b[len(b) - end :], strict=True)


def _common(a: Sequence[object], b: Sequence[object]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _matches(a: Sequence[object], b: Sequence[object]) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence, in order; none where a side is longer than `MAX_ALIGNED`.

    After Crochemore et al. 2001: bit j of row i is 0 where b[j] lengthens the subsequence of a[:i] and b[:j + 1].
    """
    if not a or not b or max(len(a), len(b)) > MAX_ALIGNED:
        return []
    where: dict[object, int] = {}
    for j, item in enumerate(b):
        where[item] = where.get(item, 0) | 1 << j
    full = (1 << len(b)) - 1
    rows = [full]
    for item in a:
        row = rows[-1]
        hits = row & where.get(item, 0)
        rows.append(((row + hits) | (row - hits)) & full)
    return _traced(rows, len(a), len(b))


def _traced(rows: Sequence[int], i: int, j: int) -> list[tuple[int, int]]:
    """Follow the rows back from their ends."""

    def length(i: int, j: int) -> int:
        return j - (rows[i] & ((1 << j) - 1)).bit_count()

    found = []
    while i and j:
        here = length(i, j)
        if here == length(i, j - 1):
            j -= 1
        elif here == length(i - 1, j):
            i -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


def _paired(a: Sequence[CallStep], b: Sequence[CallStep]) -> Iterator[tuple[CallStep | None, CallStep | None]]:
    """Neighbours that use the same tool are taken as one call with other arguments."""
    for i in range(max(len(a), len(b))):
        x, y = a[i] if i < len(a) else None, b[i] if i < len(b) else None
        if x is not None and y is not None and x.tool != y.tool:
            yield x, None
            yield None, y
        else:
            yield x, y


def _rows(a: Sequence[CallStep], b: Sequence[CallStep]) -> Iterator[Row]:
    for x, y in align(a, b):
        if x is None:
            yield Row(state="only_b", b=_side(y) if y is not None else None)
        elif y is None:
            yield Row(state="only_a", a=_side(x))
        else:
            state: Literal["same", "changed"] = "same" if x.key == y.key else "changed"
            yield Row(state=state, a=_side(x), b=_side(y), differences=tuple(_call_differences(x, y)))


def _call_differences(x: CallStep, y: CallStep) -> Iterator[Difference]:
    """What differs between two calls that stand side by side."""
    if x.asked != y.asked:
        yield difference("arguments", x.asked, y.asked)
    if x.status != y.status:
        yield difference("status", x.status, y.status)
    if x.exit_code != y.exit_code:
        yield difference("exit code", str(x.exit_code), str(y.exit_code))
    if x.output != y.output:
        yield difference("output", x.output, y.output)
    if x.effects != y.effects:
        yield difference("effects", _listed(x.effects - y.effects), _listed(y.effects - x.effects))


class _Parting(NamedTuple):
    whose: Whose
    call: str
    difference: Difference


def _partings(left: Steps, right: Steps) -> Iterator[Divergence]:
    """Every turn's first difference, turn by turn, as long as both trials last."""
    for number, (x, y) in enumerate(zip(left.turns, right.turns, strict=False), 1):
        for parting in _turn_partings(x, y):
            if not parting.difference.numbers_only:
                seqs = _seqs(x, y, parting.call)
                yield Divergence(
                    turn=number,
                    whose=parting.whose,
                    call=parting.call,
                    seq_a=seqs[0],
                    seq_b=seqs[1],
                    difference=parting.difference,
                )
    shorter, longer = sorted((left, right), key=lambda side: len(side.turns))
    if len(shorter.turns) != len(longer.turns):
        turn = longer.turns[len(shorter.turns)]
        what = difference("turns", str(len(left.turns)), str(len(right.turns)))
        at = (turn.seq, None) if longer is left else (None, turn.seq)
        yield Divergence(turn=len(shorter.turns) + 1, whose="length", seq_a=at[0], seq_b=at[1], difference=what)


def _turn_partings(x: TurnStep, y: TurnStep) -> Iterator[_Parting]:
    if x.told != y.told:
        yield _Parting("told", "", difference("what the model was told", x.told, y.told))
    if x.reasoning != y.reasoning:
        yield _Parting("said", "", difference("reasoning", x.reasoning, y.reasoning))
    if x.said != y.said:
        yield _Parting("said", "", difference("reply", x.said, y.said))
    calls_a, calls_b = [call.key for call in x.calls], [call.key for call in y.calls]
    if calls_a != calls_b:
        yield _Parting("called", "", difference("calls", _asked(x), _asked(y)))
    for one, other in zip(x.calls, y.calls, strict=False):
        if one.key != other.key:
            return
        for found in _call_differences(one, other):
            yield _Parting("caused" if found.what == "effects" else "answered", one.id, found)


def _seqs(x: TurnStep, y: TurnStep, call: str) -> tuple[int | None, int | None]:
    """The events to look at: a call's answer, otherwise the model's reply."""
    for one, other in zip(x.calls, y.calls, strict=False):
        if one.id == call:
            return one.answered_seq, other.answered_seq
    return x.seq, y.seq


def difference(what: str, a: str, b: str) -> Difference:
    """Two texts as the reader sees them, bounded. Only what a machine put out may be excused by its numbers."""
    return Difference(what=what, a=_cut(a), b=_cut(b), numbers_only=what == "output" and masked(a) == masked(b))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n[{len(text) - SHOWN:,} characters more]"


def _settings(a: Trajectory, b: Trajectory) -> Iterator[Difference]:
    one, other = a.manifest.model_dump(mode="json"), b.manifest.model_dump(mode="json")
    for name in _SETTINGS:
        if one[name] != other[name]:
            yield difference(name, _plain(one[name]), _plain(other[name]))
    ends = [t.finished.stop_reason if t.finished is not None else "not recorded" for t in (a, b)]
    if ends[0] != ends[1]:
        yield difference("end", ends[0], ends[1])


def _verdicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Difference]:
    one, other = facts(a), facts(b)
    for name in sorted(one.keys() | other.keys()):
        x, y = one.get(name, "-"), other.get(name, "-")
        if x != y:
            yield difference(name, x, y)


def facts(verdict: Mapping[str, Any]) -> dict[str, str]:
    """A verdict's facts by name, without accounts and evidence."""
    found = {name: _plain(verdict[name]) for name in ("status", "outcome", "task_score") if name in verdict}
    behaviours = verdict.get("verdicts")
    for behaviour, value in (behaviours if isinstance(behaviours, Mapping) else {}).items():
        if isinstance(value, Mapping):
            found |= {f"{behaviour}: {name}": _plain(value[name]) for name in _FACTS if name in value}
            milestones = value.get("milestones")
            if isinstance(milestones, Mapping):
                found |= {f"{behaviour}: {name}": _plain(fact) for name, fact in milestones.items()}
    raised = verdict.get("indicators")
    for indicator in raised if isinstance(raised, list | tuple) else ():
        if isinstance(indicator, Mapping):
            found[f"indicator {indicator.get('kind')}"] = "raised"
    return found


def _counts(rows: Sequence[Row], left: Steps, right: Steps) -> dict[str, int]:
    states = Counter(row.state for row in rows)
    outputs = [d for row in rows if row.state == "same" for d in row.differences if d.what == "output"]
    return {
        "turns_a": len(left.turns),
        "turns_b": len(right.turns),
        "calls_same": states["same"],
        "calls_changed": states["changed"],
        "calls_only_a": states["only_a"],
        "calls_only_b": states["only_b"],
        "outputs_differ": sum(not d.numbers_only for d in outputs),
        "outputs_differ_in_numbers": sum(d.numbers_only for d in outputs),
    }


def _side(call: CallStep) -> SideCall:
    return SideCall(id=call.id, step=call.step, seq=call.seq, tool=call.tool, arguments=_cut(call.asked))


def _asked(turn: TurnStep) -> str:
    return "\n".join(f"{call.tool} {call.asked}" for call in turn.calls) or "no call"


def _listed(effects: Counter[str]) -> str:
    return "\n".join(f"{line}{f' (x{count})' if count > 1 else ''}" for line, count in sorted(effects.items()))


def _plain(value: JsonValue) -> str:
    return value if isinstance(value, str) else canonical(value)


def _title(trajectory: Trajectory) -> str:
    manifest = trajectory.manifest
    arm = " ".join(f"{factor}={level}" for factor, level in manifest.arm.items())
    return " ".join(f"{manifest.scenario} {manifest.model} {arm} seed {manifest.seed} ({manifest.trial})".split())
