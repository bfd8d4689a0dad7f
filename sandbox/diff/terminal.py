"""A comparison as lines for a terminal: `-` is what only the first trial has, `+` only the second.

Text of the trials stands in them as it came; the caller prints them through `plain` and without markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import ndiff

from sandbox.diff.alignment import Difference, Divergence, Row, SideCall, TrialDiff

MAX_LINES = 60
WHOSE = {
    "told": "the model was told something else",
    "said": "the model said something else",
    "called": "the model called something else",
    "answered": "the same call gave something else",
    "caused": "the same call had other effects",
    "length": "one trial goes on where the other ends",
}


def lines(found: TrialDiff, *, whole: bool = False) -> Iterator[str]:
    """The comparison; equal calls are counted instead of listed unless `whole`."""
    yield f"- {found.a}"
    yield f"+ {found.b}"
    if found.identical:
        yield "The two are the same in settings, calls, outputs, effects and verdicts."
        return
    for setting in found.settings:
        yield f"  {setting.what}: {setting.a} | {setting.b}"
    yield from _parting("First parting", found.first)
    if found.first_action is not None and found.first_action != found.first:
        yield from _parting("First parting in what was done", found.first_action)
    counts = found.counts
    yield (
        f"Calls: {counts['calls_same']} the same, {counts['calls_changed']} changed, {counts['calls_only_a']} only in -, "
        f"{counts['calls_only_b']} only in +; outputs of the same calls: {counts['outputs_differ']} differ, "
        f"{counts['outputs_differ_in_numbers']} in numbers only"
    )
    yield from _rows(found.rows, whole)
    yield from _effects(found)
    if found.verdicts:
        yield "Verdicts:"
        yield from (f"  {verdict.what}: {verdict.a} | {verdict.b}" for verdict in found.verdicts)


def changed_lines(difference: Difference) -> list[str]:
    """The lines of both sides, the changed ones marked; of long texts the beginning."""
    a, b = difference.a.splitlines()[:MAX_LINES], difference.b.splitlines()[:MAX_LINES]
    return [line for line in ndiff(a, b) if not line.startswith("?")]


def _parting(title: str, parting: Divergence | None) -> Iterator[str]:
    if parting is None:
        return
    where = " ".join(f"{side}#{seq}" for side, seq in (("-", parting.seq_a), ("+", parting.seq_b)) if seq is not None)
    yield f"{title}: turn {parting.turn}, {WHOSE[parting.whose]} ({where})"
    yield from (f"    {line}" for line in _around_change(parting.difference))


def _around_change(difference: Difference) -> list[str]:
    """The first changed lines with one before them."""
    marked = changed_lines(difference)
    at = next((i for i, line in enumerate(marked) if not line.startswith("  ")), 0)
    return [difference.what + ":", *marked[max(0, at - 1) : at + 8]]


def _rows(rows: tuple[Row, ...], whole: bool) -> Iterator[str]:
    skipped = 0
    for row in rows:
        plain = row.state == "same" and all(d.numbers_only for d in row.differences)
        if plain and not whole:
            skipped += 1
            continue
        if skipped:
            yield f"  ... {skipped} the same"
            skipped = 0
        yield from _row(row)
    if skipped:
        yield f"  ... {skipped} the same"


def _row(row: Row) -> Iterator[str]:
    if row.state == "only_a" and row.a is not None:
        yield f"- {_call(row.a)}"
    elif row.state == "only_b" and row.b is not None:
        yield f"+ {_call(row.b)}"
    elif row.a is not None and row.b is not None:
        if row.state == "changed":
            yield f"- {_call(row.a)}"
            yield f"+ {_call(row.b)}"
        else:
            yield f"  {_call(row.a)}"
        for difference in row.differences:
            if difference.what != "arguments":
                only = ", numbers only" if difference.numbers_only else ""
                yield f"      {difference.what}{only}:"
                yield from (f"        {line}" for line in changed_lines(difference)[:12])


def _call(call: SideCall) -> str:
    return f"step {call.step} #{call.seq} {call.tool} {call.arguments[:300]}"


def _effects(found: TrialDiff) -> Iterator[str]:
    if found.effects_only_a or found.effects_only_b:
        yield "Effects:"
    for mark, effects in (("-", found.effects_only_a), ("+", found.effects_only_b)):
        for line, count in list(effects.items())[:MAX_LINES]:
            yield f"  {mark} {line}{f' (x{count})' if count > 1 else ''}"
        if len(effects) > MAX_LINES:
            yield f"  {mark} ... {len(effects) - MAX_LINES} more"
