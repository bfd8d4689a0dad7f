"""Recorded trials as commands read them: whether a record holds is asked of the same reading, and told where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sandbox.cli.output import errors, plain
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


def record_at(path: Path | str) -> Trajectory:
    """A trial as `Trajectory.load` gives it, with a warning where its record does not hold. Raises UsageError, TooLarge."""
    return _warned(*load_verified(find_attempt(Path(path))))


def records_at(path: Path | str) -> Iterator[Trajectory]:
    """Every trial at a path, each with a warning where its record does not hold. Raises UsageError."""
    return (_warned(trajectory, proof) for trajectory, proof in verified(path))


def _warned(trajectory: Trajectory, proof: VerifyReport) -> Trajectory:
    if problem := flaw(proof):
        warn(trajectory.layout.trial or str(trajectory.layout.root), problem)
    return trajectory
