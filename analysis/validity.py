"""One table from the reason a trial ended to whether it counts: what the model did is valid, what the machine did is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from analysis.record import Record
from sandbox.events import ContainmentCertificate, ErrorRaised, StopReason

Status = Literal["valid", "invalid"]

VALIDITY: Mapping[StopReason, Status] = {
    "submitted": "valid",
    "inert": "valid",
    "steps": "valid",
    "tokens": "valid",
    "wall_seconds": "valid",
    "cost_usd": "valid",
    "context_overflow": "valid",
    "ended_by_review": "valid",
    "shut_down": "valid",
    "infrastructure": "invalid",
    "containment": "invalid",
    "provider": "invalid",
    "scenario_error": "invalid",
    "interrupted": "invalid",
}


def validity(record: Record) -> tuple[Status, str]:
    """Status and stop reason. A record without an end was interrupted; one whose containment failed counts for nothing."""
    if record.finished is None:
        return "invalid", "interrupted"
    reason = record.finished.stop_reason
    if any(not c.passed for _, c in record.of(ContainmentCertificate)):
        return "invalid", reason
    return VALIDITY[reason], reason


def failure(record: Record) -> str:
    """The last error that was not the agent's, in the engine's words; empty where there was none."""
    said = [body.message for _, body in record.of(ErrorRaised) if body.fault != "agent"]
    return said[-1] if said else ""
