"""How a host is confined: the request as a pure function, the comparison with what was started, and the filter at work."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.content import content
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.hosts.daemon import daemon
from sandbox.isolation import Bind, create_request, differences, seccomp_profile
from sandbox.world.world import container_request

HOST = HostSpec("agent", "web01", limits=HostLimits(memory_mb=200, cpus=0.5, pids=99, disk_mb=16))
BINDS = (Bind("/run/x/tmp", "/tmp", False), Bind("/run/x/etc/hosts", "/etc/hosts", True))


CONFIGURED = ("Hostname", "User", "Entrypoint", "Cmd", "WorkingDir", "Env", "Tty", "OpenStdin")


def request() -> dict[str, Any]:
    return create_request(HOST, image="sha256:1", binds=BINDS, labels={"belljar": "1"})


def inspected(asked: dict[str, Any]) -> dict[str, Any]:
    """What a daemon that did as it was asked would say."""
    found = copy.deepcopy(asked)
    config = {name: found[name] for name in CONFIGURED}
    mounts = [
        {"Source": m["Source"], "Destination": m["Target"], "RW": not m.get("ReadOnly")} for m in found["HostConfig"]["Mounts"]
    ]
    return {
        "Image": found["Image"],
        "Config": config,
        "HostConfig": found["HostConfig"],
        "Mounts": mounts,
        "NetworkSettings": {"Networks": {"none": {}}},
    }


def test_limits_become_options() -> None:
    host = request()["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        200 * 2**20,
        200 * 2**20,
        500_000_000,
        99,
    )
    assert {"Name": "fsize", "Soft": 16 * 2**20, "Hard": 16 * 2**20} in host["Ulimits"]


def test_nothing_is_given_that_was_not_meant() -> None:
    asked = request()
    host = asked["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["ReadonlyRootfs"]
    assert host["NetworkMode"] == "none"
    assert host["SecurityOpt"][0] == "no-new-privileges"
    assert asked["User"] != "0:0"


def worlds() -> dict[str, Any]:
    return container_request("sha256:1", Path("/run/x/share"), {"belljar": "1"})


@pytest.mark.parametrize("asking", [request, worlds])
def test_a_container_as_asked_has_no_differences(asking: Callable[[], dict[str, Any]]) -> None:
    asked = asking()
    assert differences(asked, inspected(asked)) == []
    spelled = inspected(asked)
    spelled["HostConfig"]["SecurityOpt"] = ["no-new-privileges:true", asked["HostConfig"]["SecurityOpt"][1]]
    assert differences(asked, spelled) == []


@pytest.mark.parametrize("asking", [request, worlds])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("HostConfig", "Privileged"), True),
        (("HostConfig", "CapAdd"), ["CAP_SYS_ADMIN"]),
        (("HostConfig", "CapDrop"), []),
        (("HostConfig", "NetworkMode"), "bridge"),
        (("HostConfig", "ReadonlyRootfs"), False),
        (("HostConfig", "SecurityOpt"), ["no-new-privileges"]),
        (("HostConfig", "PidsLimit"), 0),
        (("HostConfig", "PidMode"), "host"),
        (("HostConfig", "Runtime"), "other"),
        (("HostConfig", "Devices"), [{"PathOnHost": "/dev/kvm"}]),
        (("HostConfig", "DeviceRequests"), [{"Count": 1}]),
        (("HostConfig", "Binds"), ["/:/host"]),
        (("HostConfig", "UsernsMode"), "host"),
        (("HostConfig", "UTSMode"), "host"),
        (("HostConfig", "IpcMode"), "host"),
        (("HostConfig", "CgroupnsMode"), "host"),
        (("Config", "User"), "0:0"),
        (("Config", "Env"), ["PATH=/tmp", "LD_PRELOAD=/tmp/x.so"]),
        (("Config", "Cmd"), ["/bin/sh"]),
        (("Config", "WorkingDir"), "/tmp"),
        (("Image",), "sha256:2"),
        (("Mounts",), []),
        (("Mounts",), [{"Source": "/", "Destination": "/host", "RW": True}]),
        (("NetworkSettings", "Networks"), {"bridge": {}}),
    ],
)
def test_any_difference_is_found(asking: Callable[[], dict[str, Any]], path: tuple[str, ...], value: object) -> None:
    asked = asking()
    found = inspected(asked)
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert differences(asked, found)


def test_the_filter_allows_no_dangerous_call() -> None:
    refused = {
        "bpf", "perf_event_open", "ptrace", "process_vm_readv", "process_vm_writev", "keyctl", "add_key", "request_key",
        "userfaultfd", "io_uring_setup", "memfd_create", "execveat", "mount", "umount2", "unshare", "setns",
        "pivot_root", "chroot", "open_by_handle_at", "name_to_handle_at", "init_module", "finit_module", "kexec_load",
        "reboot", "swapon", "iopl", "ioperm", "modify_ldt", "pidfd_getfd", "process_madvise", "kcmp", "vmsplice",
        "fanotify_init", "syslog", "quotactl", "acct", "clock_settime", "settimeofday", "fsopen", "open_tree",
        "move_mount", "mq_open", "socketcall", "clone3"
    }  # fmt: skip
    rules = json.loads(seccomp_profile())["syscalls"]
    allowed = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert not allowed & refused
    assert json.loads(seccomp_profile())["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(rule["comment"] for rule in json.loads((content("containers") / "seccomp.json").read_text())["syscalls"])


@pytest.fixture(scope="module")
def image() -> str:
    return daemon().image_id("belljar/base")


@pytest.fixture
async def host() -> AsyncIterator[DockerEnvironment]:
    async with DockerEnvironment(EnvironmentSpec((HOST,)), trial="isolation", labels={"belljar.run": "tests"}) as environment:
        yield environment


SYSCALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(*args):
    ctypes.set_errno(0)
    return libc.syscall(*args), ctypes.get_errno()
for name, number, *args in [("getpid", 39), ("io_uring_setup", 425, 1, 0), ("memfd_create", 319, b"x", 0),
    ("ptrace", 101, 0, 0, 0, 0),
    ("keyctl", 250, 0, 0), ("userfaultfd", 323, 0), ("bpf", 321, 0, 0, 0), ("perf_event_open", 298, 0, 0, 0, 0, 0),
    ("unshare", 272, 0x10000000), ("mount", 165, 0, 0, 0, 0, 0), ("personality", 135, 0x0040000),
    ("execveat", 322, -1, b"", 0, 0, 0),
    ("vsock", 41, 40, 1, 0), ("packet", 41, 17, 3, 0), ("alg", 41, 38, 5, 0), ("inet", 41, 2, 1, 0),
    ("netlink_audit", 41, 16, 3, 9)]:
    print(name, *call(number, *args))
"""


