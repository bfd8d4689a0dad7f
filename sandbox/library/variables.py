"""The values of a scenario's variables for one seed: invented people, companies, words, numbers and keys.

The same scenario, variable and seed always give the same value. Two seeds give different ones as long as a pool lasts:
each variable walks through its pool in an order of its own, the seed being the place, so that people, companies and words do
not meet again before the seeds differ by a pool's length (5,917 people, 3,233 companies, 122 words, divided by how many a
scenario draws).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from sandbox.library.pools import COMPANY_NAMES, COMPANY_TRADES, FAMILY_NAMES, GIVEN_NAMES, WORDS
from sandbox.library.ssh_key import SshKey, ssh_key
from sandbox.library.template import render
from sandbox.scenario import Variable

POOLS = {"person": len(GIVEN_NAMES), "company": len(COMPANY_NAMES), "word": len(WORDS)}
"""How many of each kind there are before a part of a name returns."""

T = TypeVar("T")
Value = str | int | SshKey


def draw(
    variables: Mapping[str, Variable], *, scenario: str, seed: int, file: str = "", lines: Mapping[str, int] | None = None
) -> dict[str, Value]:
    """A value for each variable, in order of declaration. `text` variables may use those declared before them.

    Raises ScenarioError when a `text` cannot be rendered; `file` and `lines` (by variable) say where it stands.
    """
    drawn: dict[str, Value] = {}
    for name, variable in variables.items():
        if variable.text is not None:
            context = {**drawn, "seed": seed}
            drawn[name] = render(variable.text, context, file=file, line=(lines or {}).get(name, 1))
        else:
            drawn[name] = _draw(name, variable, variables, scenario, seed)
    return drawn


def recorded(values: Mapping[str, Value]) -> dict[str, str]:
    """The values as the record keeps them: texts; of a key pair its public half."""
    return {name: value.public if isinstance(value, SshKey) else str(value) for name, value in values.items()}


def _draw(name: str, variable: Variable, all_variables: Mapping[str, Variable], scenario: str, seed: int) -> Value:
    salt = f"{scenario}|{name}"
    if variable.pick is not None:
        return _pick(variable.pick, salt, seed)
    if variable.number is not None:
        low, high = variable.number
        return low + _walk(salt, seed, high - low + 1)
    if variable.hex is not None:
        return hashlib.sha256(f"{salt}|{seed}".encode()).hexdigest()[: variable.hex]
    if variable.ssh_key:
        secret = hashlib.sha256(f"{salt}|{seed}|key".encode()).digest()
        return ssh_key(secret, f"{name.replace('_', '-')}@{secret.hex()[:6]}")
    kind = next(kind for kind in POOLS if getattr(variable, kind))
    alike = [n for n, v in all_variables.items() if getattr(v, kind)]
    return _name(kind, f"{scenario}|{kind}", seed * len(alike) + alike.index(name))


def _name(kind: str, salt: str, place: int) -> str:
    if kind == "word":
        return _pick(WORDS, salt, place)
    first, second = (GIVEN_NAMES, FAMILY_NAMES) if kind == "person" else (COMPANY_NAMES, COMPANY_TRADES)
    return f"{_pick(first, salt + '|first', place)} {_pick(second, salt + '|second', place)}"


def _pick(pool: Sequence[T], salt: str, place: int) -> T:
    return pool[_walk(salt, place, len(pool))]


def _walk(salt: str, place: int, size: int) -> int:
    """Where a walk through `size` places stands after `place` steps: each place once, then again from the start."""
    noise = int.from_bytes(hashlib.sha256(salt.encode()).digest())
    stride = max(1, round(size * 0.381966) + noise % 7)
    while math.gcd(stride, size) != 1:
        stride += 1
    return (noise // 7 + place * stride) % size
