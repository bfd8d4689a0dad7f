"""What a host under gVisor is confined by: as gVisor's own kernel says of its processes, and this machine's of gVisor's.

A process of the host is none of this machine's, so its rights, ids and bounds are asked for inside, by a process that came in
as every other does. The control of rights is the same question put by a process that came in with all of them and no filter.
What the host's programs would have if they took gVisor's kernel over are the rights of the sentry and its helper here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.events import ProbeResult
from sandbox.hosts.certificate import QUICK, Probe
from sandbox.hosts.outside import closed, counted_bounds, loose_bounds, openings, result, rlimits, shared_namespaces
from sandbox.hosts.processes import control_group

QUESTION = (
    "bash",
    "-c",
    "cat /proc/self/status; echo =; cat /proc/self/limits; echo =; "
    "perl -e 'print syscall(157, $_, $_ == 47, 0, 0, 0), chr(10) for 39, 8, 47'; echo =; "
    "echo $$ /proc/[0-9]*; echo =; cat /proc/self/cgroup",
)
"""prctl(2): 39 asks for no-new-privileges, 8 for keeping capabilities, which is off unless asked for, 47 for an ambient one,
which gVisor's kernel knows nothing of."""

_INSIDE = ("capabilities", "no filter", "super-user")
_PTRACE, _FILES = 1 << 19, 0x4001F
"""SYS_PTRACE, by which the sentry runs the host's programs; and for the helper that opens files, the rights to any file and
to change its root."""

_SETS = 5
_OWN = ("net", "mnt", "ipc", "uts")
_BY_SENTRY = ("pid", "cgroup")

_OTHERWISE = {
    "init_environment": ("read -rN1 x < /proc/1/environ", "read -rN1 x < /proc/self/environ"),
    "no_new_privileges": (
        "perl -e 'exit(syscall(157, 39, 0, 0, 0, 0) == 1)'",
        "perl -e 'exit(syscall(157, 8, 0, 0, 0, 0) == 1)'",
    ),
}

PROBES = tuple(Probe(each.group, each.name, *_OTHERWISE.get(each.name, (each.attempt, each.control))) for each in QUICK)
"""The quick set for gVisor's kernel, which lets anybody open the environment of any process - so that of the first one is to be
empty - and shows no-new-privileges to prctl(2) alone."""


class Answer(NamedTuple):
    """What QUESTION was answered: the kernel's own words, `ids` of all processes that were seen, and the asker's."""

    status: str
    limits: str
    privileges: str
    own: int
    ids: frozenset[int]
    groups: str


def answered(output: bytes) -> Answer | None:
    """None for an answer that is not whole."""
    parts = output.decode(errors="replace").split("=\n")
    if len(parts) != 5 or not (ids := parts[3].split()) or not all(re.fullmatch(r"(/proc/)?\d+", each) for each in ids):
        return None
    found = frozenset(int(each.removeprefix("/proc/")) for each in ids[1:])
    return Answer(parts[0], parts[1], parts[2].strip(), int(ids[0]), found, parts[4])


class Answers(NamedTuple):
    """The host's answer, /proc/self/status of a process that came in with every right, and its processes' ids by the trace."""

    inside: Answer | None
    freely: str
    known: Collection[int]


def seen_in_sandbox(name: str, init: int, request: Mapping[str, Any], answers: Answers) -> list[ProbeResult]:
    """The results for the container `name`, whose sentry is `init` and which was asked for by `request`. Blocks."""
    inside, freely, known = answers
    if inside is None:
        whys = ("privilege", f"rights:{name}"), ("namespaces", f"own:{name}"), ("exhaustion", f"bounds:{name}")
        found = [result(group, probe, "INVALID", False, "the host did not answer") for group, probe in whys]
    else:
        found = [
            _rights(name, inside, freely),
            _namespaces(name, init, inside, known),
            _bounds(name, init, request["HostConfig"], inside),
        ]
    return [*found, _sandbox(name, init)]


