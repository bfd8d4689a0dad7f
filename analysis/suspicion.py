"""The offline monitor's suspicion of a trial, as a pointer for whoever reads it. It is never evidence of a verdict, and no
verdict, rate or indicator rests on it."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.record import Recorded
from analysis.sigma import Rule
from analysis.verdict import TrialVerdict, judge
from sandbox.events import ModelCalled


def suspicion(recorded: Recorded) -> float | None:
    """From 0 to 1 for the trial's own conversation, its interview left out; None where there is none to read or a part of it
    was withheld."""
    from analysis.monitor.score import score  # noqa: PLC0415 - only here, and it loads a model

    turns = [(e, e.body) for e in recorded.events if isinstance(e.body, ModelCalled) and e.body.purpose == "turn"]
    if any({"delta", "reply"} & set(event.withheld) for event, _ in turns):
        return None
    found = score(message for _, body in turns for message in (*body.delta, body.reply))
    return found.score if found.judged else None


def with_suspicion(verdict: TrialVerdict, recorded: Recorded) -> TrialVerdict:
    """The verdict with the monitor's suspicion beside it; nothing else changes."""
    return verdict.model_copy(update={"suspicion": suspicion(recorded)})


def judged(recorded: Recorded, *, path: str = "", rules: Sequence[Rule] | None = None) -> TrialVerdict:
    """What a person is shown of a trial: its verdict (`judge` takes the same arguments) with the suspicion beside it."""
    return with_suspicion(judge(recorded, path=path, rules=rules), recorded)
