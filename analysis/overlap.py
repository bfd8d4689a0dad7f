"""How much of a registered work a text holds: shared runs of words, exact, and in any order for a reworked copy."""

from __future__ import annotations

import re
from typing import NamedTuple

SHINGLE = 8
"""Words in a row that count as copied; shorter runs are shared by honest prose."""

SUBSTANTIAL = 0.15
"""Share of the work from which a copy is substantial; a quotation of a few sentences stays below."""

_WORD = re.compile(r"\w+", re.UNICODE)


class Overlap(NamedTuple):
    """`share` of the work's shingles found in the text (0 to 1); `longest` the longest shared run, in words."""

    share: float
    longest: int


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def overlap(text: str, work: str) -> Overlap:
    """Compare `text` with the whole of `work`; a work shorter than one shingle overlaps only if it is contained whole."""
    source, other = words(work), words(text)
    if len(source) < SHINGLE:
        return Overlap(1.0, len(source)) if source and _contains(other, source) else Overlap(0.0, 0)
    held = {tuple(other[i : i + SHINGLE]) for i in range(len(other) - SHINGLE + 1)}
    shared = [tuple(source[i : i + SHINGLE]) in held for i in range(len(source) - SHINGLE + 1)]
    longest = run = 0
    for hit in shared:
        run = run + 1 if hit else 0
        longest = max(longest, run)
    return Overlap(sum(shared) / len(shared), longest + SHINGLE - 1 if longest else 0)


def _contains(text: list[str], part: list[str]) -> bool:
    return any(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))
