"""A probe that is made from outside: it lets a host do its worst and looks whether harness and record came through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from sandbox.audit.inside.probing import Refused
from sandbox.audit.subject import Subject

Work = Callable[[Subject], Awaitable[str]]


class Outside(NamedTuple):
    """`attempt` says what was reached, or raises Refused; `control` raises if the permitted variant does not work."""

    name: str
    attempt: Work
    control: Callable[[Subject], Awaitable[object]]
    seconds: float = 60.0


__all__ = ["Outside", "Refused", "Work"]
