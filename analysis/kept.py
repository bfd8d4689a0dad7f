"""What somebody said of a run's trials, one JSON object a line, in files that lie beside the trials and never in one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

MAX_BYTES = 64 * 1024 * 1024

M = TypeVar("M", bound=BaseModel)


class Unread(NamedTuple):
    """A line that cannot be used; line 0 for a whole file."""

    file: str
    line: int
    why: str


def read_kept(folder: Path, model: type[M], *, skip_blank: bool = False) -> tuple[list[M], list[Unread]]:
    """Every line of the folder's files in their order, and those that could not be read. A missing folder holds none."""
    found: list[M] = []
    unread: list[Unread] = []
    for file in sorted(folder.glob("*.jsonl")):
        if file.stat().st_size > MAX_BYTES:
            unread.append(Unread(str(file), 0, f"it is larger than {MAX_BYTES:,} bytes"))
            continue
        for number, line in enumerate(file.read_text("utf-8", errors="replace").splitlines(), 1):
            if skip_blank and not line.strip():
                continue
            try:
                found.append(model.model_validate_json(line))
            except ValidationError as error:
                unread.append(Unread(str(file), number, str(error.errors()[0]["msg"])))
    return found, unread
