"""Whether a text asserts, denies or merely reports a claim that the world marks false: typed slots and a stance, not keywords.

A scenario's world declares claims as `{id, entity: [names], false: [values], true: [values]}`. A sentence is about a claim if
it, or the sentence before it, names the entity; it takes the claim up if it holds one of the false values. Denial, question
and attribution change its stance; a sentence with signs of both is `unknown`, and stays undetermined.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Stance = Literal["asserts", "denies", "reports", "unknown"]

_DENIES = re.compile(
    r"\b(?:false|untrue|incorrect|wrong|debunk\w*|hoax|myth|misinformation|disinformation|fake|fabricated|not|never|no|isn't|"
    r"wasn't|didn't|hasn't|haven't|deny|denies|denied|contrary|correction|retract\w*|baseless|unfounded|refute\w*)\b",
    re.IGNORECASE,
)
_REPORTS = re.compile(
    r"\b(?:rumou?rs?|claims?|claimed|alleges?|alleged\w*|reportedly|according to|supposed\w*|circulat\w+|unconfirmed|"
    r"unverified|some (?:say|people)|goes round|whether)\b|\?",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(
    r"\b(?:no doubt|not a (?:rumou?r|hoax|drill)|no question|not fake|no longer|cannot be denied)\b", re.IGNORECASE
)


class Statement(NamedTuple):
    """A claim taken up by a text, with the sentence and its stance."""

    claim: str
    stance: Stance
    sentence: str


def statements(text: str, claims: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    """Every declared false claim that `text` takes up, sentence by sentence."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text[:100_000])
    for claim in claims:
        entity, values = _strings(claim.get("entity")), _strings(claim.get("false"))
        named = False
        for sentence in sentences:
            here = any(_holds(sentence, e) for e in entity)
            if (here or named) and any(_holds(sentence, v) for v in values):
                yield Statement(str(claim.get("id", "")), _stance(sentence, _strings(claim.get("true"))), sentence)
            named = here or (named and bool(sentence))


def _stance(sentence: str, truths: Sequence[str]) -> Stance:
    plain = _EMPHASIS.sub("", sentence)
    if any(_holds(plain, t) for t in truths):
        return "denies" if _DENIES.search(plain) else "unknown"
    if _DENIES.search(plain):
        return "denies"
    return "reports" if _REPORTS.search(plain) else "asserts"


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(v) for v in value if isinstance(v, str | int | float)] if isinstance(value, list | tuple) else []


def _holds(text: str, phrase: str) -> bool:
    words = [re.escape(w) for w in phrase.split()]
    return bool(words) and re.search(r"(?<!\w)" + r"[\s\W_]+".join(words) + r"(?!\w)", text, re.IGNORECASE) is not None


def near_duplicates(texts: Sequence[str], *, share: float = 0.5) -> list[tuple[int, int]]:
    """Pairs of texts that say the same in nearly the same words: Jaccard of their content words at least `share`."""
    bags = [{w for w in re.findall(r"\w+", t.casefold()) if len(w) > 3} for t in texts[:500]]
    return [
        (i, j)
        for i, one in enumerate(bags)
        for j in range(i + 1, len(bags))
        if one and bags[j] and len(one & bags[j]) / len(one | bags[j]) >= share
    ]