@pytest.mark.docker
async def test_the_kernel_refuses_what_the_filter_leaves_out(host: DockerEnvironment) -> None:
    ran = await host.run(["python3", "-c", SYSCALLS], timeout=20)
    answers = {name: (int(value), int(error)) for name, value, error in map(str.split, ran.stdout.decode().splitlines())}
    assert answers.pop("getpid")[0] > 0
    assert answers.pop("inet")[0] >= 0
    assert {name for name, (value, error) in answers.items() if value != -1 or error not in (1, 38)} == set()
    assert len(answers) == 15


@pytest.mark.docker
async def test_a_started_host_is_as_asked_and_another_is_not(host: DockerEnvironment, image: str) -> None:
    weak = await host.run(["cat", "/proc/self/status"], timeout=20)
    status = dict(line.split(":\t", 1) for line in weak.stdout.decode().splitlines())
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


@pytest.mark.docker
@pytest.mark.parametrize(
    "command",
    [
        "python3 -m venv --without-pip /tmp/v && /tmp/v/bin/python -c 'import ssl, sqlite3'",
        "python3 -c 'import multiprocessing as m; m.Pool(2).map(abs, [1])'",
        "git init -q /tmp/r && cd /tmp/r && touch x && git add x && git -c user.email=a@b.c -c user.name=a commit -qm x",
        "pip --version && pip list",
        "ssh -V && ssh-keygen -q -t ed25519 -N '' -f /tmp/k",
        "ip addr && ip route && ss -tuln",
        "ping -c1 -w2 127.0.0.1",
        "curl --version && jq --version && rsync --version && sqlite3 :memory: 'select 1'",
        "mkfifo /tmp/p && (echo x >/tmp/p & cat /tmp/p)",
        "python3 -m http.server --bind 127.0.0.1 80 & "
        "curl -sf --retry 50 --retry-connrefused --retry-delay 1 http://127.0.0.1/ >/dev/null; r=$?; kill %1; exit $r",
        "tar -C /etc -cz hosts | tar -tz && zip -q /tmp/z.zip /etc/hosts && unzip -l /tmp/z.zip",
        "ps aux && top -bn1 && free && df -h && lsof -p $$ && uptime && tree /srv && file /bin/ls",
    ],
)
async def test_ordinary_work_goes_on_under_the_filter(host: DockerEnvironment, command: str) -> None:
    ran = await host.run(["bash", "-c", command], timeout=60)
    assert ran.exit_code == 0, ran.stderr.decode()


@pytest.mark.docker
async def test_the_file_system_does_not_say_what_it_is_for(host: DockerEnvironment) -> None:
    named = "grep -rIl -i belljar /etc /usr/local /home /srv /opt /var /sbin/init /run 2>/dev/null"
    for script in (named, "env | grep -i -E 'belljar|sandbox'", "cat /proc/self/mountinfo | grep -i belljar"):
        assert (await host.run(["bash", "-c", script], timeout=60)).stdout == b""
    assert (await host.run(["cat", "/etc/hosts"], timeout=20)).stdout.startswith(b"127.0.0.1\tlocalhost\n127.0.1.1\tweb01\n")
    privileged = await host.run(
        ["bash", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null; getcap -r /usr 2>/dev/null"], timeout=60
    )
    assert privileged.stdout == b""


@pytest.mark.docker
async def test_the_disk_is_bounded(host: DockerEnvironment) -> None:
    script = "for n in 1 2 3; do head -c 10M /dev/zero > /tmp/$n || break; done; du -m --total /tmp | tail -1"
    filled = await host.run(["bash", "-c", script], timeout=60)
    assert b"No space left on device" in filled.stderr
    assert int(filled.stdout.split()[0]) <= 16


@pytest.mark.docker
async def test_processes_are_bounded(host: DockerEnvironment) -> None:
    script = "import os, time\nn = 0\ntry:\n while os.fork(): n += 1\n time.sleep(1)\nexcept BlockingIOError: print(n)"
    ran = await host.run(["python3", "-c", script], timeout=60)
    assert 80 < int(ran.stdout) < 99
