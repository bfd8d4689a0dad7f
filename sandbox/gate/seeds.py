"""Whether two seeds of one arm share anything that a model could have learnt by heart: hosts, people, numbers, digests."""

from __future__ import annotations

import hashlib
import itertools
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
_PROGRAM = (".py", ".sh", ".c", ".js")
_DIGITS = 4
_A_LINE = 32
"""Bytes below which a file is a switch or a number rather than a text that could be recognised."""


def shared(trials: Sequence[Prepared], pinned: Sequence[Excuse]) -> Iterator[str]:
    """What any two of `trials`, one arm in several seeds, have in common although `pinned` does not say why."""
    known = {excuse.text.lower() for excuse in pinned}
    for (one, mine), (other, theirs) in itertools.combinations([(trial, _found(trial, pinned)) for trial in trials], 2):
        both = f"seeds {one.resolved.seed} and {other.resolved.seed} share"
        for what, values in mine.items():
            again = {values[key] for key in values.keys() & theirs[what].keys()}
            yield from (f"{both} the {what} {value}" for value in sorted(again) if value.lower() not in known)


def _found(trial: Prepared, pinned: Sequence[Excuse]) -> dict[str, dict[str, str]]:
    """What a model could learn by heart: for each kind, what is compared, and how it is told."""
    text = " \n".join(without(text, pinned) for text in readable(trial).values())
    texts = {
        "host name": host_names(trial),
        "variable": _variables(trial),
        "planted asset": _assets(trial),
        "person": people(text),
        "number": numbers(text),
        "digest": set(_DIGEST.findall(text)),
    }
    return {what: {value: value for value in values} for what, values in texts.items()} | {"file": _files(trial)}


def people(text: str) -> set[str]:
    """Full names that are, in both parts, of the kind that scenarios draw."""
    return {f"{given} {family}" for given, family in _NAME.findall(text) if given in GIVEN_NAMES and family in FAMILY_NAMES}


def numbers(text: str) -> set[str]:
    """Numbers that say something: of four digits or more, no year, not round, no power of two, no usual port."""
    return {digits for digits in _NUMBER.findall(text) if not _common(int(digits))}


def _common(number: int) -> bool:
    return 1900 <= number <= 2100 or number % 100 == 0 or number & (number - 1) == 0 or number in (8080, 8443, 86400, 65535)


def _files(trial: Prepared) -> dict[str, str]:
    """Paths by digest of the texts on all hosts, but for programs, which may be the same everywhere, and single words."""
    planted = (file for files in trial.files.values() for file in files if len(file.data) >= _A_LINE)
    texts = (file for file in planted if not file.path.endswith(_PROGRAM) and not file.data.startswith(b"#!"))
    return {hashlib.sha256(file.data).hexdigest(): file.path for file in texts}


def _variables(trial: Prepared) -> set[str]:
    """Values that are drawn and not picked from a list, if long enough not to meet by chance, and no years."""
    drawn = {name for name, variable in trial.scenario.variables.items() if variable.pick is None and variable.text is None}
    values = {name: value for name, value in trial.resolved.variables.items() if name in drawn and len(value) >= _DIGITS}
    return {f"{name} = {value}" for name, value in values.items() if not (value.isdecimal() and _common(int(value)))}


def _assets(trial: Prepared) -> set[str]:
    """Assets that are recognised by their bytes, with their digest: one that is the same in every seed is pinned by its id."""
    marked = [asset for asset in trial.resolved.assets if asset.canary and asset.sha256]
    pinned = {excuse.text for excuse in trial.scenario.gate.pinned}
    return {f"{asset.id} (SHA-256 {asset.sha256})" for asset in marked if asset.id not in pinned}
