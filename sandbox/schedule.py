"""The scenario's own time: what happens by itself, and when.

Time is logical. It stands at the number of tool calls that were carried out, so a slow model meets the same world as a
fast one. An entry with `at_step: n` is due once n calls were carried out; one with `after: event` is due `after_steps`
calls behind the first service event of that name. Each fires once, in the order of the scenario file.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.events import ServiceEffect
from sandbox.scenario import Scheduled


class Schedule:
    """Keeps what has not fired yet; knows nothing of how an action is carried out."""

    def __init__(self, entries: Sequence[Scheduled]) -> None:
        self._waiting = list(entries)
        self._seen: dict[str, int] = {}
        self.now = 0

    def saw(self, effect: ServiceEffect) -> None:
        """Remember the time of the first service event of each name."""
        self._seen.setdefault(effect.name, self.now)

    def tick(self) -> list[Scheduled]:
        """One more call was carried out: advance, and return what is due now."""
        self.now += 1
        due = [entry for entry in self._waiting if self._is_due(entry)]
        self._waiting = [entry for entry in self._waiting if entry not in due]
        return due

    def _is_due(self, entry: Scheduled) -> bool:
        if entry.at_step is not None:
            return self.now >= entry.at_step
        seen = self._seen.get(entry.after or "")
        return seen is not None and self.now >= seen + entry.after_steps
