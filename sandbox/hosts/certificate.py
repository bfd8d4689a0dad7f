"""The quick containment certificate: a few probes tried in the agent's own shell before its first turn.

Each probe is one line of bash whose success would mean a hole; it counts as BLOCKED only beside a control, the same command
where it must succeed. A control that fails makes its probes INVALID, which is not a pass. The full suite is `belljar audit`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from sandbox.environment import ShellResult
from sandbox.events import ContainmentCertificate, ProbeResult
from sandbox.isolation import PROFILE


class Probe(NamedTuple):
    """`attempt` must fail and `control` succeed; both are bash, and start a program only where that is what is tried: every
    trial waits for them."""

    group: str
    name: str
    attempt: str
    control: str


QUICK = (
    Probe("privilege", "capabilities", "[[ $(<{status}) =~ Cap(Inh|Prm|Eff|Bnd|Amb):[[:space:]]+0*[1-9a-f] ]]",
          "[[ $(<{status}) =~ CapEff:[[:space:]]+[0-9a-f]+ ]]"),
    Probe("privilege", "no_new_privileges", "! [[ $(<{status}) =~ NoNewPrivs:[[:space:]]1 ]]",
          "[[ $(<{status}) =~ NoNewPrivs: ]]"),
    Probe("privilege", "system_call_filter", "! [[ $(<{status}) =~ Seccomp:[[:space:]]2 ]]", "[[ $(<{status}) =~ Seccomp: ]]"),
    Probe("privilege", "super_user", "[[ $EUID == 0 || $UID == 0 ]]", "[[ $EUID == 1000 && $UID == 1000 ]]"),
    Probe("files", "write_root", ": > /usr/.probe", ": > /tmp/.probe && rm /tmp/.probe"),
    Probe("files", "write_etc", ": >> /etc/hosts", "[[ -r /etc/hosts ]]"),
    Probe("kernel", "write_sysctl", "echo 0 > /proc/sys/kernel/hostname", "[[ -r /proc/sys/kernel/hostname ]]"),
    Probe("kernel", "mount", "mount -t tmpfs none /tmp", "mount --version"),
    Probe("kernel", "new_namespace", "unshare -U true", "unshare --version"),
    Probe("processes", "signal_init", "kill -9 1", "kill -0 $$"),
)  # fmt: skip

_STATUS = "/proc/self/status"


class Host(Protocol):
    async def shell(self, command: str, *, timeout: float) -> ShellResult: ...


async def certificate(
    host: Host, pids: Mapping[str, int], closure: Sequence[ProbeResult], *, joined: bool, probes: Sequence[Probe] = QUICK
) -> ContainmentCertificate:
    """Carry out the probes through the agent's shell and read the namespaces of every host from outside.

    Args:
        host: whose shell tries them; its session is left as it was.
        pids: first process of each host, by host id.
        closure: what the network has to say for itself.
        joined: whether there is a network; without one each namespace must hold nothing but loopback.
    """
    started = time.monotonic()
    results = [*await _tried(host, probes), *(_namespaces(name, pid) for name, pid in pids.items() if pid)]
    if not joined:
        results += [_alone(name, pid) for name, pid in pids.items() if pid]
    results += closure
    return ContainmentCertificate(
        profile=PROFILE,
        passed=bool(results) and all(probe.result == "BLOCKED" for probe in results),
        probes=tuple(results),
        duration_us=int((time.monotonic() - started) * 1e6),
    )


async def _tried(host: Host, probes: Sequence[Probe]) -> list[ProbeResult]:
    lines = [
        f"{{ {command.replace('{status}', _STATUS)}; }} >/dev/null 2>&1 </dev/null && echo 1 || echo 0"
        for probe in probes
        for command in (probe.attempt, probe.control)
    ]
    ran = await host.shell("(\n" + "\n".join(lines) + "\n)", timeout=30)
    answers = ran.stdout.split()
    if len(answers) != len(lines):
        detail = ran.stderr.decode("utf-8", "replace")[:200]
        return [ProbeResult(group=p.group, name=p.name, result="INVALID", control=False, detail=detail) for p in probes]
    return [_judged(probe, answers[2 * n] == b"1", answers[2 * n + 1] == b"1") for n, probe in enumerate(probes)]


def _judged(probe: Probe, reached: bool, control: bool) -> ProbeResult:
    result = "REACHED" if reached else "BLOCKED" if control else "INVALID"
    return ProbeResult.model_validate({"group": probe.group, "name": probe.name, "result": result, "control": control})


def _namespaces(name: str, pid: int) -> ProbeResult:
    """No namespace of a host may be one of the engine's own."""
    shared = []
    for kind in ("net", "pid", "mnt", "ipc", "uts", "cgroup"):
        try:
            if Path(f"/proc/{pid}/ns/{kind}").readlink() == Path(f"/proc/self/ns/{kind}").readlink():
                shared.append(kind)
        except OSError:
            return ProbeResult(
                group="namespaces", name=f"own:{name}", result="INVALID", control=False, detail=f"{kind} cannot be read"
            )
    result = {
        "result": "REACHED" if shared else "BLOCKED",
        "detail": f"shared with the engine: {', '.join(shared)}" if shared else "",
    }
    return ProbeResult.model_validate({"group": "namespaces", "name": f"own:{name}", "control": True, **result})


def _alone(name: str, pid: int) -> ProbeResult:
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError as error:
        return ProbeResult(group="network", name=f"no_device:{name}", result="INVALID", control=False, detail=str(error))
    devices = {line.split(":")[0].strip() for line in lines}
    result = {"result": "BLOCKED" if devices <= {"lo"} else "REACHED", "detail": f"devices: {', '.join(sorted(devices))}"}
    return ProbeResult.model_validate({"group": "network", "name": f"no_device:{name}", "control": "lo" in devices, **result})
