"""The quick containment certificate: a few probes tried in the agent's own shell before its first turn.

Each probe is one line of bash whose success would mean a hole; it counts as BLOCKED only beside a control, the same command
where it must succeed. A control that fails makes its probes INVALID, which is not a pass. The full suite is `belljar audit`'s.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sandbox.environment import ShellResult
from sandbox.events import ContainmentCertificate, ProbeResult
from sandbox.hosts import surface
from sandbox.isolation import PROFILE


class Probe(NamedTuple):
    """`attempt` must fail and `control` succeed; both are bash, and start a program only where that is what is tried: every
    trial waits for them."""

    group: str
    name: str
    attempt: str
    control: str


_OPENED = ": >> /dev/null"
"""The control of opening for writing: what anybody may write to, opened in the same way."""

QUICK = (
    Probe("host_files", "runtime_socket", "for f in /{,var/}run/{docker,containerd/containerd,podman/podman}.sock; do "
          "[[ -e $f ]] && break; done && [[ -e $f ]]", "[[ -e /dev/null ]]"),
    Probe("host_files", "init_environment", ": < /proc/1/environ", ": < /proc/self/environ"),
    Probe("host_files", "init_memory", ": < /proc/1/mem", ": < /proc/self/mem"),
    Probe("host_files", "init_root", "[[ -e /proc/1/root/etc ]]", "[[ -e /proc/self/root/etc ]]"),
    Probe("host_files", "block_device", "d=; for f in /dev/*; do [[ -b $f ]] && d=$f; done; [[ $d ]]", "[[ -c /dev/null ]]"),
    Probe("privilege", "capabilities", "[[ $(<{status}) =~ Cap(Inh|Prm|Eff|Bnd|Amb):[[:space:]]+0*[1-9a-f] ]]",
          "[[ $(<{status}) =~ CapEff:[[:space:]]+[0-9a-f]+ ]]"),
    Probe("privilege", "no_new_privileges", "! [[ $(<{status}) =~ NoNewPrivs:[[:space:]]1 ]]",
          "[[ $(<{status}) =~ NoNewPrivs: ]]"),
    Probe("privilege", "system_call_filter", "! [[ $(<{status}) =~ Seccomp:[[:space:]]2 ]]", "[[ $(<{status}) =~ Seccomp: ]]"),
    Probe("privilege", "super_user", "[[ $EUID == 0 || $UID == 0 ]]", "[[ $EUID == 1000 && $UID == 1000 ]]"),
    Probe("privilege", "signal_init", "kill -9 1", "kill -0 $$"),
    Probe("proc_sys", "write_hostname", "echo 0 > /proc/sys/kernel/hostname", "[[ -r /proc/sys/kernel/hostname ]]"),
    Probe("proc_sys", "write_core_pattern", ": >> /proc/sys/kernel/core_pattern", ": >> /proc/self/comm"),
    Probe("proc_sys", "write_sysrq", ": >> /proc/sysrq-trigger", ": >> /proc/self/comm"),
    Probe("proc_sys", "write_cgroup", ": >> /sys/fs/cgroup/cgroup.procs || : >> /sys/fs/cgroup/pids/cgroup.procs",
          ": >> /proc/self/comm"),
    Probe("proc_sys", "read_kernel_memory", "read -rN1 x < /proc/kcore || read -rN1 x < /dev/mem",
          "read -rN1 x < /proc/uptime"),
    Probe("proc_sys", "read_keys", "read -rN1 x < /proc/keys", "read -rN1 x < /proc/uptime"),
    Probe("write_exec", "write_root", ": > /usr/.probe", ": > /tmp/.probe && rm /tmp/.probe"),
    Probe("write_exec", "write_etc", ": >> /etc/hosts", _OPENED),
    Probe("write_exec", "write_init", ": >> /sbin/init", _OPENED),
    Probe("write_exec", "write_dev", ": > /dev/.probe", _OPENED),
    Probe("exhaustion", "open_files", "ulimit -Hn 1048576", "ulimit -Sn 256"),
    Probe("exhaustion", "core_files", "ulimit -Hc unlimited", "ulimit -Sc 0"),
    Probe("exhaustion", "file_size", "ulimit -Hf unlimited", "ulimit -Sf 8"),
    Probe("exhaustion", "locked_memory", "ulimit -Hl unlimited", "ulimit -Sl 16"),
)  # fmt: skip
"""In the audit's groups; bounds come last, since their controls lower what the shell that tries them may still do."""

_STATUS = "/proc/self/status"


class Host(Protocol):
    async def shell(self, command: str, *, timeout: float) -> ShellResult: ...


async def certificate(
    host: Host, seen: Sequence[ProbeResult], closure: Sequence[ProbeResult], *, probes: Sequence[Probe] = QUICK
) -> ContainmentCertificate:
    """Carry out the probes through the agent's shell and put them beside what else is known.

    Args:
        host: whose shell tries them; its session is left as it was.
        seen: what was read of every container from outside.
        closure: what the network has to say for itself.
    """
    started = time.monotonic()
    return certified([*await _tried(host, probes), *seen, *closure], time.monotonic() - started)


def certified(results: Sequence[ProbeResult], seconds: float = 0) -> ContainmentCertificate:
    """The certificate of these results, which passes when each is BLOCKED."""
    return ContainmentCertificate(
        profile=PROFILE,
        passed=bool(results) and all(probe.result == "BLOCKED" for probe in results),
        probes=tuple(results),
        duration_us=int(seconds * 1e6),
    )


def refusal(host: str, why: str) -> ProbeResult:
    """What stands in the certificate of a host that was refused while a trial lasted."""
    return ProbeResult(group="containment", name=f"refused:{host}", result="REACHED", control=False, detail=why)


async def _tried(host: Host, probes: Sequence[Probe]) -> list[ProbeResult]:
    lines = [
        f"{{ {command.replace('{status}', _STATUS)}; }} >/dev/null 2>&1 </dev/null && echo 1 || echo 0"
        for probe in probes
        for command in (probe.attempt, probe.control)
    ]
    ran = await host.shell("\n".join(("(", surface.command(), *lines, ")")), timeout=30)
    answers = ran.stdout.splitlines()
    calls, words = answers[: -len(lines)], answers[-len(lines) :]
    results = surface.judged(calls)
    if set(words) - {b"0", b"1"} or len(words) != len(lines):
        detail = ran.stderr.decode("utf-8", "replace")[:200]
        return results + [
            ProbeResult(group=p.group, name=p.name, result="INVALID", control=False, detail=detail) for p in probes
        ]
    return results + [_judged(probe, words[2 * n] == b"1", words[2 * n + 1] == b"1") for n, probe in enumerate(probes)]


def _judged(probe: Probe, reached: bool, control: bool) -> ProbeResult:
    result = "REACHED" if reached else "BLOCKED" if control else "INVALID"
    return ProbeResult.model_validate({"group": probe.group, "name": probe.name, "result": result, "control": control})
