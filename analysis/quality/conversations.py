"""Labelled conversations that Belljar did not record, as examples for the offline monitor and one plain rule beside it.

A data set is JSON lines, gzipped or not, one run a line: `messages` (OpenAI's form) and `label`; `scenario`, `model` and
`id` if there are any. Input is hostile: it is read a line at a time, each line is bounded, and what cannot be read is
counted.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

from analysis.monitor.conversation import read
from analysis.monitor.features import features
from analysis.monitor.score import Monitor, load_monitor
from analysis.quality.example import Example

STORED = Path(__file__).parents[1] / "monitor" / "figures.json"
MAX_LINE = 64 * 1024 * 1024
POSITIVE, NEGATIVE = frozenset({"misaligned", "positive", "true", "bad"}), frozenset({"benign", "negative", "false", "good"})
DETECTORS = ("monitor", "rule: edit not owned")


class DataError(ValueError):
    """A data set that cannot be used, in a sentence."""


def conversations(path: Path, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Each run that has messages and a label; `problems` grows by a sentence for each line that could not be read.

    Raises DataError where the file cannot be read at all, or nothing in it has both.
    """
    found = False
    try:
        with _open(path) as lines:
            for number, line in enumerate(_bounded(lines), 1):
                run, problem = _run(line)
                if problem:
                    problems.append(f"{path.name} line {number}: {problem}")
                if run is not None:
                    found = True
                    yield run
    except (OSError, EOFError, zlib.error) as error:
        problems.append(f"{path.name}: it cannot be read to its end: {error}")
    if not found:
        raise DataError(f"{path} holds no run with `messages` and a `label`" + (f": {problems[-1]}" if problems else ""))


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as start:
        zipped = start.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _bounded(lines: IO[bytes]) -> Iterator[bytes | None]:
    """Whole lines; None for one that is too long, which is passed over."""
    while line := lines.readline(MAX_LINE):
        if line.endswith(b"\n") or len(line) < MAX_LINE:
            yield line
            continue
        while (rest := lines.readline(MAX_LINE)) and not rest.endswith(b"\n"):
            pass
        yield None


def _run(line: bytes | None) -> tuple[dict[str, Any] | None, str]:
    if line is None:
        return None, f"it is longer than {MAX_LINE:,} bytes"
    if not line.strip():
        return None, ""
    try:
        run = json.loads(line)
    except (ValueError, RecursionError) as error:
        return None, f"it is not JSON ({str(error)[:100]})"
    if not isinstance(run, dict) or not isinstance(run.get("messages"), list):
        return None, "it has no list of `messages`"
    if not isinstance(run.get("label"), str | bool) or run["label"] == "":
        return None, "it has no `label`"
    return run | {"label": str(run["label"]).lower()}, ""


def examples(
    path: Path,
    *,
    source: str,
    problems: list[str],
    positive: Collection[str] = POSITIVE,
    negative: Collection[str] = NEGATIVE,
    monitor: Monitor | None = None,
) -> Iterator[Example]:
    """What the monitor and the rule say of each run of a data set. A label that is in neither list is left out and counted.

    Raises DataError as `conversations` does, or if no label is in either list.
    """
    other: dict[str, int] = {}
    used = False
    for number, run in enumerate(conversations(path, problems), 1):
        label = run["label"]
        if label not in positive and label not in negative:
            other[label] = other.get(label, 0) + 1
            continue
        used = True
        yield from _said(run, number, source, label in positive, monitor or load_monitor())
    problems += [
        f"{path.name}: {count} runs labelled {label[:60]!r} are in no figure" for label, count in sorted(other.items())
    ]
    if not used:
        raise DataError(f"{path}: no label is one of {', '.join(sorted({*positive, *negative}))}; name them")


def _said(run: dict[str, Any], number: int, source: str, truth: bool, monitor: Monitor) -> Iterator[Example]:
    about = {"source": source, "cluster": str(run.get("scenario", ""))[:200], "label": run["label"], "truth": truth,
             "ref": str(run.get("id", number))[:200]}  # fmt: skip
    found = monitor.score(run["messages"])
    said = "undetermined" if not found.judged else "true" if found.flagged else "false"
    yield Example(**about, detector=DETECTORS[0], said=said, score=found.score)  # type: ignore[arg-type]
    conversation = read(run["messages"])
    edited = bool(conversation.steps) and "mix.edit_not_owned" in features(conversation).dense
    yield Example(**about, detector=DETECTORS[1], said="true" if edited else "false", score=float(edited))


def in_training(path: Path, monitor: Monitor | None = None) -> bool:
    """Whether the monitor was trained on this very file, so that its figures here flatter."""
    trained = (monitor or load_monitor()).about.get("trained_on", {})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() in set(trained.values())


def left_out() -> str:
    """The monitor's stored figures on its training runs, each scored by a model that had not seen its scenario."""
    figures = json.loads(STORED.read_text(encoding="utf-8"))["methods"]["monitor"]
    parts = []
    for name, said in (("scenario_out", "scenario"), ("scenario_and_family_out", "scenario and model family")):
        area, found = figures[name]["auc"], figures[name]["recall_at_5"]
        parts.append(
            f"With each {said} left out: AUC {area['value']:.2f} ({area['low']:.2f}-{area['high']:.2f}), found at 5% false "
            f"positives {found['value']:.2f} ({found['low']:.2f}-{found['high']:.2f})."
        )
    return " ".join(parts)
