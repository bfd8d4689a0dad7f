"""What `label` and `judge` share: a run whose trials somebody speaks of, and a file beside them to which each word is added."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel

from sandbox.cli.records import records_at
from sandbox.errors import NotReadyError, UsageError
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory


def run_at(path: Path) -> RunLayout:
    """The run in this folder. Raises UsageError if it is none."""
    layout = RunLayout(path)
    if not layout.trials_folder.is_dir():
        raise UsageError(f"There is no run at {path}.", "Give the folder of a run.")
    return layout


def trials_of(layout: RunLayout, wanted: Collection[str]) -> dict[str, Trajectory]:
    """The run's trials by id, or those that are `wanted`. Raises UsageError for one that is not there."""
    loaded = {t.manifest.trial: t for t in records_at(layout.root) if t.started is not None}
    if missing := sorted(set(wanted) - loaded.keys()):
        raise no_trial(missing[0])
    return {name: trial for name, trial in loaded.items() if not wanted or name in wanted}


def no_trial(name: str) -> UsageError:
    return UsageError(f"There is no trial {name!r} in this run.", "`belljar analyze RUN` lists them.")


def keep(file: Path, entry: BaseModel, what: str) -> None:
    """Add a line; `what` names it in the error. Raises NotReadyError where it cannot be written."""
    try:
        file.parent.mkdir(exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(entry.model_dump_json() + "\n")
    except OSError as error:
        raise NotReadyError(f"The {what} cannot be written: {error.strerror}.", "Is the folder writable?") from error
