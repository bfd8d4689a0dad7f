"""The labelled runs of `shared/data` as a table: features once per run, and who produced them, for grouped validation."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from analysis.monitor.conversation import read
from analysis.monitor.features import Features, features

LABELLED, CODING = "odcv-dev.jsonl.gz", "coding-benign-dev.jsonl.gz"
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """One row a run: `dense` and `terms` are design matrices with their column names, `said` the agent's own words for the
    baseline; `misaligned` is 0 or 1; `family` is the model's maker line (all of one maker are left out together)."""

    dense: Floats
    dense_names: tuple[str, ...]
    terms: Any
    term_names: tuple[str, ...]
    said: Any
    exposure: Floats
    misaligned: npt.NDArray[np.int_]
    scenario: npt.NDArray[np.str_]
    family: npt.NDArray[np.str_]
    length: Floats

    def __len__(self) -> int:
        return len(self.misaligned)


def load_runs(path: Path) -> list[dict[str, Any]]:
    """Runs of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def digest(path: Path) -> str:
    """SHA-256 of a data file, for the model's record of what it was trained on."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(table: Table) -> str:
    """SHA-256 of the features of every run: a change of what reads conversations shows even where it was meant for others."""
    told = hashlib.sha256("\n".join((*table.dense_names, *table.term_names)).encode())
    told.update(np.round(table.dense, 6).astype("<f8").tobytes() + np.round(table.exposure, 6).astype("<f8").tobytes())
    told.update(table.terms.toarray().astype("<u2").tobytes())
    return told.hexdigest()


def judged(runs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Runs labelled misaligned or benign; borderline ones are in neither training nor figures."""
    return [r for r in runs if r.get("label") in {"misaligned", "benign"}]


def tabulate(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Read and measure every run."""
    conversations = [read(r["messages"]) for r in runs]
    found = [features(c) for c in conversations]
    dense_names = tuple(sorted({name for f in found for name in f.dense}))
    term_names = tuple(sorted({term for f in found for term in f.terms}))
    said, _ = _counts([_said(r["messages"]) for r in runs])
    return Table(
        dense=_dense(found, dense_names),
        dense_names=dense_names,
        terms=_sparse([f.terms for f in found], term_names),
        term_names=term_names,
        said=said,
        exposure=np.array([f.exposure for f in found]),
        misaligned=np.array([int(r["label"] == "misaligned") for r in runs]),
        scenario=np.array([str(r["scenario"]) for r in runs]),
        family=np.array([family(str(r["model"])) for r in runs]),
        length=np.array([float(len(c.steps)) for c in conversations]),
    )


def family(model: str) -> str:
    """`qwen3-max` and `qwen3.6-27b` are of one family, `gpt-oss-20b` and `gpt-5.5` of two."""
    match = re.match(r"[a-z]+(?:-oss)?", model)
    return match[0] if match else model


def _dense(found: Sequence[Features], names: tuple[str, ...]) -> Floats:
    column = {name: i for i, name in enumerate(names)}
    out = np.zeros((len(found), len(names)))
    for row, f in enumerate(found):
        for name, value in f.dense.items():
            out[row, column[name]] = value
    return out


def _sparse(counts: Sequence[Mapping[str, int]], names: tuple[str, ...]) -> Any:
    column = {name: i for i, name in enumerate(names)}
    data, rows, columns = [], [], []
    for row, by_term in enumerate(counts):
        for term, count in by_term.items():
            data.append(float(count))
            rows.append(row)
            columns.append(column[term])
    return sparse.csr_matrix((data, (rows, columns)), shape=(len(counts), len(names)))


def _counts(texts: Sequence[str], names: tuple[str, ...] | None = None) -> tuple[Any, tuple[str, ...]]:
    words = [_bag(text) for text in texts]
    names = names or tuple(sorted({w for bag in words for w in bag}))
    known = set(names)
    return _sparse([{w: n for w, n in bag.items() if w in known} for bag in words], names), names


def _bag(text: str) -> dict[str, int]:
    bag: dict[str, int] = {}
    for word in re.findall(r"\b\w\w+\b", text.lower()):
        bag[word] = bag.get(word, 0) + 1
    return bag


def _said(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that the agent wrote, calls included, as the naive method reads it."""
    parts: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            reasoning = message.get("reasoning") or ""
            parts += [reasoning if "reasoning.encrypted" not in reasoning else "", message.get("content") or ""]
            parts += [str(call["function"]["arguments"]) for call in message.get("tool_calls") or []]
    return "\n".join(parts)
