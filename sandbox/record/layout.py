"""Where everything of a run lies on disk: the one place that spells a file name.

    runs/<run id>/                        RunLayout
    ├── study.json                        what was asked for: scenarios, models, epochs, versions
    ├── lock                              held (flock) by the process that runs or resumes it
    ├── trials/
    │   └── <trial id>/                   TrialLayout
    │       ├── attempt-1/                AttemptLayout: interrupted, closed and kept
    │       └── attempt-2/
    │           ├── ledger.jsonl          the truth, one event a line (`sandbox/record/line.py`)
    │           ├── blobs/ab/ab3f…[.zst]  large bodies by SHA-256 (`sandbox/record/blobs.py`)
    │           ├── reserve               disk space set aside while the ledger is open, so that it can be closed
    │           └── torn.bin              what a killed writer left of an unfinished line
    ├── changed/                          what forks write into their worlds, by SHA-256 (`sandbox/replay/fork_plan.py`)
    ├── verdicts/                         analyses, which never change a trial
    ├── labels/                           what people said of trials, a file a person (`analysis/labels.py`)
    ├── judgements/                       what model judges answered, a file a trial (`analysis/judging/judgement.py`)
    ├── report.html
    └── report.md

Heads and counts of the ledgers are anchored outside this tree (`sandbox/record/anchors.py`).
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import UsageError

_ATTEMPT = re.compile(r"attempt-([1-9][0-9]{0,8})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=+,-]{0,199}")


def new_run_id() -> str:
    """UTC time and eight random hex digits: sorts by age, does not collide between machines."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + secrets.token_hex(4)


def is_safe_name(name: str) -> bool:
    """Whether `name` can be one folder's name on any system."""
    return _NAME.fullmatch(name) is not None


def safe_name(name: str) -> str:
    """`name` itself if it can be one folder's name on any system. Raises UsageError otherwise."""
    if not is_safe_name(name):
        raise UsageError(
            f"{name[:200]!r} cannot name a folder.",
            "Use letters, digits and . _ @ = + , - (first a letter or digit), at most 200 characters.",
        )
    return name


@dataclass(frozen=True)
class AttemptLayout:
    """One attempt at a trial, or any other folder that holds a `ledger.jsonl`."""

    root: Path

    @property
    def number(self) -> int:
        """Counted from 1; a folder that is not named `attempt-<n>` is the first and only attempt."""
        named = _ATTEMPT.fullmatch(self.root.name)
        return int(named[1]) if named else 1

    @property
    def trial(self) -> str:
        """Trial id by the folder's place; the manifest in the ledger is what counts."""
        root = self.root.absolute()
        return root.parent.name if _ATTEMPT.fullmatch(root.name) else root.name

    @property
    def run(self) -> str:
        """Run id by the folder's place, empty where the folder does not lie in a run."""
        trials = self.root.absolute().parent.parent
        return trials.parent.name if trials.name == "trials" else ""

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def reserve(self) -> Path:
        return self.root / "reserve"

    @property
    def torn(self) -> Path:
        return self.root / "torn.bin"


@dataclass(frozen=True)
class TrialLayout:
    """All attempts at one trial; the last is the one that counts."""

    root: Path

    @property
    def id(self) -> str:
        return self.root.name

    def attempt(self, number: int) -> AttemptLayout:
        return AttemptLayout(self.root / f"attempt-{number}")

    def attempts(self) -> tuple[AttemptLayout, ...]:
        """Those on disk, first to last; none where the trial has not begun."""
        if not self.root.is_dir():
            return ()
        found = (AttemptLayout(child) for child in self.root.iterdir() if _ATTEMPT.fullmatch(child.name) and child.is_dir())
        return tuple(sorted(found, key=lambda attempt: attempt.number))

    def latest(self) -> AttemptLayout | None:
        attempts = self.attempts()
        return attempts[-1] if attempts else None

    def next(self) -> AttemptLayout:
        """The attempt to be made now; its folder does not exist yet."""
        latest = self.latest()
        return self.attempt(latest.number + 1 if latest else 1)


@dataclass(frozen=True)
class RunLayout:
    """All paths of one run; nothing is created by asking."""

    root: Path

    @classmethod
    def new(cls, out: Path) -> RunLayout:
        """A run with a fresh id below `out`."""
        return cls(out / new_run_id())

    @property
    def id(self) -> str:
        return self.root.absolute().name

    @property
    def study(self) -> Path:
        return self.root / "study.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def trials_folder(self) -> Path:
        return self.root / "trials"

    @property
    def changed(self) -> Path:
        return self.root / "changed"

    @property
    def verdicts(self) -> Path:
        return self.root / "verdicts"

    @property
    def labels(self) -> Path:
        return self.root / "labels"

    @property
    def judgements(self) -> Path:
        return self.root / "judgements"

    @property
    def report_html(self) -> Path:
        return self.root / "report.html"

    @property
    def report_md(self) -> Path:
        return self.root / "report.md"

    def trial(self, trial: str) -> TrialLayout:
        """Raises UsageError for an id that cannot name a folder."""
        return TrialLayout(self.trials_folder / safe_name(trial))

    def trials(self) -> Iterator[TrialLayout]:
        """Those on disk, by id."""
        if self.trials_folder.is_dir():
            yield from (TrialLayout(child) for child in sorted(self.trials_folder.iterdir()) if child.is_dir())
