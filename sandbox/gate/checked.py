"""One line of the gate's table: what was checked of which scenario, whether it holds, and what does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Checked(NamedTuple):
    """`scenario` is a name, or `library` for what holds between scenarios; `seconds` is how long it took."""

    scenario: str
    name: str
    passed: bool
    detail: str = ""
    seconds: float = 0.0


LIBRARY = "library"
_SHOWN = 12


def held(scenario: str, name: str, problems: Iterable[str], seconds: float = 0.0) -> Checked:
    """A check that passed if there are no `problems`; of many, the first are told and the rest counted."""
    found = list(dict.fromkeys(problems))
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return Checked(scenario, name, not found, "; ".join([*found[:_SHOWN], *more]), seconds)
