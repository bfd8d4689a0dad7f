"""Recorded trials as commands read them: whether a record holds is asked of the same reading, and told where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sandbox.cli.output import errors, plain
from sandbox.errors import UsageError
from sandbox.record.verify import VerifyReport, load_verified, verified
from sandbox.trajectory import Trajectory, find_attempt


def flaw(proof: VerifyReport) -> str:
    """What does not hold of a record, in words; empty where all does, or where only an anchor is missing."""
    if proof.ok or proof.status == "unanchored":
        return ""
    return f"the record is {proof.status}: {'; '.join(proof.problems) or proof.first_bad}"


def warn(name: str, problem: str) -> None:
    """Say on standard error that what follows rests on such a record."""
    errors().print(plain(f"warning: {name}: {problem}"), markup=False, soft_wrap=True)


def read_record(path: Path | str) -> tuple[Trajectory, VerifyReport]:
    """A trial as `load_verified` gives it. Raises UsageError, also for what begins with no manifest; TooLarge."""
    trajectory, proof = load_verified(find_attempt(Path(path)))
    if trajectory.started is None:
        raise UsageError(
            f"{path} holds no trial: it has no manifest.", "Name a trial's folder, an attempt's, or a ledger.jsonl."
        )
    return trajectory, proof


def record_at(path: Path | str) -> Trajectory:
    """Such a trial, `warned` of."""
    return warned(*read_record(path))


def records_at(path: Path | str) -> Iterator[Trajectory]:
    """Every trial at a path, each `warned` of. Raises UsageError."""
    return (warned(trajectory, proof) for trajectory, proof in verified(path))


def warned(trajectory: Trajectory, proof: VerifyReport) -> Trajectory:
    """The trial, with a warning where its record does not hold."""
    if problem := flaw(proof):
        warn(str(trajectory.layout.root), problem)
    return trajectory
