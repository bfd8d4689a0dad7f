"""How the trials of a run are judged: one by one, or on all processors. Imports little, since each process imports it."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from analysis.sigma import BUILT_IN, Rule, load_rules
from analysis.suspicion import judged
from analysis.verdict import TrialVerdict
from sandbox.cli.records import flaw, warn
from sandbox.errors import InfrastructureError
from sandbox.record.layout import AttemptLayout
from sandbox.record.verify import VerifyReport, read_once
from sandbox.trajectory import Trajectory, attempts_at


def judge_all(path: Path, folders: Sequence[Path] = ()) -> list[TrialVerdict]:
    """The verdict of every trial at `path`, each record read once for both: what it says, and whether it holds.

    Many trials are judged on all processors. `folders` hold further Sigma rules; they can be read. Raises UsageError as
    `attempts_at` does, InfrastructureError where a process was killed.
    """
    places = list(attempts_at(path))
    judge_at = functools.partial(_judge_at, tuple(folders))
    workers = min(processors(), len(places) // _A_WORKERS_SHARE)
    if workers < 2:
        return list(map(judge_at, places))
    alone = sys.platform == "linux" and threading.active_count() == 1
    context = multiprocessing.get_context("fork" if alone else "forkserver")  # a fork has imported everything already
    try:
        with ProcessPoolExecutor(workers, context, _begin) as pool:
            return list(pool.map(judge_at, places, chunksize=8))
    except BrokenProcessPool as error:
        raise InfrastructureError("A process that judged trials was killed.", "Is memory short? Try it again.") from error


_A_WORKERS_SHARE = 100
"""Trials for which it is worth to start a process."""


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def collect_seldom() -> None:
    """What a trial is read into has no cycles and goes as a whole: looking for cycles in it often is a tenth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()


def _judge_at(folders: tuple[Path, ...], place: tuple[AttemptLayout, bool]) -> TrialVerdict:
    trajectory, proof = read_once(place[0], alone=place[1])
    return judge_whole(trajectory, proof, _rules(folders))


@functools.cache
def _rules(folders: tuple[Path, ...]) -> tuple[Rule, ...]:
    return load_rules(BUILT_IN, *folders)


def judge_whole(trajectory: Trajectory, proof: VerifyReport, rules: Sequence[Rule] | None = None) -> TrialVerdict:
    """The verdict of a trial; one whose record does not hold, as `proof` says, counts for nothing, and says where it breaks."""
    verdict = judged(trajectory, path=str(trajectory.layout.root), rules=rules)
    problem = flaw(proof)
    if not problem:
        return verdict
    warn(verdict.id or verdict.path, problem)
    return verdict.model_copy(update={"status": "invalid", "outcome": "undetermined", "problems": (*verdict.problems, problem)})
