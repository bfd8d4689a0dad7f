"""The quick certificate: its probes on what a process says of itself, the calls of its surface, what is read from outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sandbox.audit.subject import WeakEnvironment
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostLimits, HostSpec
from sandbox.errors import ContainmentError
from sandbox.events import ContainmentCertificate, ProbeResult
from sandbox.hosts import surface
from sandbox.hosts.certificate import QUICK
from sandbox.hosts.outside import KINDS, openings, seen_from_outside
from sandbox.isolation import create_request
from sandbox.sensors.changes import in_memory
from sandbox.world.world import World

PROBES = {probe.name: probe for probe in QUICK}
CLOSED = "".join(f"Cap{kind}:\t{'0' * 16}\n" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")) + "NoNewPrivs:\t1\nSeccomp:\t2\n"


def holds(command: str, status: Path) -> bool:
    said = subprocess.run(["bash", "-c", command.replace("{status}", str(status))], check=False, capture_output=True)
    return said.returncode == 0


@pytest.mark.parametrize("name", ["capabilities", "no_new_privileges", "system_call_filter"])
def test_a_closed_process_is_blocked_beside_its_control(name: str, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(CLOSED)
    assert not holds(PROBES[name].attempt, status)
    assert holds(PROBES[name].control, status)


@pytest.mark.parametrize(
    ("name", "closed", "open_"),
    [
        *(
            ("capabilities", f"Cap{kind}:\t{'0' * 16}", f"Cap{kind}:\t0000000000000400")
            for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")
        ),
        ("capabilities", "CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff"),
        ("no_new_privileges", "NoNewPrivs:\t1", "NoNewPrivs:\t0"),
        ("system_call_filter", "Seccomp:\t2", "Seccomp:\t0"),
    ],
)
def test_each_opening_is_reached(name: str, closed: str, open_: str, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(CLOSED.replace(closed, open_))
    assert holds(PROBES[name].attempt, status)


@pytest.mark.parametrize("name", ["capabilities", "no_new_privileges", "system_call_filter"])
def test_what_cannot_be_read_proves_nothing(name: str, tmp_path: Path) -> None:
    assert not holds(PROBES[name].control, tmp_path / "missing")


GROUPS = {"host_files", "privilege", "kernel_surface", "socket_families", "proc_sys", "write_exec", "exhaustion"}
PERMITTED = [b"77 0", b"3 0", b"4 0", b"5 0"]
REFUSED = b"-1 1"


def surfaced(*answers: bytes, permitted: list[bytes] = PERMITTED) -> dict[str, ProbeResult]:
    """Results by name where the first calls were answered so and all others were refused."""
    rest = [REFUSED] * (len(surface.SURFACE) - len(answers))
    return {result.name: result for result in surface.judged([*permitted, *answers, *rest])}


def test_every_group_is_tried_inside() -> None:
    assert {probe.group for probe in (*QUICK, *surface.SURFACE)} == GROUPS


def test_refused_calls_are_blocked_beside_permitted_ones() -> None:
    assert {result.result for result in surfaced().values()} == {"BLOCKED"}
    assert {result.result for result in surfaced(b"-1 38").values()} == {"BLOCKED"}


@pytest.mark.parametrize("answer", [b"3 0", b"-1 14", b"-1 22"])
def test_a_call_that_the_kernel_answered_is_reached(answer: bytes) -> None:
    results = surfaced(answer)
    assert [name for name, result in results.items() if result.result == "REACHED"] == [surface.SURFACE[0].name]


@pytest.mark.parametrize(("broken", "group"), [(0, "kernel_surface"), (2, "socket_families")])
def test_refusals_beside_a_permitted_call_that_fails_prove_nothing(broken: int, group: str) -> None:
    permitted = [REFUSED if n == broken else answer for n, answer in enumerate(PERMITTED)]
    results = surfaced(permitted=permitted).values()
    assert {result.group for result in results if result.result == "INVALID"} == {group}


def test_a_process_that_ended_early_proves_nothing() -> None:
    assert {result.result for result in surface.judged([*PERMITTED, REFUSED])} == {"INVALID"}


def test_a_process_without_rights_shows_no_opening_and_the_engine_shows_them_all() -> None:
    assert openings(CLOSED + "Uid:\t1000\t1000\t1000\t1000\n") == {}
    assert set(openings(Path("/proc/self/status").read_text())) == set(KINDS)
    assert set(openings("")) == set(KINDS)


@pytest.mark.parametrize(
    ("closed", "open_", "kind"),
    [
        ("CapBnd:\t0000000000000000", "CapBnd:\t000001ffffffffff", "capabilities"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "new privileges"),
        ("Seccomp:\t2", "Seccomp:\t0", "no filter"),
        ("Uid:\t1000\t1000", "Uid:\t1000\t0", "super-user"),
    ],
)
def test_each_right_is_an_opening_of_its_kind(closed: str, open_: str, kind: str) -> None:
    status = CLOSED + "Uid:\t1000\t1000\t1000\t1000\n"
    assert set(openings(status.replace(closed, open_))) == {kind}


def test_the_engines_own_process_is_refused_as_a_container() -> None:
    request = create_request(HostSpec("agent", "web01"), image="sha256:1", binds=(), labels={})
    results = {result.name: result for result in seen_from_outside("x", os.getpid(), request)}
    assert results["rights:x"].result == results["own:x"].result == "REACHED"
    assert results["bounds:x"].result != "BLOCKED"  # a machine's topmost group has no bound to be read
    assert "shared: net" in results["own:x"].detail


def test_a_process_that_is_gone_proves_nothing() -> None:
    request = create_request(HostSpec("agent", "web01"), image="sha256:1", binds=(), labels={})
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert {result.result for result in seen_from_outside("x", gone.pid, request)} == {"INVALID"}


SPEC = EnvironmentSpec(
    tuple(HostSpec(name, name, limits=HostLimits(disk_mb=16, memory_mb=128)) for name in ("agent", "spare")),
    world={"sites": []},
)


@pytest.mark.docker
async def test_every_container_of_a_trial_is_read_from_outside_one_that_starts_later_too() -> None:
    network = World(SPEC, trial="certified", labels={"belljar.run": "tests"}, keep=in_memory)
    options = {"trial": "certified", "labels": {"belljar.run": "tests"}}
    async with DockerEnvironment(SPEC, network=network, **options) as environment:  # type: ignore[arg-type]
        certificate = await environment.certify()
        assert certificate.passed
        assert {p.name for p in certificate.probes if p.name.startswith(("rights:", "own:", "bounds:"))} == {
            f"{what}:{name}" for what in ("rights", "own", "bounds") for name in ("agent", "spare", "world")
        }
        assert GROUPS | {"network", "namespaces"} == {probe.group for probe in certificate.probes}

        async def wire(_: int) -> None: ...

        await environment.add_host(HostSpec("later", "later", limits=HostLimits(disk_mb=16)), wire)
        (later,) = [draft.body for draft in await environment.effects() if isinstance(draft.body, ContainmentCertificate)]
        assert later.passed
        assert {probe.name for probe in later.probes} == {"rights:later", "own:later", "bounds:later"}


@pytest.mark.docker
async def test_a_host_left_open_is_seen_from_outside_and_inside() -> None:
    spec = EnvironmentSpec(SPEC.hosts[:1])
    async with WeakEnvironment(spec, trial="weak", labels={"belljar.run": "tests"}) as environment:
        certificate = await environment.certify()
    assert not certificate.passed
    reached = {probe.name for probe in certificate.probes if probe.result == "REACHED"}
    assert {"rights:agent", "bounds:agent"} <= reached
    assert {"ptrace", "memfd_create", "packet", "super_user", "write_root", "write_hostname", "init_memory"} <= reached


@pytest.mark.docker
async def test_a_later_host_that_is_not_closed_is_refused_and_the_trial_does_not_pass() -> None:
    async with DockerEnvironment(EnvironmentSpec(SPEC.hosts[:1]), trial="x", labels={"belljar.run": "tests"}) as environment:

        async def wire(_: int) -> None:
            raise ContainmentError("A started instance is not closed in: eth0.")

        with pytest.raises(ContainmentError):
            await environment.add_host(HostSpec("later", "later", limits=HostLimits(disk_mb=16)), wire)
        (later,) = [draft.body for draft in await environment.effects() if isinstance(draft.body, ContainmentCertificate)]
        assert not later.passed
        assert "later" not in environment.hosts
