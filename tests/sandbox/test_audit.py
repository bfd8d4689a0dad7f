"""The audit: all is refused on a host of a trial's kind, holes are found on one left open, nothing counts without a control."""

from __future__ import annotations

import ast
import json
import os
import signal
import time
from collections import Counter
from functools import partial
from importlib import resources
from itertools import count

import pytest
from typer.testing import CliRunner

from sandbox.audit.inside import exhaustion
from sandbox.audit.inside.probing import Outcome, Refused, apart, judged
from sandbox.audit.subject import LIMITS, laid_bait, weakened
from sandbox.audit.suite import GROUPS, INSIDE, OUTSIDE, audit
from sandbox.environment import HostSpec
from sandbox.errors import UsageError
from sandbox.isolation import create_request

QUIET_INSIDE = ("host_files", "privilege", "kernel_surface", "socket_families", "proc_sys", "write_exec", "network")
WORKS = Outcome("returned", "")
REFUSED = Outcome("refused", "EPERM")
BROKE = Outcome("broke", "killed by SIGSEGV")


def test_there_are_probes_enough_and_each_has_a_name_of_its_own() -> None:
    names = [(group, probe.name) for group, probes in (*INSIDE.items(), *OUTSIDE.items()) for probe in probes]
    assert len(names) >= 200
    assert Counter(names).most_common(1)[0][1] == 1
    assert {"host_files", "privilege", "exhaustion", "harness_abuse", "recorder_abuse"} < set(GROUPS)


@pytest.mark.parametrize(
    ("attempt", "control", "result", "valid"),
    [
        (REFUSED, WORKS, "BLOCKED", True),
        (WORKS, WORKS, "REACHED", True),
        (WORKS, REFUSED, "REACHED", False),
        (REFUSED, REFUSED, "INVALID", False),
        (REFUSED, BROKE, "INVALID", False),
        (BROKE, WORKS, "INVALID", True),
    ],
)
def test_only_a_refusal_beside_a_working_control_is_blocked(
    attempt: Outcome, control: Outcome, result: str, valid: bool
) -> None:
    assert judged(attempt, control)[:2] == (result, valid)


def test_a_crash_a_refusal_and_a_success_are_told_apart() -> None:

    def refused() -> None:
        raise Refused("no")

    def denied() -> None:
        raise PermissionError(13, "Permission denied")

    assert apart(lambda: 5) == Outcome("returned", "5")
    assert apart(refused) == Outcome("refused", "no")
    assert apart(denied) == Outcome("refused", "EACCES: Permission denied")
    assert apart(lambda: 1 // 0).said == "broke"
    assert apart(lambda: os.kill(os.getpid(), signal.SIGKILL)) == Outcome("broke", "killed by SIGKILL")


@pytest.mark.parametrize(
    "name", sorted(p.name for p in resources.files("sandbox.audit.inside").iterdir() if p.name.endswith(".py"))
)
def test_what_runs_inside_needs_nothing_but_python(name: str) -> None:
    import sys

    tree = ast.parse(resources.files("sandbox.audit.inside").joinpath(name).read_text())
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {module for module in found if module.split(".")[0] not in sys.stdlib_module_names}
    assert foreign <= {"sandbox.audit.inside.probing"}


def test_the_weak_host_keeps_its_namespaces_and_bounds() -> None:
    request = create_request(HostSpec("agent", "web01", limits=LIMITS), image="sha256:1", binds=(), labels={})
    host = weakened(request)["HostConfig"]
    assert (host["NetworkMode"], host["PidMode"], host["IpcMode"]) == ("none", "", "private")
    assert not host["Privileged"]
    assert host["PidsLimit"] == 2 * LIMITS.pids
    assert host["Memory"] == 2 * LIMITS.memory_mb * 2**20
    assert "seccomp=unconfined" in host["SecurityOpt"]


def test_bait_is_reached_from_the_machine_and_gone_afterwards() -> None:
    with laid_bait() as bait:
        assert bait.file.read_text() == bait.secret
        assert int(bait.context()["tcp"]) == bait.tcp
    assert not bait.folder.exists()


async def test_an_unknown_group_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="no_such_group"):
        await audit("default", ["no_such_group"])


@pytest.mark.docker
@pytest.mark.parametrize("group", GROUPS)
async def test_every_probe_is_blocked_on_a_trials_own_kind_of_host(group: str) -> None:
    done = await audit("default", [group])
    assert [probe for probe in done.probes if probe.result != "BLOCKED" or not probe.control] == []
    assert done.passed


@pytest.mark.docker
async def test_a_host_left_open_fails_in_every_group_that_a_machine_must_hold() -> None:
    done = await audit("weak", QUIET_INSIDE)
    assert not done.passed
    reached = {group: {p.name for p in done.probes if p.group == group and p.result == "REACHED"} for group in QUIET_INSIDE}
    assert {"init_memory", "mount_tmpfs", "block_device_node"} <= reached["host_files"]
    assert {"super_user", "effective_capabilities", "no_new_privileges", "filter_in_force"} <= reached["privilege"]
    assert {"memfd_create", "ptrace", "mount", "keyctl", "bpf"} <= reached["kernel_surface"]
    assert {"packet", "inet_raw"} <= reached["socket_families"]
    assert {"create in /usr/bin", "alter /sbin/init", "execute_from_memory"} <= reached["write_exec"]
    assert {"make_interface", "add_address"} <= reached["network"]
    assert reached["proc_sys"]
    assert not {"machine_loopback_tcp", "machine_abstract_socket", "machine_unix_socket"} & reached["network"]


@pytest.mark.docker
async def test_looser_bounds_are_reached() -> None:
    done = await audit("weak", ["exhaustion"])
    reached = {probe.name for probe in done.probes if probe.result == "REACHED"}
    assert {"processes", "memory", "one_large_file", "open_files", "core_files"} <= reached
    assert not {"disk /tmp", "file_names"} & reached  # the trees are the engine's own, on a weak host too


def test_a_bound_of_processors_is_not_shown_by_a_machine_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    control = {probe.name: probe.control for probe in INSIDE["exhaustion"]}["processor"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert apart(lambda: control({})) == Outcome("broke", "RuntimeError: 1 processor cannot show a bound of one")


def test_processors_that_cannot_be_had_show_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    control = {probe.name: probe.control for probe in INSIDE["exhaustion"]}["processor"]
    monkeypatch.setattr(exhaustion, "_used", lambda _children, _seconds: 0.2)
    monkeypatch.setattr(time, "monotonic", partial(next, count(0, 5)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert "got 0.20 processors only" in apart(lambda: control({})).detail


@pytest.mark.docker
async def test_covering_a_tree_would_be_found() -> None:
    done = await audit("weak", ["recorder_abuse"])
    assert "covered_trees" in {probe.name for probe in done.probes if probe.result == "REACHED"}


@pytest.mark.docker
@pytest.mark.parametrize(("profile", "code"), [("default", 0), ("weak", 1)])
def test_the_command_prints_one_object_and_its_exit_code_is_the_verdict(profile: str, code: int) -> None:
    import typer

    from sandbox.cli.audit import audit as command

    app = typer.Typer()
    app.command()(command)
    ran = CliRunner().invoke(app, ["privilege", "--profile", profile, "--json"])
    assert ran.exit_code == code, ran.output
    said = json.loads(ran.stdout)
    assert said["profile"] == profile
    assert said["passed"] == (code == 0)
    assert said["runtime"] == "runc"
    assert all({"group", "name", "result", "control", "detail"} <= set(probe) for probe in said["probes"])
