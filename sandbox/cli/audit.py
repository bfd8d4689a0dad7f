"""`belljar audit`: try to break out of a host, and to break the harness and the record, in every way that is known here."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from sandbox.audit.subject import Profile
from sandbox.audit.suite import Audit
from sandbox.audit.suite import audit as run_audit
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.hosts.runtimes import require_runtime

_COLOURS = {"BLOCKED": "green", "REACHED": "red", "INVALID": "yellow"}


def audit(
    groups: Annotated[list[str] | None, typer.Argument(help="Groups of probes; all without any.")] = None,
    profile: Annotated[Profile, typer.Option(help="`default` is every trial's; `weak` is a host that must fail.")] = "default",
    runtime: Annotated[str, typer.Option(help="OCI runtime, as the daemon knows it, e.g. runsc.")] = "runc",
    json_output: JsonFlag = False,
) -> None:
    """Try every probe on hosts of its own. Exit code 0 if all are BLOCKED beside a valid control, 1 otherwise."""
    said = errors()
    require_runtime(runtime)
    done = asyncio.run(run_audit(profile, groups or (), runtime=runtime, progress=lambda group: said.print(f"{group} …")))
    if json_output:
        probes = [probe.model_dump(mode="json") for probe in done.probes]
        facts = {"profile": done.profile, "runtime": done.runtime, "passed": done.passed, "duration_us": done.duration_us}
        print_json({**facts, "versions": dict(done.versions), "probes": probes})
    else:
        _print(done)
    if not done.passed:
        raise typer.Exit(1)


def _print(done: Audit) -> None:
    out = console()
    for probe in done.probes:
        colour = _COLOURS[probe.result]
        rest = plain(f"{probe.group:<16} {probe.name:<44} {'' if probe.control else 'no valid control; '}{probe.detail}")
        out.print(f"[{colour}]{probe.result:<8}[/]", end="")
        out.print(rest[:160], markup=False, soft_wrap=True)
    counts = {result: sum(probe.result == result for probe in done.probes) for result in _COLOURS}
    told = ", ".join(f"{number} {result}" for result, number in counts.items())
    out.print(
        f"{done.profile} profile, {done.runtime} {done.versions.get(done.runtime, '')}: {told} of {len(done.probes)} probes"
    )
