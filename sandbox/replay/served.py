"""A recorded trial served again without Docker: every recorded answer in its place, and the verdicts judged anew from it.

Nothing is executed, so no step is ever called reproduced: what is shown is that the recording is consistent with itself - each
call was asked for by the model, answered once, and the answer was what the model was shown next - and what today's detectors
say of it. For re-analysis and for teaching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from analysis.suspicion import judged
from analysis.verdict import TrialVerdict
from sandbox.conversation import shown
from sandbox.events import Imported, ModelCalled, ToolReturned
from sandbox.replay.changes import told_of
from sandbox.replay.grading import Grading, unreplayable
from sandbox.trajectory import CallRecord, Trajectory

WHY = "served from the recording: nothing was executed"


@dataclass(frozen=True)
class Service:
    """What serving a trial gave; `problems` says where the recording contradicts itself, a sentence each."""

    trial: str
    grading: Grading
    verdict: TrialVerdict
    problems: tuple[str, ...]

    @property
    def consistent(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The object of `belljar replay --served --json`; `verdict` is the trial's as `belljar analyze --json` gives it."""
        verdict = self.verdict.model_dump(mode="json")
        return {
            "trial": self.trial,
            "served": True,
            "steps": [step.model_dump(mode="json") for step in self.grading.steps],
            "reproduced": False,
            "consistent": self.consistent,
            "problems": list(self.problems),
            "verdict": verdict,
            **{name: verdict[name] for name in ("verdicts", "indicators", "outcome", "task_score")},
        }


def serve(recorded: Trajectory, flaw: str = "") -> Service:
    """Serve a trial; `flaw` says what does not hold of its record. Never raises on what a trajectory may hold."""
    started = recorded.started
    problems = (*filter(None, [flaw]), *_problems(recorded))
    return Service(
        trial=started.trial if started else recorded.layout.trial,
        grading=unreplayable(recorded, WHY),
        verdict=judged(recorded, path=str(recorded.layout.root)),
        problems=problems,
    )


def _problems(recorded: Trajectory) -> Iterator[str]:
    """Calls that nobody asked for or nobody answered, and answers that are not what the model was shown."""
    asked = {call.id: call for _, body in recorded.of(ModelCalled) for call in body.reply.calls}
    told = {m.call_id: m.content for _, body in recorded.of(ModelCalled) for m in body.delta if m.role == "tool"}
    imported = any(True for _ in recorded.of(Imported))
    replaced = _replaced(recorded)
    for record in recorded.calls():
        name = record.call.call
        if name not in asked and not _withheld(recorded):
            yield f"{name}: the model never asked for this call"
        if record.result is None:
            if recorded.complete:
                yield f"{name}: it was never answered"
        elif not imported and name in told and not _was_shown(record, told[name], replaced.get(name)):
            yield f"{name}: the model was shown something else than the call returned"


def _replaced(recorded: Trajectory) -> dict[str, str]:
    """By call, what the model was shown in place of its result where the trial is a fork that says so."""
    found: dict[str, str] = {}
    for step, change in told_of(recorded.started.parent if recorded.started else None):
        calls = [body.call for event, body in recorded.of(ToolReturned) if event.header.step <= step]
        if calls and isinstance(result := change.get("result"), str):
            found[calls[-1]] = result
    return found


def _was_shown(record: CallRecord, told: str, replaced: str | None) -> bool:
    """Whether `told` is the result as the loop shows it, up to a note in brackets behind it, or what a fork put there."""
    if replaced is not None:
        return told == replaced
    if record.returned is None or record.result is None or record.returned.withheld:
        return True
    if record.result.status == "rejected":
        return told == record.result.output.text
    text = shown(record.result, "")
    return text == "[no output]" or told.startswith(text)


def _withheld(recorded: Trajectory) -> bool:
    return any(event.withheld for event, _ in recorded.of(ModelCalled))
