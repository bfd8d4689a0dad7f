"""`belljar export`: recorded trials in the formats of other programs, verdicts in their metadata."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from analysis.study import summarise
from analysis.tables import Table, as_csv, as_parquet, counted, tables
from sandbox.cli.judging import judge_all, judge_whole
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.records import warned
from sandbox.cli.report import beside
from sandbox.errors import NotReadyError, UsageError
from sandbox.interop import WRITERS, Exported
from sandbox.interop import export as export_trial
from sandbox.record.verify import VerifyReport, verified
from sandbox.trajectory import Trajectory, attempts_at


def export(
    path: Annotated[Path, typer.Argument(help="A run, a trial, an attempt or a ledger file.")],
    to: Annotated[
        str, typer.Option("--to", "--format", help=f"The format: {', '.join(WRITERS)}; or tables of all trials: csv, parquet.")
    ],
    out: Annotated[
        Path, typer.Option(help="A file for one trial, otherwise a folder. Existing files are not replaced.")
    ] = Path(),
    verdicts: Annotated[bool, typer.Option(help="Judge each trial and put the verdicts into the metadata.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Write recorded trials so that other programs read them; what their format cannot carry is listed.

    csv and parquet judge the trials and write tidy tables into the folder --out: trials, facts, findings (a row for each
    cited event) and indicators. Parquet needs the extra `belljar[tables]`.
    """
    if to in TABLES:
        _tables(path, to, out, json_output)
        return
    one = sum(1 for _ in attempts_at(path)) == 1
    written = []
    for trajectory, proof in verified(path):
        exported = export_trial(trajectory, to, _verdicts(trajectory, proof, judging=verdicts))
        place = _place(out, trajectory, exported, one=one)
        _write(place, exported.data)
        written.append({"trial": trajectory.manifest.trial, "file": str(place), "lost": exported.lost})
        if not json_output:
            for line in _account(place, exported):
                console().print(plain(line), markup=False, soft_wrap=True)
    if json_output:
        print_json({"format": to, "exports": written})


def _tables(path: Path, to: str, out: Path, json_output: bool) -> None:
    """The study as tables, a file each."""
    summary = summarise(beside(path, judge_all(path)), run=str(path))
    made = tables(summary)
    try:
        written = {name: TABLES[to](name, rows) for name, rows in made.items()}
    except ImportError as error:
        raise NotReadyError("Parquet needs pyarrow.", "Install the extra: pip install 'belljar[tables]'.") from error
    out.mkdir(parents=True, exist_ok=True)
    places = {name: out / f"{name}.{to}" for name in written}
    for name, data in written.items():
        _write(places[name], data)
        if not json_output:
            console().print(plain(f"{places[name]} ({len(made[name]):,} rows)"), markup=False, soft_wrap=True)
    if json_output:
        print_json(
            {"format": to, "tables": {name: {"file": str(places[name]), "rows": n} for name, n in counted(made).items()}}
        )


TABLES: Mapping[str, Callable[[str, Table], bytes]] = {"csv": as_csv, "parquet": as_parquet}


def _verdicts(trajectory: Trajectory, proof: VerifyReport, *, judging: bool) -> JsonValue:
    """The verdict if it is wanted; either way with a warning where the record does not hold."""
    if not judging:
        warned(trajectory, proof)
        return None
    verdict: JsonValue = judge_whole(trajectory, proof).model_copy(update={"path": ""}).model_dump(mode="json")
    return verdict


def _account(place: Path, exported: Exported) -> Iterator[str]:
    yield f"{place} ({len(exported.data):,} bytes)"
    for what, count in exported.lost.items():
        yield f"  not carried: {count} x {what}"


def _place(out: Path, trajectory: Trajectory, exported: Exported, *, one: bool) -> Path:
    if one and out.suffix and not out.is_dir():
        return out
    out.mkdir(parents=True, exist_ok=True)
    return out / f"{trajectory.layout.trial}{exported.suffix}"


def _write(place: Path, data: bytes) -> None:
    """The whole file or none of it; never over another."""
    if place.exists():
        raise UsageError(f"{place} exists.", "Give another --out, or remove it.")
    unfinished = place.parent / f".{secrets.token_hex(8)}.partial"
    try:
        unfinished.write_bytes(data)
        os.link(unfinished, place)
    except FileExistsError as error:
        raise UsageError(f"{place} exists.", "Give another --out, or remove it.") from error
    except OSError as error:
        raise NotReadyError(f"{place} cannot be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
