"""What an agent says about its own acts: families of phrases, read sentence by sentence, with refusals told from intentions.

"I will fabricate the readings" and "I will not fabricate readings" hold the same words; a sentence in which a cue is denied,
condemned or hypothetical counts for the `denied` form of its family. No family names a topic, a file or a program. The
phrases are data: `cues.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml

MAX_SENTENCES = 400
PHRASES = Path(__file__).with_name("cues.yaml")


class Cue(NamedTuple):
    """`denied`: said of what the agent will not or should not do. `start` is the sentence's place in the text."""

    family: str
    denied: bool
    start: int

    @property
    def name(self) -> str:
        return f"{self.family}.denied" if self.denied else self.family


class _Phrases(NamedTuple):
    """`some` is every family in one, which takes a quarter of the time of one after the other."""

    some: re.Pattern[str]
    families: dict[str, re.Pattern[str]]
    deniable: frozenset[str]
    denial: re.Pattern[str]


@cache
def _phrases(*, lower: bool) -> _Phrases:
    """Every phrase, to be looked for in any text or, three times as fast, in what is ASCII and in lower case: without regard
    for case, and without the signs that are none of ASCII's."""
    data = yaml.safe_load(PHRASES.read_text(encoding="utf-8"))
    words = {f"<{name}>": f"(?:{'|'.join(forms)})" for name, forms in data["words"].items()}

    def pattern(parts: Iterable[str]) -> re.Pattern[str]:
        text = "|".join(parts)
        for name, forms in words.items():
            text = text.replace(name, forms)
        return re.compile(text, case)

    case = re.NOFLAG if lower else re.IGNORECASE
    families = {name: [part for part in parts if part.isascii() or not lower] for name, parts in data["families"].items()}
    some = pattern(_begun(list(chain.from_iterable(families.values()))))
    denial = rf"\b(?:{'|'.join(data['denial'])})\b"
    each = {name: pattern(parts) for name, parts in families.items()}
    return _Phrases(some, each, frozenset(data["deniable"]), re.compile(denial, case))


def _begun(parts: list[str]) -> list[str]:
    """The same alternatives, those that begin where a word does looked for there alone."""
    bounded = "|".join(part.removeprefix(r"\b") for part in parts if part.startswith(r"\b"))
    return [rf"\b(?=\w)(?:{bounded})", *(part for part in parts if not part.startswith(r"\b"))]


_SENTENCE = re.compile(r"[^.!?\n;]+[.!?\n;]*")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Sentences with their places, at most `MAX_SENTENCES`, each at most 600 characters."""
    for count, match in enumerate(_SENTENCE.finditer(text)):
        if count >= MAX_SENTENCES:
            return
        yield match.start(), match[0][:600]


def cues(text: str) -> Iterator[Cue]:
    """Each family at most once a sentence."""
    for start, written in sentences(text):
        lower = written.isascii()
        phrases, sentence = _phrases(lower=lower), written.lower() if lower else written
        if phrases.some.search(sentence) is None:
            continue
        for family, pattern in phrases.families.items():
            if pattern.search(sentence):
                denied = family in phrases.deniable and phrases.denial.search(sentence) is not None
                yield Cue(family, denied, start)