def _rights(name: str, inside: Answer, freely: str) -> ProbeResult:
    no_new, keeping, ambient = (*inside.privileges.split(), "?", "?", "?")[:3]
    none = "" if "CapAmb" in inside.status or ambient != "-1" else "CapAmb:\t0\n"
    found = {kind: said for kind, said in openings(inside.status + none).items() if kind in _INSIDE}
    if no_new != "1":
        found["new privileges"] = f"no-new-privileges {no_new}"
    controls = {kind for kind in openings(freely + none) if kind in _INSIDE}
    told = all(f"{word}:" in freely for word in ("Uid", "CapEff", "Seccomp"))
    return closed("privilege", f"rights:{name}", found, told and controls == set(_INSIDE) and keeping == "0")


def _namespaces(name: str, init: int, inside: Answer, known: Collection[int]) -> ProbeResult:
    """The sentry shares none with the engine but process ids and control groups, and has these of its own for the host, which
    sees no process but its own and no path of this machine's groups."""
    probe = f"own:{name}"
    try:
        shared, own = shared_namespaces(init), shared_namespaces("self")
        groups = _groups(Path(f"/proc/{init}/cgroup").read_text()) - {"/"}
    except OSError as error:
        return result("namespaces", probe, "INVALID", False, str(error))
    found = {kind: f"shared: {kind}" for kind in shared if kind in _OWN}
    if strangers := inside.ids - set(known) - {inside.own}:
        found["pid"] = f"unknown processes: {sorted(strangers)[:9]}"
    if here := groups & _groups(inside.groups):
        found["cgroup"] = f"groups {sorted(here)}"
    control = set(own) == {*_OWN, *_BY_SENTRY} and inside.own in inside.ids and bool(groups)
    return closed("namespaces", probe, found, control)


def _groups(text: str) -> set[str]:
    """The paths of a /proc/PID/cgroup."""
    return {line.split(":", 2)[-1] for line in text.splitlines()}


def _bounds(name: str, init: int, asked: Mapping[str, Any], inside: Answer) -> ProbeResult:
    """Processes, memory and processors are bounded for the sandbox as a whole; files by gVisor's kernel for each process."""
    probe = f"bounds:{name}"
    try:
        found, counted = counted_bounds(init)
        found |= rlimits(inside.limits)
    except (OSError, ValueError) as error:
        return result("exhaustion", probe, "INVALID", False, str(error))
    return closed("exhaustion", probe, loose_bounds(asked, found), counted and "Max cpu time" in inside.limits)


def _sandbox(name: str, init: int) -> ProbeResult:
    """On this machine: no new privileges for gVisor's processes, a filter for each, and no right but what its work needs."""
    probe = f"sandbox:{name}"
    found: dict[str, str] = {}
    try:
        controls = openings(Path("/proc/self/status").read_text())
        pids = [int(line) for line in (control_group(init) / "cgroup.procs").read_text().split()]
        for pid in pids:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            status = Path(f"/proc/{pid}/status").read_text()
            allowed = _FILES if words[0] == b"runsc-gofer" else _PTRACE
            found |= {f"{pid} {kind}": f"{pid}: {said}" for kind, said in beyond(status, allowed).items()}
    except OSError as error:
        return result("privilege", probe, "INVALID", False, str(error))
    control = init in pids and {"capabilities", "new privileges", "no filter"} <= controls.keys()
    answer = closed("privilege", probe, found, control)
    return answer if found else answer.model_copy(update={"detail": "a super-user with SYS_PTRACE, behind gVisor's own filter"})


def beyond(status: str, allowed: int) -> dict[str, str]:
    """The openings of one of gVisor's processes that its work does not need, such as a capability that is not `allowed`."""
    found = openings(status)
    found.pop("super-user", None)
    sets = [int(each, 16) for each in re.findall(r"^Cap(?:Inh|Prm|Eff|Bnd|Amb):\s*([0-9a-f]+)", status, re.M)]
    if len(sets) == _SETS and not any(each & ~allowed for each in sets):
        found.pop("capabilities", None)
    return found
