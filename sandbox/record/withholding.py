"""Taking fields out of a ledger without breaking its chain: which ones, and what else repeats them.

A pattern is either a glob over field paths (`tool.returned.output`, `effect.file.content`, `*.reasoning`) or
`text:REGEX`, which looks into the values, stored bodies included. What is taken out is always a whole sealed field, the
smallest unit that has a digest of its own; a path may lead deeper and then chooses the fields in which it leads to something.

A tool's output stands in the conversation too, and a file's content in a blob. So whatever repeats a line, a whole text or
the digest of what a field pattern takes out is taken out as well, and counted apart. What a `text:` pattern finds where nothing
can be taken out is reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pydantic_core import from_json

from sandbox.errors import UsageError
from sandbox.record.line import withhold as cut
from sandbox.record.text_search import matching

TEXT = "text:"
SHORTEST = 4
"""Lines shorter than this, in characters, are too common to count as repetitions."""

ReadBlob = Callable[[str], bytes | None]


class Opening(NamedTuple):
    """One sealed field of one line: `bytes` as stored, without the comma after it."""

    line: int
    kind: str
    name: str
    bytes: bytes
    value: Any

    @property
    def path(self) -> str:
        return f"{self.kind}.{self.name}"


@dataclass
class Kept:
    """A ledger after withholding. `withheld` counts fields by path, `repeated` those among them that only repeated another;
    `still_readable` counts, by place, where a `text:` pattern matches what no withholding can remove."""

    ledger: bytes
    withheld: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    still_readable: Counter[str] = field(default_factory=Counter)
    matched: set[str] = field(default_factory=set)


def withhold(ledger: bytes, patterns: Sequence[str], read_blob: ReadBlob) -> Kept:
    """Take out of a verified ledger what `patterns` choose.

    Args:
        read_blob: a stored body by its digest, None where it is missing.

    Raises UsageError for a pattern that is no pattern. `matched` says which patterns found something here.
    """
    lines = ledger.split(b"\n")[:-1]
    openings = [opening for number, line in enumerate(lines) for opening in openings_of(number, line)]
    kept = Kept(ledger)
    chosen, secrets = _by_path(openings, [p for p in patterns if not p.startswith(TEXT)], kept)
    for pattern in patterns:
        if pattern.startswith(TEXT):
            chosen |= _by_text(openings, lines, pattern, read_blob, kept)
    repeats = _repeats(openings, chosen, secrets, read_blob)
    for index in chosen | repeats:
        kept.withheld[openings[index].path] += 1
    for index in repeats:
        kept.repeated[openings[index].path] += 1
    kept.ledger = _without(lines, openings, chosen | repeats)
    return kept


def openings_of(number: int, line: bytes) -> Iterator[Opening]:
    """The openings of a line that holds (`sandbox/record/line.py`)."""
    parts = line.split(b"\t")
    kind = str(from_json(parts[0].removesuffix(b",") + b"}")["header"]["kind"])
    for part in parts[3:-2]:
        stored = part.removesuffix(b",")
        ((name, (_, value)),) = from_json(b"{" + stored + b"}").items()
        yield Opening(number, kind, name, stored, value)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names included."""
    for _, text in leaves(value):
        yield text


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Paths and texts of a JSON value; list elements add nothing to the path, numbers are texts in digits."""
    stack = [(path, value)]
    while stack:
        at, part = stack.pop()
        if isinstance(part, Mapping):
            for name, inner in part.items():
                stack.append((f"{at}.{name}", inner))
                yield f"{at}.{name}", str(name)
        elif isinstance(part, list):
            stack.extend((at, inner) for inner in part)
        elif part is not None and not isinstance(part, bool):
            yield at, str(part)


def _by_path(openings: Sequence[Opening], patterns: Sequence[str], kept: Kept) -> tuple[set[int], set[str]]:
    """Openings chosen by field patterns, and the texts and digests in them that must not stand elsewhere."""
    chosen: set[int] = set()
    secrets: set[str] = set()
    for index, opening in enumerate(openings):
        for pattern in patterns:
            found = _found(opening, pattern)
            if found is None:
                continue
            chosen.add(index)
            kept.matched.add(pattern)
            secrets.update(piece for text in found for piece in _pieces(text))
    return chosen, secrets


def _found(opening: Opening, pattern: str) -> list[str] | None:
    """The texts that a field pattern chooses in an opening, None where it chooses nothing."""
    if fnmatchcase(opening.path, pattern):
        names = {"text", "size", "sha256", "complete", "stored"}
        if isinstance(opening.value, dict) and opening.value.keys() == names:
            return [str(opening.value["text"]), str(opening.value["sha256"])] if opening.value["size"] else []
        return [text for _, text in _values(opening)]
    below = [text for path, text in _values(opening) if fnmatchcase(path, pattern)]
    return below or None


def _values(opening: Opening) -> Iterator[tuple[str, str]]:
    """Texts of an opening with their paths, without the names of its parts."""
    stack = [(opening.path, opening.value)]
    while stack:
        at, part = stack.pop()
        if isinstance(part, Mapping):
            stack.extend((f"{at}.{name}", inner) for name, inner in part.items())
        elif isinstance(part, list):
            stack.extend((at, inner) for inner in part)
        elif isinstance(part, str) and part:
            yield at, part


def _pieces(text: str) -> Iterator[str]:
    """A text and its lines, those that are long enough to be recognised."""
    for piece in (text, *text.splitlines()):
        stripped = piece.strip()
        if len(stripped) >= SHORTEST:
            yield stripped


def _repeats(openings: Sequence[Opening], chosen: set[int], secrets: set[str], read_blob: ReadBlob) -> set[int]:
    """Openings that repeat a secret text, line or digest. A body that was cut is looked into as a whole."""
    if not secrets:
        return set()
    secrets = secrets | {piece for blob in _blobs(openings, chosen, read_blob) for piece in _pieces(blob)}
    found = set()
    for index, opening in enumerate(openings):
        if index in chosen:
            continue
        texts = [text for _, text in _values(opening)]
        texts += list(_blobs([opening], {0}, read_blob))
        if any(piece in secrets for text in texts for piece in _pieces(text)):
            found.add(index)
    return found


def _blobs(openings: Sequence[Opening], chosen: Iterable[int], read_blob: ReadBlob) -> Iterator[str]:
    """The stored bodies that openings refer to, as text."""
    for index in chosen:
        value = openings[index].value
        if isinstance(value, dict) and value.get("stored") is True and isinstance(value.get("sha256"), str):
            data = read_blob(value["sha256"])
            if data is not None:
                yield data.decode("utf-8", "replace")


def _by_text(openings: Sequence[Opening], lines: Sequence[bytes], pattern: str, read_blob: ReadBlob, kept: Kept) -> set[int]:
    """Openings in whose texts or bodies a regular expression is found; other places where it is are counted."""
    expression = pattern.removeprefix(TEXT)
    if not expression:
        raise UsageError("`text:` needs a regular expression after it.")
    places, texts = [], []
    for index, opening in enumerate(openings):
        for text in [*texts_in(opening.value), *_blobs([opening], {0}, read_blob)]:
            places.append(index)
            texts.append(text)
    fixed = [(path, text) for line in lines for path, text in _fixed(line)]
    found = matching(expression, texts + [text for _, text in fixed])
    for index in found:
        if index >= len(texts):
            kept.still_readable[fixed[index - len(texts)][0]] += 1
    if found:
        kept.matched.add(pattern)
    return {places[index] for index in found if index < len(texts)}


def _fixed(line: bytes) -> Iterator[tuple[str, str]]:
    """What stands in a line for good: its header, and the body's fields that are not sealed."""
    parts = line.split(b"\t")
    header = from_json(parts[0].removesuffix(b",") + b"}")["header"]
    body = from_json(b"{" + parts[1].removesuffix(b",") + b"}")["body"]
    body.pop("sealed", None)
    kind = str(header["kind"])
    for name, value in header.items():
        if name not in ("prev", "seq", "step", "attempt", "observed_at"):
            yield from ((f"{kind} header.{name}", text) for text in texts_in(value))
    for name, value in body.items():
        yield from ((f"{kind}.{name}", text) for text in texts_in(value))


def _without(lines: Sequence[bytes], openings: Sequence[Opening], gone: set[int]) -> bytes:
    """The ledger with those openings cut out; header, body, hashes and order stay byte for byte."""
    removed: dict[int, set[str]] = {}
    for index in gone:
        removed.setdefault(openings[index].line, set()).add(openings[index].name)
    written = []
    for number, line in enumerate(lines):
        names = removed.get(number)
        written.append(line if names is None else cut(line, names))
    return b"".join(line + b"\n" for line in written)
