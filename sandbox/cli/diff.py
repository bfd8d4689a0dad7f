"""`belljar diff`: two trials side by side, in the terminal or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.cli.judging import judge_whole
from sandbox.cli.output import JsonFlag, console, plain, print_json
from sandbox.cli.records import read_record, warned
from sandbox.diff import compare, lines, render_html
from sandbox.errors import NotReadyError
from sandbox.trajectory import Trajectory

_STYLES = {"-": "red", "+": "green"}


def diff(
    a: Annotated[Path, typer.Argument(help="A trial, an attempt or a ledger file.")],
    b: Annotated[Path, typer.Argument(help="Another, of the same or another model, arm or seed.")],
    html: Annotated[Path | None, typer.Option(help="Write a page of its own here.")] = None,
    whole: Annotated[bool, typer.Option("--whole", help="List the calls that are the same, too.")] = False,
    verdicts: Annotated[bool, typer.Option(help="Judge both and compare the verdicts.")] = True,
    json_output: JsonFlag = False,
) -> None:
    """Say where two trials first part, by whose doing, and what differs in calls, outputs, effects and verdicts."""
    (first, said), (second, otherwise) = (_read(path, judging=verdicts) for path in (a, b))
    found = compare(first, second, verdict_a=said, verdict_b=otherwise)
    if html is not None:
        _write(html, render_html(found))
    if json_output:
        print_json(found.model_dump(mode="json"))
        return
    out = console()
    for line in lines(found, whole=whole):
        out.print(plain(line), markup=False, soft_wrap=True, style=_STYLES.get(line.lstrip()[:1], ""))
    if html is not None:
        out.print(plain(f"page: {html.resolve()}"), markup=False, soft_wrap=True)


def _read(path: Path, *, judging: bool) -> tuple[Trajectory, dict[str, Any] | None]:
    """A trial and, if wanted, its verdict."""
    trajectory, proof = read_record(path)
    if not judging:
        return warned(trajectory, proof), None
    return trajectory, judge_whole(trajectory, proof).model_dump(mode="json")


def _write(place: Path, text: str) -> None:
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise NotReadyError(f"{place} cannot be written: {error.strerror}.") from error
