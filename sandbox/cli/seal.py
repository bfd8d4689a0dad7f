"""`belljar seal`: a run or a trial in one signed file for others, with parts kept back; and such a file opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from analysis.study import summarise
from analysis.suspicion import judged
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.errors import UsageError
from sandbox.record.bundle import BundleReport, open_bundle, verify_bundle
from sandbox.record.sealing import SealReport, default_name
from sandbox.record.sealing import seal as seal_run
from sandbox.record.signing import remember
from sandbox.trajectory import trajectories


def seal(
    path: Annotated[Path, typer.Argument(help="A run, a trial or an attempt; with --open, a bundle.")],
    out: Annotated[Path | None, typer.Option(help="The bundle's file; with --open, the folder that runs lie in.")] = None,
    withhold: Annotated[
        list[str] | None,
        typer.Option(
            help="Keep these back as digests: event.field with wildcards (tool.returned.output, effect.file.content, "
            "*.reasoning), or text:REGEX over values. May be repeated."
        ),
    ] = None,
    verdicts: Annotated[bool, typer.Option(help="Judge the trials and put the verdicts in.")] = True,
    keep_verdicts: Annotated[
        bool,
        typer.Option("--keep-verdicts", help="Keep verdicts, labels and the like though they may quote what is withheld."),
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Seal although a text: pattern also matches what cannot be withheld.")
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open the bundle PATH into a run instead.")] = False,
    know: Annotated[str, typer.Option(help="With --open: remember the bundle's key under this name.")] = "",
    json_output: JsonFlag = False,
) -> None:
    """Make one file of a run that verifies anywhere without Docker, signed with this machine's key; or open one."""
    if open_:
        _open(path, out or Path("runs"), know, json_output=json_output)
        return
    if know:
        raise UsageError("--know belongs to --open.", "Use it when you open somebody's bundle.")
    judged = {"summary.json": _summary(path)} if verdicts else None
    report = seal_run(
        path,
        out or default_name(path),
        patterns=withhold or [],
        verdicts=judged,
        keep_verdicts=keep_verdicts,
        partial=partial,
    )
    if json_output:
        print_json(_as_json(report))
        return
    _show(report)


def show_bundle(report: BundleReport, path: Path, *, json_output: bool) -> None:
    """What `belljar verify BUNDLE` prints; exit code 1 where it does not hold. The JSON has all that a trial's has."""
    if json_output:
        last = report.trials[-1].head if len(report.trials) == 1 else ""
        first_bad = next((t.problems[0] for t in report.trials if not t.ok), None) or next(iter(report.problems), None)
        print_json({"path": str(path), **report.model_dump(mode="json"), "head": last, "first_bad": first_bad})
    else:
        for line in _lines(report, path):
            console().print(plain(line), markup=False, soft_wrap=True)
    if not report.ok:
        raise typer.Exit(1)


def check_bundle(path: Path, *, key: str = "", json_output: bool = False) -> None:
    """`belljar verify` for a file that `sandbox.record.bundle.is_bundle`."""
    show_bundle(verify_bundle(path, key=key), path, json_output=json_output)


def _open(path: Path, out: Path, know: str, *, json_output: bool) -> None:
    run, report = open_bundle(path, out)
    if know:
        remember(report.fingerprint, know)
    if not json_output:
        console().print(plain(f"opened into {run.root}"), markup=False, soft_wrap=True)
    show_bundle(report, run.root, json_output=json_output)


def _summary(path: Path) -> bytes:
    """The object of `belljar analyze --json`, without this machine's paths."""
    summary = summarise([judged(t) for t in trajectories(path)], run=path.absolute().name)
    return json.dumps(summary.model_dump(mode="json"), sort_keys=True).encode() + b"\n"


def _as_json(report: SealReport) -> dict[str, object]:
    return {
        "bundle": str(report.path),
        "run": report.run,
        "fingerprint": report.fingerprint,
        "attempts": report.attempts,
        "events": report.events,
        "bytes": report.bytes,
        "withheld": dict(report.withheld),
        "repeated": dict(report.repeated),
        "withheld_blobs": report.withheld_blobs,
        "withheld_files": list(report.withheld_files),
        "still_readable": dict(report.still_readable),
    }


def _show(report: SealReport) -> None:
    out = console()
    out.print(
        plain(f"{report.path}: {report.attempts} ledgers, {report.events:,} events, {report.bytes:,} bytes"), markup=False
    )
    out.print(f"key {report.fingerprint}", markup=False)
    for name, count in sorted(report.withheld.items()):
        again = report.repeated[name]
        why = f", {again} of them since they repeat what is withheld" if again else ""
        out.print(plain(f"  withheld: {name} in {count} events{why}"), markup=False, soft_wrap=True)
    if report.withheld_blobs:
        out.print(f"  withheld: {report.withheld_blobs} stored bodies")
    for file in report.withheld_files:
        out.print(plain(f"  withheld: {file} (its digest stands in the bundle)"), markup=False, soft_wrap=True)
    for place, count in report.still_readable.items():
        errors().print(plain(f"  STILL READABLE: {place}, {count} times"), markup=False, soft_wrap=True)


def _lines(report: BundleReport, path: Path) -> list[str]:
    head = f"{'ok    ' if report.ok else 'BROKEN'} bundle {report.events:>6} events  {path}"
    lines = [head]
    if report.fingerprint:
        who = {"own": "this machine's own", "known": report.signer, "unknown": "not known here"}[report.standing]
        lines.append(f"       key {report.fingerprint} ({who})")
    lines += [f"       problem: {problem}" for problem in report.problems]
    lines += [f"       proven: {line}" for line in report.proven]
    lines += [f"       not proven: {line}" for line in report.not_proven]
    lines += [f"       withheld: {name} in {count} events" for name, count in report.withheld.items()]
    if report.withheld_blobs:
        lines.append(f"       withheld: {report.withheld_blobs} stored bodies")
    return lines + [f"       withheld: {file}" for file in report.withheld_files]
