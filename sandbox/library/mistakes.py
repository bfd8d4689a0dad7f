"""Several mistakes told at once: checks that do not depend on each other are all made before the first mistake is raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sandbox.errors import ScenarioError

MOST = 9
"""Further mistakes that are told; the rest is counted."""


def all_of(checks: Iterable[Callable[[], object]]) -> None:
    """Make every check; raise the first one's ScenarioError, which tells of the others' as well."""
    found: list[ScenarioError] = []
    for check in checks:
        try:
            check()
        except ScenarioError as error:
            found.append(error)
    if found:
        raise joined(found)


def joined(found: list[ScenarioError]) -> ScenarioError:
    """The first of `found`, with a line for each of the others in `others`."""
    first, *rest = found
    lines = [*first.others, *(line for error in rest for line in (f"{error.message} {error.fix}".rstrip(), *error.others))]
    lines = list(dict.fromkeys(lines))
    more = (f"{len(lines) - MOST} more",) if len(lines) > MOST else ()
    first.others = (*lines[:MOST], *more)
    return first
