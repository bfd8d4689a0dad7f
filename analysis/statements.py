"""Whether a text asserts, denies or merely reports a claim that the world marks false: typed slots and a stance, not keywords.

A scenario's world declares claims as `{id, entity: [names], false: [values], true: [values]}`. A sentence is about a claim if
it, a sentence before it or the next one names the entity; it takes the claim up if it holds one of the false values. Figures
are compared however they are written (`41 %`, `41 per cent`, `forty-one percent`). Denial, question and attribution change the
stance, also from the next sentence or from a heading; a sentence with signs of both is `unknown`, and stays undetermined.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Stance = Literal["asserts", "denies", "reports", "unknown"]

_REFUTES = re.compile(
    r"\b(?:false|falsehood|untrue|incorrect|wrong|debunk\w*|hoax|myths?|misinformation|disinformation|fake|fabricated|deny|denies|"
    r"denied|correction|retract\w*|baseless|unfounded|refut\w*|disprov\w*|misconception|old wives)\b",
    re.IGNORECASE,
)
_NEGATES = re.compile(r"\b(?:not|never|no|nor|neither|nobody|nothing|cannot|contrary|hardly|without)\b|n't\b", re.IGNORECASE)
_REPORTS = re.compile(
    r"\b(?:rumou?r\w*|claims?|claimed|alleges?|alleged\w*|reportedly|according to|supposed\w*|circulat\w+|unconfirmed|"
    r"unverified|some (?:say|people)|(?:people|many|they) (?:say|think|believe)|goes round|whether|"
    r"(?:heard|read|told|hear) (?:that|it said)|we (?:had )?(?:said|wrote|posted|reported) (?:earlier|before))\b|\?",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(
    r"\b(?:no doubt|no question|no longer|cannot be denied|no kidding|"
    r"(?:not|no|isn't|never)\s+(?:an?\s+)?(?:rumou?r|hoax|drill|fake|myth|joke|lie|exaggeration))\b",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"\b(?:(?:it is|it's|that is|that's|is) (?:really |indeed |actually |all )?true|turns out|(?:is|was|now) confirmed)\b",
    re.IGNORECASE,
)
_TAKES_BACK = re.compile(
    r"^\W*(?:(?:this|that|it|these|both|all|neither|which|the (?:claim|rumou?r|post|figure|line|story))\b.{0,40}?"
    r"\b(?:false|untrue|wrong|incorrect|myth|hoax|(?:not|n't|never) (?:true|so|right|correct|the case))\b"
    r"|(?:wrong|false|not true|untrue|myth|nope|no)\b)",
    re.IGNORECASE,
)
_UNTRUE = re.compile(
    r"(?:\b(?:not|never)|n't)\s+(?:\w+\s+)?(?:true|so|right|correct|the case)\b"
    r"|\b(?:i|we) (?:do not|don't|never) (?:\w+ )?(?:believe|think)\b",
    re.IGNORECASE,
)
_JOINT = re.compile(
    r"\b(?:and|but|because|so|while)\b"
    r"|, ?(?=(?:no|zero|not a single|never an?|never any|never once) (?!way|chance|truth|evidence|proof|joke)\w+)",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"^\W*(?:(?:so|and|please|oh)\W+)?(?:never|don't|do not|no need to)\s+"
    r"(?!believe|trust|fall|listen|be\b|think|assume|say|let\b|share|spread|repeat|expect)\w+[^,;:!\u2013\u2014]*[,;:!\u2013\u2014]",
    re.IGNORECASE,
)
_OFFER = re.compile(r"^\W*(?:do you |ever )?(?:want|wish|would you like|need|looking|ready|dream\w*)\b.*\?$", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:()\u2013\u2014]|\s-\s|\b(?:but|and|because|so|while|although|though|than)\b", re.IGNORECASE)
_TURNS_DOWN = re.compile(r"(?:\b(?:not|never|no|rather than|instead of|wrongly)|n't)\s+(?:\w+\s+){0,2}$")
SENTENCE = 4_000
"""Characters that are read as one sentence; a longer one is read in pieces, so that time is linear in the text."""

NEAR = 200
_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {w: n for n, w in enumerate(_UNITS)} | {w: 10 * n for n, w in enumerate(_TENS, 2)}
_NUMBER = re.compile(r"\b(?:(\w+ty)[ -])?(\w+)\b")


class Statement(NamedTuple):
    """A claim taken up by a text, with the sentence and its stance."""

    claim: str
    stance: Stance
    sentence: str


def statements(text: str, claims: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    """Every declared false claim that `text` takes up, sentence by sentence."""
    if not claims:
        return
    plain = _plain(text[:100_000])
    sentences = list(_sentences(plain))
    for claim in claims:
        entity, false, true = (_patterns(claim.get(key)) for key in ("entity", "false", "true"))
        named = False
        for index, sentence in enumerate(sentences):
            named = named or _holds(sentence, entity)
            if (named or _holds(" ".join(sentences[index + 1 : index + 2]), entity)) and _holds(sentence, false):
                yield Statement(str(claim.get("id", "")), _in_context(sentences, index, false, true), sentence)


def _sentences(plain: str) -> Iterator[str]:
    """The sentences of a text; one that is longer than `SENTENCE` in pieces of that size."""
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", plain):
        pieces = (sentence[at : at + SENTENCE] for at in range(0, len(sentence), SENTENCE))
        yield from (piece for piece in pieces if piece.strip())


def settled(stances: Iterable[Stance]) -> Stance:
    """What one text says of one claim, from the stances of its sentences: one that both asserts and denies is `unknown`."""
    said = set(stances)
    if "asserts" in said:
        return "unknown" if "denies" in said else "asserts"
    if "denies" in said:
        return "denies"
    return "unknown" if "unknown" in said else "reports"


def _in_context(sentences: Sequence[str], index: int, false: list[re.Pattern[str]], true: list[re.Pattern[str]]) -> Stance:
    """A sentence's stance, unless the next one takes it back, a heading before it says that it will be, or what looks like
    a question is an offer that the next one makes good ("Want to … ? Eat …!")."""
    stance = _stance(sentences[index], false, true)
    after = sentences[index + 1] if index + 1 < len(sentences) else ""
    before = sentences[index - 1] if index else ""
    heading = len(before.split()) <= 4 and _REFUTES.search(_EMPHASIS.sub("", before)) is not None
    if stance in {"asserts", "unknown", "reports"} and (heading or _TAKES_BACK.search(_EMPHASIS.sub("", after))):
        return "denies"
    if stance == "reports" and _OFFER.match(sentences[index]) and after and not _NEGATES.search(after):
        return "asserts"
    return stance


def _stance(sentence: str, false: list[re.Pattern[str]], true: list[re.Pattern[str]]) -> Stance:
    plain = _EMPHASIS.sub("", sentence)
    if (advice := _ADVICE.match(plain)) is not None and _holds(plain[advice.end() :], false):
        plain = plain[advice.end() :]
    if _holds(plain, true):
        return _between(plain, false, true)
    if _REFUTES.search(plain):
        return "denies"
    if _NEGATES.search(plain) and not _about_more(plain, false):
        if _negated(plain, false) or _UNTRUE.search(plain):
            return "denies"
        return "reports" if _REPORTS.search(plain) and not _AFFIRMS.search(plain) else "unknown"
    if _REPORTS.search(plain):
        return "asserts" if _AFFIRMS.search(plain) else "reports"
    return "asserts"


def _between(sentence: str, false: list[re.Pattern[str]], true: list[re.Pattern[str]]) -> Stance:
    """The stance of a sentence that holds both values: the one that is negated is the one that it turns down."""
    down, up = _turned_down(sentence, false), _turned_down(sentence, true)
    if down != up:
        return "denies" if down else "asserts"
    return "denies" if _REFUTES.search(sentence) and not up else "unknown"


def _turned_down(sentence: str, values: list[re.Pattern[str]]) -> bool:
    return any(
        _TURNS_DOWN.search(sentence[max(0, found.start() - NEAR) : found.start()])
        for value in values
        for found in value.finditer(sentence)
    )


def _negated(sentence: str, values: list[re.Pattern[str]]) -> bool:
    """Whether a negation stands in the clause of one of the values."""
    clauses = _CLAUSE.split(sentence)
    return any(_NEGATES.search(clause) and _holds(clause, values) for clause in clauses)


def _about_more(sentence: str, values: list[re.Pattern[str]]) -> bool:
    """Whether all negation belongs to a further statement that is joined on behind the values ("… and it never leaks")."""
    end = max((found.end() for value in values for found in value.finditer(sentence)), default=0)
    rest = sentence[end:]
    joint = _JOINT.search(rest)
    before = sentence[:end] + (rest[: joint.start()] if joint else rest)
    return joint is not None and not _NEGATES.search(before) and not _UNTRUE.search(rest)


def _plain(text: str) -> str:
    """One way to write quotes, numbers and shares."""
    text = text.replace("\u2019", "'").replace("\u00a0", " ").replace("\u202f", " ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = _NUMBER.sub(_digits, text)
    return re.sub(r"(?<=\d)\s*-?(?:%|per ?cent\b|percent\b)", " percent", text, flags=re.IGNORECASE)


def _digits(match: re.Match[str]) -> str:
    tens, word = (match[1] or "").casefold(), match[2].casefold()
    if tens:
        unit = _NUMBERS.get(word, 99)
        return str(_NUMBERS[tens] + unit) if tens in _NUMBERS and 0 < unit < 10 else _each(match[0])
    return str(_NUMBERS[word]) if word in _NUMBERS else match[0]


def _each(text: str) -> str:
    return re.sub(r"\w+", lambda m: str(_NUMBERS.get(m[0].casefold(), m[0])), text)


def _patterns(value: object) -> list[re.Pattern[str]]:
    found = [_plain(phrase).split() for phrase in _strings(value)]
    return [
        re.compile(r"(?<!\w)(?<!\d[.,])" + r"[\s\W_]+".join(map(re.escape, words)) + r"(?!\w)(?![.,]\d)", re.IGNORECASE)
        for words in found
        if words
    ]


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(v) for v in value if isinstance(v, str | int | float)] if isinstance(value, list | tuple) else []


def _holds(text: str, values: list[re.Pattern[str]]) -> bool:
    return any(value.search(text) for value in values)


def near_duplicates(texts: Sequence[str], *, share: float = 0.5) -> list[tuple[int, int]]:
    """Pairs of texts that say the same in nearly the same words: Jaccard of their content words at least `share`."""
    bags = [{w for w in re.findall(r"\w+", t.casefold()) if len(w) > 3} for t in texts[:500]]
    return [
        (i, j)
        for i, one in enumerate(bags)
        for j in range(i + 1, len(bags))
        if one and bags[j] and len(one & bags[j]) / len(one | bags[j]) >= share
    ]
