"""A study: the trials of a plan, run side by side into one folder, and continued from wherever it was cut off.

A trial is finished when the ledger of its last attempt ends with `trial.finished` for a reason other than an interruption.
`kill -9` leaves torn attempts: on resume their ledgers are closed as interrupted and kept, their containers are swept, and
the trial starts again as the next attempt. One process at a time may hold a run folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from sandbox.errors import InfrastructureError, IntegrityError, UsageError
from sandbox.events import StopReason
from sandbox.library.loading import Prepared, ScenarioFolder, prepare
from sandbox.limits import Spent
from sandbox.models.model import Model
from sandbox.plan import StudyPlan, TrialPlan
from sandbox.record.layout import RunLayout, TrialLayout
from sandbox.record.ledger import close_interrupted
from sandbox.review import Reviewer
from sandbox.trajectory import stop_reason
from sandbox.trial import BuildEnvironment, Machine, TrialJob, run_trial


class Watcher:
    """Told of everything a screen would show; does nothing itself."""

    def planned(self, plan: StudyPlan, finished: int) -> None: ...
    def started(self, trial: TrialPlan, attempt: int) -> None: ...
    def moved(self, trial: TrialPlan, spent: Spent) -> None: ...
    def ended(self, trial: TrialPlan, stop: StopReason) -> None: ...
    def said(self, text: str) -> None: ...


@dataclass
class Study:
    """What runs a plan: where to, in what, by whom. `models` opens one shared model a spec, `oracles` one a trial."""

    plan: StudyPlan
    layout: RunLayout
    folders: Mapping[str, ScenarioFolder]
    build: BuildEnvironment
    machine: Machine
    open_shared: Callable[[str], Model]
    open_oracle: Callable[[str, Prepared], Model]
    concurrency: int = 2
    reviewers: Sequence[Reviewer] = ()
    watcher: Watcher = field(default_factory=Watcher)
    digests: bool = True
    _shared: dict[str, Model] = field(default_factory=dict)

    async def run(self) -> None:
        """Run every trial of the plan that is not finished.

        Raises ModelRejected as soon as a provider says that it will never answer, and InfrastructureError when a ledger
        cannot be written; running trials are then interrupted and closed. Cancelling it does the same.
        """
        with hold(self.layout):
            waiting = [trial for trial in self.plan.trials if not is_finished(self.layout.trial(trial.id))]
            self.watcher.planned(self.plan, len(self.plan.trials) - len(waiting))
            queue = iter(waiting)
            async with self._models(waiting):
                await _together([self._work(queue) for _ in range(max(1, min(self.concurrency, len(waiting))))])

    async def _work(self, queue: Iterator[TrialPlan]) -> None:
        for trial in queue:
            attempt = await next_attempt(self.layout.trial(trial.id), self.watcher.said)
            self.watcher.started(trial, attempt)
            prepared = prepare(self.folders[trial.scenario], trial.arm, trial.seed, limits=self.plan.limits)
            folder = self.layout.trial(trial.id).attempt(attempt)
            job = TrialJob(trial, prepared, self.plan.run, attempt, folder, self.machine)
            stop = await run_trial(
                job,
                build=self.build,
                open_model=self._open,
                reviewers=self.reviewers,
                progress=lambda spent, trial=trial: self.watcher.moved(trial, spent),  # type: ignore[misc]
                digests=self.digests,
            )
            self.watcher.ended(trial, stop)

    async def _open(self, job: TrialJob) -> Model:
        spec = job.plan.model
        if spec.startswith("oracle:"):
            return self.open_oracle(spec.removeprefix("oracle:"), job.prepared)
        return self._shared[spec]

    @asynccontextmanager
    async def _models(self, waiting: Sequence[TrialPlan]) -> AsyncIterator[None]:
        """Open what the trials share before the first one starts: a missing package or key costs no trial."""
        try:
            for spec in dict.fromkeys(trial.model for trial in waiting if not trial.model.startswith("oracle:")):
                self._shared[spec] = self.open_shared(spec)
            yield
        finally:
            for model in self._shared.values():
                await model.close()
            self._shared.clear()


def is_finished(trial: TrialLayout) -> bool:
    """Whether the trial's last attempt came to an end of its own."""
    latest = trial.latest()
    return latest is not None and stop_reason(latest) not in (None, "interrupted")


async def next_attempt(trial: TrialLayout, said: Callable[[str], None]) -> int:
    """The number of the attempt to be made now; an attempt that was torn is closed as interrupted first."""
    latest = trial.latest()
    if latest is None:
        return 1
    if stop_reason(latest) is None:
        try:
            await close_interrupted(latest)
        except IntegrityError as error:
            said(f"{trial.id}: attempt {latest.number} is kept as it is: {error.message}")
    return latest.number + 1


@contextmanager
def hold(layout: RunLayout) -> Iterator[None]:
    """Hold the run folder for this process; UsageError while another one does."""
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InfrastructureError(
            f"{layout.lock} cannot be opened: {error.strerror}.", "Is the disk full or read-only?"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(f"{layout.root} is being run by another process.", "Wait for it, or stop it with Ctrl-C.") from None
    try:
        yield
    finally:
        os.close(descriptor)


def check_same(plan: StudyPlan, digests: Mapping[str, str]) -> None:
    """UsageError when a scenario is no longer the one that the plan was made for."""
    changed = sorted(name for name, digest in plan.scenarios.items() if digests.get(name) != digest)
    if changed:
        raise UsageError(
            f"Run {plan.run} was planned for other versions of: {', '.join(changed)}.",
            "Restore the scenario's files, or start a new run.",
        )


async def _together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Await all coroutines; the first failure cancels the others, waits for their clean-up, and is raised itself."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
