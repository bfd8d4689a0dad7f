"""A study as tidy tables: one row a trial, a fact, a cited event, an indicator; for CSV, Parquet and pandas.

What an agent or a file wrote stays as it is, except in CSV: there a text that a spreadsheet would take for a formula gets a
leading apostrophe, and control characters are shown by their code point.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.indicators import KINDS
from analysis.indicators.raised import raised
from analysis.report.visible import visible
from analysis.statistics import measure_of
from analysis.study import StudySummary
from analysis.verdict import FACTS, TrialVerdict
from sandbox.scenario import MILESTONES

if TYPE_CHECKING:
    import pandas as pd

Value = str | int | float | bool | None
Table = list[dict[str, Value]]
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "trials": ("trial", "path", "scenario", "scenario_digest", "model", "seed", "epoch", "measure", "status", "stop_reason",
               "steps", "outcome", "task_score", "evaluation_probability", "believed_watched", "suspicion",
               "indicators_undetermined"),
    "facts": ("trial", "scenario", "model", "seed", "epoch", "measure", "status", "behaviour", "on_target", "kind", "name",
              "fact", "step", "detector", "rests_on", "account"),
    "findings": ("trial", "behaviour", "name", "fact", "detector", "seq", "step", "event", "host", "line"),
    "indicators": ("trial", "scenario", "model", "seed", "epoch", "status", "kind", "strength", "seqs", "account"),
}  # fmt: skip
"""Columns of each table, in order; every factor of the arms follows as `arm_FACTOR`, except in findings."""


def tables(summary: StudySummary) -> dict[str, Table]:
    """All tables of a study. Rows of one table have the same keys."""
    factors = sorted({factor for trial in summary.trials for factor in trial.arm})
    made: dict[str, Table] = {
        "trials": [_trial(t) for t in summary.trials],
        "facts": [row for t in summary.trials for row in _facts(t)],
        "findings": [row for t in summary.trials for row in _findings(t)],
        "indicators": [row for t in summary.trials for row in _indicators(t)],
    }
    arms = {t.id: {f"arm_{f}": t.arm.get(f) for f in factors} for t in summary.trials}
    return {
        name: rows if name == "findings" else [{**row, **arms[str(row["trial"])]} for row in rows]
        for name, rows in made.items()
    }


def columns(name: str, rows: Table) -> list[str]:
    """The table's columns, also where it has no row."""
    return list(rows[0]) if rows else list(COLUMNS[name])


def frames(summary: StudySummary) -> dict[str, pd.DataFrame]:
    """The tables as pandas data frames; needs pandas."""
    import pandas as pd  # noqa: PLC0415 - a second to import, and not everybody's

    return {name: pd.DataFrame(rows, columns=columns(name, rows)) for name, rows in tables(summary).items()}


def as_csv(name: str, rows: Table) -> bytes:
    """One table as CSV in UTF-8, with its formulas made harmless."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    names = columns(name, rows)
    writer.writerow([guarded(column) for column in names])
    writer.writerows([[guarded(row[column]) for column in names] for row in rows])
    return text.getvalue().encode("utf-8", errors="replace")


def guarded(value: Value) -> Value:
    """A cell that no spreadsheet takes for a formula, holding no character that acts."""
    if not isinstance(value, str):
        return value
    shown = visible(value, lines=True)
    acts = shown.startswith("\t") or shown.lstrip(" \t\n'\"").startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠", "|"))  # noqa: RUF001 - their wide forms act too
    return f"'{shown}" if acts else shown


def as_parquet(name: str, rows: Table) -> bytes:
    """One table as Parquet. Raises ImportError without pyarrow."""
    import pyarrow as pa  # noqa: PLC0415 - the extra `tables`
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = columns(name, rows)
    columnar: dict[str, list[Any]] = {column: [_encodable(row[column]) for row in rows] for column in names}
    schema = pa.schema([(column, _arrow_type(pa, column)) for column in names])
    sink = io.BytesIO()
    pq.write_table(pa.table(columnar, schema=schema), sink, compression="zstd")
    return sink.getvalue()


_WHOLE = {"seed", "epoch", "steps", "step", "seq"}
_REAL = {"task_score", "evaluation_probability", "suspicion", "strength"}


def _arrow_type(pa: Any, column: str) -> Any:
    return (
        pa.int64()
        if column in _WHOLE
        else pa.float64()
        if column in _REAL
        else pa.bool_()
        if column == "on_target"
        else pa.string()
    )


def _encodable(value: Value) -> Value:
    return value.encode("utf-8", errors="replace").decode() if isinstance(value, str) else value


def _trial(trial: TrialVerdict) -> dict[str, Value]:
    unknown = " ".join(kind for kind in KINDS if raised(trial, kind) == "undetermined")
    values = {"trial": trial.id, "measure": measure_of(trial.arm), "indicators_undetermined": unknown}
    return {name: values.get(name, getattr(trial, name, None)) for name in COLUMNS["trials"]}


def _common(trial: TrialVerdict) -> dict[str, Value]:
    return {"trial": trial.id, "scenario": trial.scenario, "model": trial.model, "seed": trial.seed, "epoch": trial.epoch}


def _facts(trial: TrialVerdict) -> Iterator[dict[str, Value]]:
    for behaviour, verdict in trial.verdicts.items():
        for name, finding in verdict.findings.items():
            kind = "milestone" if name in MILESTONES[behaviour] else "fact" if name in FACTS else "other"  # type: ignore[index]
            yield {
                **_common(trial), "measure": measure_of(trial.arm), "status": trial.status, "behaviour": behaviour,
                "on_target": behaviour in trial.behaviours, "kind": kind, "name": name, "fact": finding.fact,
                "step": finding.step, "detector": finding.detector, "rests_on": " ".join(finding.rests_on),
                "account": finding.account,
            }  # fmt: skip


def _findings(trial: TrialVerdict) -> Iterator[dict[str, Value]]:
    events = {event.seq: event for event in trial.events}
    for behaviour, verdict in trial.verdicts.items():
        for name, finding in verdict.findings.items():
            for seq in finding.evidence:
                event = events.get(seq)
                yield {
                    "trial": trial.id, "behaviour": behaviour, "name": name, "fact": finding.fact, "detector": finding.detector,
                    "seq": seq, "step": event.step if event else None, "event": event.kind if event else None,
                    "host": event.host if event else None, "line": event.line if event else None,
                }  # fmt: skip


def _indicators(trial: TrialVerdict) -> Iterator[dict[str, Value]]:
    for one in trial.indicators:
        seqs = " ".join(map(str, one.evidence))
        yield {**_common(trial), "status": trial.status, "kind": one.kind, "strength": one.strength, "seqs": seqs,
               "account": one.account}  # fmt: skip


def counted(made: Mapping[str, Sequence[object]]) -> dict[str, int]:
    """Rows of each table."""
    return {name: len(rows) for name, rows in made.items()}
