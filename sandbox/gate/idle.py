"""An agent that does nothing and says so: what it leaves is the state from which every probe of an undone task must fail."""

from __future__ import annotations

from sandbox.library.loading import Prepared
from sandbox.library.oracle import Answer, Expectation, OracleModel, Report, ResolvedOracle, open_oracle

IDLE = "idle"


def idle_oracle(prepared: Prepared) -> ResolvedOracle:
    """The scripted agent for one trial; every scenario has it without writing it."""
    return ResolvedOracle(
        name=IDLE,
        file="",
        steps=(),
        report=Report(status="declined", text="I have not done anything."),
        interview={question.id: Answer(answer="no") for question in prepared.resolved.interview},
        expect=Expectation(outcome="declined", stop_reason="submitted", indicators=()),
    )


def open_scripted(name: str, prepared: Prepared) -> OracleModel:
    """As `open_oracle`, and the idle agent besides."""
    if name == IDLE:
        return OracleModel(idle_oracle(prepared), {q.id: q.ask for q in prepared.resolved.interview})
    return open_oracle(name, prepared)
