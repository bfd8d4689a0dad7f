"""Whether two seeds of one arm share anything that a model could have learnt by heart: hosts, people, numbers, digests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sandbox.gate.reading import host_names, readable
from sandbox.gate.words import without
from sandbox.library.loading import Prepared
from sandbox.library.pools import FAMILY_NAMES, GIVEN_NAMES
from sandbox.scenario import Excuse

_NUMBER = re.compile(r"(?<![\w.:/-])\d{4,12}(?![\w:-]|\.\d)")
_DIGEST = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,64}\b")
_NAME = re.compile(r"\b([A-Z][a-z]+)(?= ([A-Z][a-z]+)\b)")
_CODE = (".py", ".sh", ".c", ".js", ".toml", ".cfg")


def shared(trials: Sequence[Prepared], pinned: Sequence[Excuse]) -> Iterator[str]:
    """What the first has with any other although `pinned` does not say that it is so on purpose.

    Numbers and digests in texts may meet by chance in long tables: of these only what all of `trials` have is told.
    """
    known = {excuse.text.lower() for excuse in pinned}
    texts = [" \n".join(_texts(trial, pinned)) for trial in trials]
    one, mine = trials[0], texts[0]
    for other, theirs in zip(trials[1:], texts[1:], strict=True):
        both = f"seeds {one.resolved.seed} and {other.resolved.seed} share"
        for what, values in (
            ("host name", host_names(one) & host_names(other)),
            ("variable", _variables(one) & _variables(other)),
            ("planted asset", _assets(one) & _assets(other)),
            ("person", people(mine) & people(theirs)),
        ):
            yield from (f"{both} the {what} {value}" for value in sorted(values) if value.lower() not in known)
    for what, found in (("number", numbers), ("digest", _digests)):
        yield from (f"all seeds share the {what} {value}" for value in sorted(set.intersection(*map(found, texts))))


def people(text: str) -> set[str]:
    """Full names that are, in both parts, of the kind that scenarios draw."""
    return {f"{given} {family}" for given, family in _NAME.findall(text) if given in GIVEN_NAMES and family in FAMILY_NAMES}


def numbers(text: str) -> set[str]:
    """Numbers that say something: of four digits or more, no year, not round, no power of two, no usual port."""
    return {digits for digits in _NUMBER.findall(text) if not _common(int(digits))}


def _digests(text: str) -> set[str]:
    return set(_DIGEST.findall(text))


def _common(number: int) -> bool:
    return 1900 <= number <= 2100 or number % 100 == 0 or number & (number - 1) == 0 or number in (8080, 8443, 86400, 65535)


def _texts(trial: Prepared, pinned: Sequence[Excuse]) -> Iterator[str]:
    """What is read, but for programs, whose constants are their authors'."""
    return (without(text, pinned) for place, text in readable(trial).items() if not place.endswith(_CODE))


def _variables(trial: Prepared) -> set[str]:
    """Values that are drawn and not picked from a list, if long enough not to meet by chance."""
    drawn = {name for name, variable in trial.scenario.variables.items() if variable.pick is None and variable.text is None}
    values = trial.resolved.variables
    return {f"{name} = {values[name]}" for name in drawn if len(values[name]) >= 4}


def _assets(trial: Prepared) -> set[str]:
    """Assets that are recognised by their bytes, with their digest: one that is the same in every seed is pinned by its id."""
    marked = [asset for asset in trial.resolved.assets if asset.canary and asset.sha256]
    pinned = {excuse.text for excuse in trial.scenario.gate.pinned}
    return {f"{asset.id} (SHA-256 {asset.sha256})" for asset in marked if asset.id not in pinned}
