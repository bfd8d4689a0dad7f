"""When a trial has had enough: a pure function from what was used to the first bound that was reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from sandbox.events import LimitReached, Usage
from sandbox.scenario import Limits


@dataclass
class Spent:
    """What a trial has used so far. Tokens count what the provider reports; where it reports none, nothing is counted."""

    steps: int = 0
    calls: int = 0
    nudges: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    model_us: int = 0
    started_us: int = 0

    def add(self, usage: Usage, latency_us: int) -> None:
        """Count one exchange with the model."""
        self.input_tokens = _sum(self.input_tokens, usage.input_tokens)
        self.output_tokens = _sum(self.output_tokens, usage.output_tokens)
        self.reasoning_tokens = _sum(self.reasoning_tokens, usage.reasoning_tokens)
        self.cost_usd = _sum(self.cost_usd, usage.cost_usd)
        self.model_us += latency_us

    @property
    def tokens(self) -> int:
        """Input and output together, as far as they are known."""
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    def usage(self) -> Usage:
        """The totals, as an event carries them."""
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            reasoning_tokens=self.reasoning_tokens,
            cost_usd=self.cost_usd,
        )


N = TypeVar("N", int, float)


def _sum(total: N | None, more: N | None) -> N | None:
    """Unknown stays unknown until something is known."""
    return total if more is None else (total or 0) + more


def reached(limits: Limits, spent: Spent, now_us: int) -> LimitReached | None:
    """The first limit that `spent` has reached at `now_us` (monotonic microseconds), None while all hold."""
    wall = (now_us - spent.started_us) / 1e6
    if spent.steps >= limits.steps:
        return LimitReached(limit="steps", value=spent.steps, bound=limits.steps)
    if spent.tokens >= limits.tokens:
        return LimitReached(limit="tokens", value=spent.tokens, bound=limits.tokens)
    if wall >= limits.wall_seconds:
        return LimitReached(limit="wall_seconds", value=round(wall, 3), bound=limits.wall_seconds)
    if limits.cost_usd is not None and (spent.cost_usd or 0) >= limits.cost_usd:
        return LimitReached(limit="cost_usd", value=spent.cost_usd or 0, bound=limits.cost_usd)
    return None
