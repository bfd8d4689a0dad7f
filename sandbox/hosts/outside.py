"""What the kernel says of a container from outside: the rights, namespaces and bounds of its first process.

Nothing inside takes part, so every container of a trial can be asked, a host that starts later as well as the world. All that
runs in one was begun by its first process, or by the daemon under the same options, which `isolation.differences` compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sandbox.errors import EnvironmentDied
from sandbox.events import ProbeResult
from sandbox.hosts.processes import control_group

NAMESPACES = ("net", "pid", "mnt", "ipc", "uts", "cgroup")
KINDS = ("capabilities", "new privileges", "no filter", "super-user")
_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_RLIMITS = {"nofile": "Max open files", "core": "Max core file size", "fsize": "Max file size", "memlock": "Max locked memory"}
_UNBOUNDED = 1 << 60


def seen_from_outside(name: str, init: int, request: Mapping[str, Any]) -> list[ProbeResult]:
    """Rights, namespaces and bounds of the container `name`, whose first process is `init` here and which was asked for by
    `request`. Blocks for as long as reading some files of /proc takes."""
    return [_rights(name, init), _namespaces(name, init), _bounds(name, init, request["HostConfig"])]


def devices(name: str, init: int) -> ProbeResult:
    """For a host that has no network: only loopback may be there."""
    try:
        lines = Path(f"/proc/{init}/net/dev").read_text().splitlines()[2:]
    except OSError as error:
        return result("network", f"no_device:{name}", "INVALID", False, str(error))
    found = {line.split(":")[0].strip() for line in lines}
    detail = f"devices: {', '.join(sorted(found))}"
    return result("network", f"no_device:{name}", "BLOCKED" if found <= {"lo"} else "REACHED", "lo" in found, detail)


def _rights(name: str, init: int) -> ProbeResult:
    """No capability in any set, no new privileges, a filter in force, no super-user; the engine's own process has them all."""
    try:
        found = openings(_status(init))
        controls = openings(_status("self"))
    except OSError as error:
        return result("privilege", f"rights:{name}", "INVALID", False, str(error))
    return closed("privilege", f"rights:{name}", found, controls.keys() == set(KINDS))


def openings(status: str) -> dict[str, str]:
    """What a process may that no container's may, by kind, from its /proc/PID/status; what is not said counts as allowed."""
    said = dict(re.findall(r"^(\w+):\s*(.*)$", status, re.M))
    capabilities = {name: said.get(name, "?") for name in _CAPABILITIES if said.get(name, "?").strip("0")}
    found = {"capabilities": ", ".join(f"{name} {value}" for name, value in capabilities.items())} if capabilities else {}
    for kind, name, closed in (("new privileges", "NoNewPrivs", "1"), ("no filter", "Seccomp", "2")):
        if said.get(name) != closed:
            found[kind] = f"{name} {said.get(name, '?')}"
    if "0" in said.get("Uid", "0").split():
        found["super-user"] = f"Uid {said.get('Uid', '?')}"
    return found


def _namespaces(name: str, init: int) -> ProbeResult:
    """No namespace may be one of the engine's own; the same look sees that the engine shares all of them with itself."""
    try:
        found, own = shared_namespaces(init), shared_namespaces("self")
    except OSError as error:
        return result("namespaces", f"own:{name}", "INVALID", False, str(error))
    return closed("namespaces", f"own:{name}", {kind: f"shared: {kind}" for kind in found}, len(own) == len(NAMESPACES))


def shared_namespaces(pid: int | str) -> list[str]:
    """The kinds of namespace that a process shares with the engine. Raises OSError."""

    def of(pid: int | str, kind: str) -> Path:
        return Path(f"/proc/{pid}/ns/{kind}").readlink()

    return [kind for kind in NAMESPACES if of(pid, kind) == of("self", kind)]


def _bounds(name: str, init: int, asked: Mapping[str, Any]) -> ProbeResult:
    """The kernel's own bounds are those that were asked for; the control is that it counts the process in the groups read."""
    probe = f"bounds:{name}"
    try:
        found, counted = counted_bounds(init)
        found |= rlimits(Path(f"/proc/{init}/limits").read_text())
    except (OSError, ValueError, EnvironmentDied) as error:
        return result("exhaustion", probe, "INVALID", False, str(error))
    return closed("exhaustion", probe, loose_bounds(asked, found), counted)


def counted_bounds(init: int) -> tuple[dict[str, float], bool]:
    """What the control groups of a container bound, and whether they count its first process. Raises OSError, ValueError or
    EnvironmentDied."""
    groups = {controller: control_group(init, controller) for controller in ("pids", "memory", "cpu")}
    counted = all(str(init) in (group / "cgroup.procs").read_text().split() for group in groups.values())
    return {what: _bound(group, what) for what, group in _places(groups)}, counted


def _places(groups: Mapping[str, Path]) -> list[tuple[str, Path]]:
    return [("pids", groups["pids"]), ("memory", groups["memory"]), ("swap", groups["memory"]), ("cpus", groups["cpu"])]


def _bound(group: Path, what: str) -> float:
    """Processes, bytes of memory, bytes of memory and swap, or processors, in either layout of control groups."""
    if what == "pids":
        return _number(group / "pids.max")
    if what == "cpus":
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
            return _parsed(quota) / int(period)
        quota = (group / "cpu.cfs_quota_us").read_text().strip()
        return _parsed(quota) / int((group / "cpu.cfs_period_us").read_text())
    old = (group / "memory.limit_in_bytes").exists()
    memory = _number(group / ("memory.limit_in_bytes" if old else "memory.max"))
    if what == "memory":
        return memory
    both = group / ("memory.memsw.limit_in_bytes" if old else "memory.swap.max")
    if not both.exists():  # a kernel that does not count swap: fine where there is none
        return memory if len(Path("/proc/swaps").read_text().splitlines()) < 2 else float("inf")
    return _number(both) if old else memory + _number(both)


def _number(path: Path) -> float:
    return _parsed(path.read_text())


def _parsed(text: str) -> float:
    value = text.strip()
    return float("inf") if value in ("max", "-1", "unlimited") or int(value) >= _UNBOUNDED else int(value)


def rlimits(text: str) -> dict[str, float]:
    """The hard bounds of one process, from its /proc/PID/limits."""
    hard = {name: re.search(rf"^{said} +\S+ +(\S+)", text, re.M) for name, said in _RLIMITS.items()}
    return {name: _parsed(match[1]) if match else float("inf") for name, match in hard.items()}


def loose_bounds(host: Mapping[str, Any], found: Mapping[str, float]) -> dict[str, str]:
    """Which of the bounds that a container's request asks for do not hold, in words."""
    bounds = {"pids": host["PidsLimit"], "memory": host["Memory"], "swap": host["MemorySwap"], "cpus": host["NanoCpus"] / 1e9}
    bounds |= {limit["Name"]: limit["Hard"] for limit in host["Ulimits"] or ()}
    return {what: f"{what} {found[what]:g} of {limit:g}" for what, limit in bounds.items() if not found[what] <= limit}


def _status(pid: int | str) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def closed(group: str, name: str, found: Mapping[str, str], control: bool) -> ProbeResult:
    """REACHED with what was found; BLOCKED if nothing was and the control holds."""
    return result(group, name, "REACHED" if found else "BLOCKED" if control else "INVALID", control, "; ".join(found.values()))


def result(group: str, name: str, answer: Literal["BLOCKED", "REACHED", "INVALID"], control: bool, detail: str) -> ProbeResult:
    """One probe's."""
    return ProbeResult(group=group, name=name, result=answer, control=control, detail=detail)
