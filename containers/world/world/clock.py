"""Logical time: the number of the agent's tool call, which the engine advances and which stands still while a model thinks."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Clock:
    """Holds what is due later. `step` is 0 until the first tool call opens."""

    def __init__(self) -> None:
        self.step = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def after(self, steps: int, action: Callable[[], None]) -> None:
        """Do `action` once `steps` more tool calls have opened; at once for 0. Equal times keep their order."""
        if steps <= 0:
            action()
        else:
            heapq.heappush(self._due, (self.step + steps, next(self._order), action))

    def advance(self, step: int) -> None:
        """Move to `step` and do what came due on the way; moving backwards is ignored."""
        while self._due and self._due[0][0] <= step:
            due, _, action = heapq.heappop(self._due)
            self.step = max(self.step, due)
            action()
        self.step = max(self.step, step)
