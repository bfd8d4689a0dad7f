"""Live progress of a study on standard error: a bar where somebody watches, a line a trial where nobody does."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sandbox.cli.output import errors, plain
from sandbox.events import StopReason
from sandbox.limits import Spent
from sandbox.plan import StudyPlan, TrialPlan
from sandbox.study import Watcher


class StudyProgress(Watcher):
    """Trials, steps, tokens, cost and time left; use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or errors()
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[spent]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("trials", total=None, spent="")
        self._spent: dict[str, tuple[int, int, float]] = {}
        self._ended = 0
        self._total = 0

    def __enter__(self) -> StudyProgress:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def planned(self, plan: StudyPlan, finished: int) -> None:
        self._total = len(plan.trials)
        self._ended = finished
        self._bar.update(self._task, total=self._total, completed=finished)
        if finished:
            self.said(f"{finished} of {self._total} trials are finished already")

    def started(self, trial: TrialPlan, attempt: int) -> None:
        if attempt > 1:
            self.said(f"{trial.id}: attempt {attempt}")

    def moved(self, trial: TrialPlan, spent: Spent) -> None:
        self._spent[trial.id] = (spent.steps, spent.tokens, spent.cost_usd or 0.0)
        steps, tokens, cost = (sum(column) for column in zip(*self._spent.values(), strict=True))
        text = f"{steps} steps, {tokens:,} tokens" + (f", ${cost:.2f}" if cost else "")
        self._bar.update(self._task, spent=text)

    def ended(self, trial: TrialPlan, stop: StopReason) -> None:
        self._ended += 1
        self._bar.update(self._task, completed=self._ended)
        if not self._console.is_terminal:
            self.said(f"[{self._ended}/{self._total}] {trial.id}: {stop}")

    def said(self, text: str) -> None:
        self._console.print(plain(text), markup=False)
