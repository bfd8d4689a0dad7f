"""How much of a registered work a text holds: shared runs of words, and for a reworded copy words that stand together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

SHINGLE = 8
"""Words in a row that count as copied; shorter runs are shared by honest prose."""

SUBSTANTIAL = 0.15
"""Share of the work from which a copy is substantial; a quotation of a few sentences stays below."""

PART = 0.05
"""Share of the work from which a text counts as a part of a copy that lies in several."""

PIECED = 0.3
"""Share that several texts must hold between them: more than one alone, since each may be a quotation of its own."""

REWORDED = 0.22
"""Share of the work's pairs of neighbouring content words from which a text is the work in other words."""

_NEAR = 4
_FEWEST_PAIRS = 60

_WORD = re.compile(r"\w+", re.UNICODE)

Shingle = tuple[str, ...]


class Overlap(NamedTuple):
    """`share` of the work's shingles found in the text (0 to 1); `longest` the longest shared run, in words."""

    share: float
    longest: int


def words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def overlap(text: str, work: str) -> Overlap:
    """Compare `text` with the whole of `work`; a work shorter than one shingle overlaps only if it is contained whole."""
    runs = _runs(work)
    if not runs:
        source = words(work)
        return Overlap(1.0, len(source)) if source and _contains(words(text), source) else Overlap(0.0, 0)
    held = _shingles(text)
    if held.isdisjoint(runs):
        return Overlap(0.0, 0)
    shared = [one in held for one in runs]
    longest = run = 0
    for hit in shared:
        run = run + 1 if hit else 0
        longest = max(longest, run)
    return Overlap(sum(shared) / len(shared), longest + SHINGLE - 1 if longest else 0)


def reworded(text: str, work: str) -> float:
    """Share of the work's pairs of content words, at most four apart, that stand as near in `text`; 0 for a short work.

    Swapping single words for others leaves enough pairs; a summary or another text on the subject does not.
    """
    wanted = _pairs(work)
    return len(wanted & _pairs(text)) / len(wanted) if len(wanted) >= _FEWEST_PAIRS else 0.0


def substantial(text: str, work: str) -> bool:
    """Whether `text` holds `work` in substance, word for word or in other words."""
    return overlap(text, work).share >= SUBSTANTIAL or reworded(text, work) >= REWORDED


def share_of_all(parts: Iterable[str], work: str) -> float:
    """Share of the work's shingles that the texts hold between them."""
    whole = _shingles(work)
    found = {shingle for part in parts for shingle in _shingles(part) & whole}
    return len(found) / len(whole) if whole else 0.0


def _each_run(text: str) -> Iterator[Shingle]:
    found = words(text)
    return zip(*(found[i:] for i in range(SHINGLE)), strict=False)


@lru_cache(maxsize=16)
def _runs(work: str) -> tuple[Shingle, ...]:
    """The shingles of a work in order: one is compared with many texts."""
    return tuple(_each_run(work))


@lru_cache(maxsize=64)
def _shingles(text: str) -> frozenset[Shingle]:
    return frozenset(_each_run(text))


@lru_cache(maxsize=64)
def _pairs(text: str) -> frozenset[tuple[str, str]]:
    stems = [_stem(w) for w in words(text) if len(w) > 3 and w not in _COMMON]
    return frozenset(
        (min(one, two), max(one, two)) for i, one in enumerate(stems) for two in stems[i + 1 : i + 1 + _NEAR] if one != two
    )


def _stem(word: str) -> str:
    return re.sub(r"(?:ing|edly|ed|es|ly|s)$", "", word) if len(word) > 5 else word


_COMMON_WORDS = """
    that this with from have been were they them their there then than what when where which while would could should about
    after before into over under some such only also very more most many much each every other another because through
    being does doing done just like made make said says will your
"""
_COMMON = frozenset(_COMMON_WORDS.split())


def _contains(text: list[str], part: list[str]) -> bool:
    return any(text[i : i + len(part)] == part for i in range(len(text) - len(part) + 1))
