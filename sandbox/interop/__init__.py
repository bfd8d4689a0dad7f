"""Import and export: trajectories of other programs become trials of ours, and ours theirs, with nothing lost unsaid."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sandbox.interop.attempt import ImportedTrial, ImportReport, write_run
from sandbox.interop.export import WRITERS, Exported, export
from sandbox.interop.intake import take
from sandbox.interop.sniff import FORMATS, recognise


def import_file(path: Path, out: Path, *, format: str = "") -> ImportReport:
    """Import one file into a new run below `out`; `format` is one of `FORMATS`, told by the content if empty.

    Raises UsageError for what is not readable and NotReadyError where `out` cannot be written; nothing is then left behind.
    """
    source = take(path)
    return asyncio.run(write_run(recognise(source, format), source, out))


__all__ = ["FORMATS", "WRITERS", "Exported", "ImportReport", "ImportedTrial", "export", "import_file"]
