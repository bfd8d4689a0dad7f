"""How a host is confined: from its specification to the Docker Engine's own create request, without a daemon.

Every option is stated, also where a daemon's default would do, so that the started container can be compared with what was
asked (`differences`): a daemon with other defaults, or one that ignores an option, is then refused rather than trusted.

The container's first process belongs to `nobody`, the agent and all else to uid 1000: what waits for orphans can then neither
be signalled (it is process 1) nor written to (it is another user's) from inside, and no capability is needed for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sandbox.content import content
from sandbox.environment import HostSpec

AGENT_UID = 1000
INIT_USER = "65534:65534"
PROFILE = "strict-3"
"""Name of the option set below as it stands in certificates; raise the number when the set changes."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/vmcoreinfo",
)
"""What a host finds empty: Docker's own list, power meters (a side channel), and the kernel's physical address."""

READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class Bind(NamedTuple):
    """A file or folder of the engine's, shown inside a host."""

    source: str
    target: str
    read_only: bool


@lru_cache(maxsize=1)
def seccomp_profile() -> str:
    """The system-call filter as one line of JSON, without the comments that the kernel's loader has no use for."""
    profile = json.loads((content("containers") / "seccomp.json").read_text())
    del profile["comment"]
    for rule in profile["syscalls"]:
        del rule["comment"]
    return json.dumps(profile, separators=(",", ":"))


TRUST = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), "/etc/ssl/certs/ca-certificates.crt")
"""Has clients that bring certificates of their own (certifi, Node) trust what the machine trusts, as companies set it up."""


def environment_of(host: HostSpec) -> dict[str, str]:
    """Variables that a login on the host starts with."""
    home = home_of(host)
    base = {"PATH": PATH, "HOME": home, "USER": host.user, "LOGNAME": host.user, "SHELL": "/bin/bash"}
    return base | {"LANG": "C.UTF-8", "TERM": "dumb"} | TRUST | dict(host.env)


def home_of(host: HostSpec) -> str:
    return f"/home/{host.user}"


def create_request(
    host: HostSpec, *, image: str, binds: Sequence[Bind], labels: Mapping[str, str], runtime: str = "runc"
) -> dict[str, Any]:
    """The body of the Engine API's `POST /containers/create` for one host; `image` is an image id."""
    limits = host.limits
    memory = limits.memory_mb * 2**20
    return {
        "Image": image,
        "Hostname": host.hostname,
        "User": INIT_USER,
        "Entrypoint": ["/sbin/init"],
        "Cmd": None,
        "WorkingDir": "/",
        "Env": [f"PATH={PATH}", "LANG=C.UTF-8"],
        "Labels": dict(labels),
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": {
            **hardened(),
            "Runtime": runtime,
            "Memory": memory,
            "MemorySwap": memory,
            "NanoCpus": int(limits.cpus * 1e9),
            "PidsLimit": limits.pids,
            "ShmSize": 2**20,
            "Ulimits": _ulimits(limits.disk_mb),
            "LogConfig": {"Type": "none", "Config": {}},
            "Mounts": [_mount(bind) for bind in binds],
            "Tmpfs": None,
            "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 65535"},
        },
    }


def hardened() -> dict[str, Any]:
    """What every container of a trial is confined by, the world's as the hosts': the rights part of a `HostConfig`."""
    return {
        "Runtime": "runc",
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "GroupAdd": None,
        "Devices": [],
        "Binds": None,
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
        "MaskedPaths": list(MASKED),
        "ReadonlyPaths": list(READ_ONLY),
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "OomKillDisable": False,
        "Init": False,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
    }


def _ulimits(disk_mb: int) -> list[dict[str, Any]]:
    bounds = {"nofile": 4096, "core": 0, "fsize": disk_mb * 2**20, "memlock": 65536}
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in bounds.items()]


def _mount(bind: Bind) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": "bind", "Source": bind.source, "Target": bind.target}
    if bind.read_only:
        mount["ReadOnly"] = True
    return mount | {"BindOptions": {"Propagation": "rprivate"}}


def differences(request: Mapping[str, Any], inspected: Mapping[str, Any]) -> list[str]:
    """What of a started container is not as asked, one line each; empty when all is. Takes `GET /containers/{id}/json`."""
    config, host = inspected.get("Config") or {}, inspected.get("HostConfig") or {}
    found = []
    for name in ("Hostname", "User", "Entrypoint", "Cmd", "WorkingDir", "Env", "Tty", "OpenStdin"):
        found += _compare(name, request[name], config.get(name))
    for name, asked in request["HostConfig"].items():
        found += _compare(f"HostConfig.{name}", asked, host.get(name))
    if inspected.get("Image") != request["Image"]:
        found.append(f"Image: asked {request['Image']}, is {inspected.get('Image')}")
    for name in ("CapAdd", "Devices", "DeviceRequests", "DeviceCgroupRules", "VolumesFrom", "Links", "Binds"):
        if host.get(name) and not request["HostConfig"].get(name):
            found.append(f"HostConfig.{name}: not asked for, is {host[name]}")
    found += _mount_differences(request["HostConfig"]["Mounts"], inspected.get("Mounts") or [])
    networks = set((inspected.get("NetworkSettings") or {}).get("Networks") or {})
    if networks - {"none"}:
        found.append(f"NetworkSettings.Networks: asked none, is {sorted(networks)}")
    return found


def _mount_differences(asked: Sequence[Mapping[str, Any]], mounts: Sequence[Mapping[str, Any]]) -> list[str]:
    wanted = {(m["Source"], m["Target"], not m.get("ReadOnly", False)) for m in asked}
    found = {(str(m.get("Source")), str(m.get("Destination")), bool(m.get("RW"))) for m in mounts}
    return [f"Mounts: not asked for, is {m}" for m in sorted(found - wanted)] + [
        f"Mounts: asked {m}, is missing" for m in sorted(wanted - found)
    ]


def _compare(name: str, asked: object, found: object) -> list[str]:
    if not asked and not found:
        return []
    same = _canonical(asked) == _canonical(found)
    return [] if same else [f"{name}: asked {_short(asked)}, is {_short(found)}"]


def _canonical(value: object) -> object:
    """Lists of options without their order; `true` and absent spellings of one option made one."""
    if isinstance(value, list):
        return sorted((json.dumps(x, sort_keys=True) if isinstance(x, dict) else str(x).removesuffix(":true")) for x in value)
    return value


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
