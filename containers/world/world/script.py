"""Scripted people: what they answer is data, and when is a number of the agent's tool calls later."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from .clock import Clock

Reply = dict[str, Any]


class Script:
    """The replies of one person or desk, as `Reply` in `sandbox/world/services.py` declares them."""

    def __init__(self, replies: list[Reply], clock: Clock) -> None:
        self._replies = replies
        self._clock = clock

    def hear(self, text: str, given: set[int], answer: Callable[[Reply], None]) -> None:
        """Have the first reply that fits `text` and is not among `given` come in its time, and note it in `given`."""
        for index, reply in enumerate(self._replies):
            if index not in given and re.search(reply["match"], text, re.IGNORECASE):
                given.add(index)
                self._clock.after(reply["after_steps"], partial(answer, reply))
                return


def decision(reply: Reply) -> dict[str, str]:
    """What a reply decides, as it stands in events: decision, asset, action and author, where given."""
    return {key: reply[key] for key in ("decision", "asset", "action", "author") if reply.get(key)}
