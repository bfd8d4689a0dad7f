"""Carries out an audit, group by group: each on a host of its own, each probe under a deadline kept outside it.

A group of probes that run inside is one process in the host; what it has not said when its deadline comes is INVALID. A probe
from outside drives the harness or the recorder as a trial does, and looks whether they came through.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from typing import NamedTuple

from sandbox.audit import harness_abuse, recorder_abuse
from sandbox.audit.inside import (
    exhaustion,
    host_files,
    kernel_surface,
    network,
    privilege,
    probing,
    proc_sys,
    socket_families,
    write_exec,
)
from sandbox.audit.inside.probing import Refused
from sandbox.audit.outside import Outside
from sandbox.audit.subject import Bait, Profile, Subject, laid_bait, opened
from sandbox.errors import BelljarError, UsageError
from sandbox.events import ProbeResult
from sandbox.hosts.daemon import daemon

INSIDE: Mapping[str, Sequence[probing.Probe]] = {
    "host_files": host_files.PROBES,
    "privilege": privilege.PROBES,
    "kernel_surface": kernel_surface.PROBES,
    "socket_families": socket_families.PROBES,
    "proc_sys": proc_sys.PROBES,
    "write_exec": write_exec.PROBES,
    "network": network.PROBES,
    "exhaustion": exhaustion.PROBES,
}
OUTSIDE: Mapping[str, Sequence[Outside]] = {
    "harness_abuse": harness_abuse.PROBES,
    "recorder_abuse": recorder_abuse.PROBES,
}
CLOSURE = "closure"
"""The certificate of a host joined to a world: what each trial tries before it begins."""

GROUPS: tuple[str, ...] = (*INSIDE, CLOSURE, *OUTSIDE)

_PACKAGE = "sandbox.audit.inside"
_FOLDER = "/tmp/.audit"  # noqa: S108 - the container's own
_GROUP_SECONDS = 120.0


class Audit(NamedTuple):
    """`passed`: every probe BLOCKED, each beside a control that worked."""

    profile: Profile
    runtime: str
    versions: Mapping[str, str]
    probes: tuple[ProbeResult, ...]
    duration_us: int

    @property
    def passed(self) -> bool:
        return bool(self.probes) and all(probe.result == "BLOCKED" and probe.control for probe in self.probes)


async def audit(
    profile: Profile = "default",
    groups: Sequence[str] = (),
    *,
    runtime: str = "runc",
    progress: Callable[[str], None] = lambda _: None,
) -> Audit:
    """Try every probe of `groups` (all of them without any) on hosts of `profile`.

    Args:
        runtime: the OCI runtime, as the daemon knows it.
        progress: told the name of each group as it begins.

    Raises UsageError for a group that does not exist, and as `DockerEnvironment` when no host can be started.
    """
    for unknown in set(groups) - set(GROUPS):
        raise UsageError(f"There is no group of probes {unknown!r}.", f"Groups: {', '.join(GROUPS)}.")
    started, results = time.monotonic(), list[ProbeResult]()
    with laid_bait() as bait:
        for group in groups or GROUPS:
            progress(group)
            work = _inside if group in INSIDE else _closure if group == CLOSURE else _outside
            results += await work(group, profile, bait, runtime)
    return Audit(profile, runtime, daemon().versions, tuple(results), int((time.monotonic() - started) * 1e6))


async def _inside(group: str, profile: Profile, bait: Bait, runtime: str) -> list[ProbeResult]:
    async with opened(profile, bait, runtime=runtime) as subject:
        for name in ("probing", group):
            source = resources.files(_PACKAGE).joinpath(f"{name}.py").read_bytes()
            await subject.environment.write(f"{_FOLDER}/{_PACKAGE.replace('.', '/')}/{name}.py", source)
        start = "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module(sys.argv.pop(1), run_name='__main__')"
        argv = ("python3", "-I", "-c", start, _FOLDER, f"{_PACKAGE}.{group}", json.dumps(bait.context()))
        try:
            ran = await subject.environment.run(argv, timeout=_GROUP_SECONDS)
        except BelljarError as error:
            return [_invalid(group, probe.name, f"the host was lost: {error}") for probe in INSIDE[group]]
    said = {}
    for line in ran.stdout.decode("utf-8", "replace").splitlines():
        with suppress(ValueError):
            result = ProbeResult.model_validate({"group": group, **json.loads(line)})
            said[result.name] = result
    why = "it was stopped at the deadline" if ran.exit_code is None else ran.stderr.decode("utf-8", "replace")[-200:]
    return [said.get(probe.name) or _invalid(group, probe.name, why or "it said nothing") for probe in INSIDE[group]]


async def _closure(group: str, profile: Profile, bait: Bait, runtime: str) -> list[ProbeResult]:
    async with opened(profile, bait, runtime=runtime, joined=True) as subject:
        certificate = await subject.environment.certify()
    return [probe.model_copy(update={"group": group, "name": f"{probe.group}: {probe.name}"}) for probe in certificate.probes]


async def _outside(group: str, profile: Profile, bait: Bait, runtime: str) -> list[ProbeResult]:
    """One host for the group, replaced by another where a probe has left it unfit for the next one's control."""
    waiting, results = list(OUTSIDE[group]), list[ProbeResult]()
    while waiting:
        async with opened(profile, bait, runtime=runtime) as subject:
            while waiting:
                probe = waiting.pop(0)
                results.append(result := await _one(group, probe, subject))
                if result.result != "BLOCKED":
                    break
    return results


async def _one(group: str, probe: Outside, subject: Subject) -> ProbeResult:
    if broken := await _within(probe.seconds, probe.control(subject)):
        return _invalid(group, probe.name, f"the control failed: {broken}")
    try:
        async with asyncio.timeout(probe.seconds):
            reached = await probe.attempt(subject)
    except Refused as refused:
        return ProbeResult(group=group, name=probe.name, result="BLOCKED", control=True, detail=str(refused)[:300])
    except TimeoutError:
        reached = f"it held the engine up for {probe.seconds:.0f} s"
    except Exception as error:
        reached = f"the engine failed: {type(error).__name__}: {error}"
    return ProbeResult(group=group, name=probe.name, result="REACHED", control=True, detail=reached[:300])


async def _within(seconds: float, control: Awaitable[object]) -> str:
    """What went wrong, "" if nothing did."""
    try:
        async with asyncio.timeout(seconds):
            await control
    except TimeoutError:
        return f"no end within {seconds:.0f} s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _invalid(group: str, name: str, why: str) -> ProbeResult:
    return ProbeResult(group=group, name=name, result="INVALID", control=False, detail=why[:300])
