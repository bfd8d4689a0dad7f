"""What a host under gVisor is confined by: what counts as an opening, what proves nothing, and whose processes are whose."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sandbox.environment import HostSpec
from sandbox.hosts.certificate import QUICK
from sandbox.hosts.guests import Guests
from sandbox.hosts.gvisor import Sentry, sentry_of
from sandbox.hosts.processes import Process
from sandbox.hosts.sandboxed import PROBES, Answer, Answers, answered, beyond, seen_in_sandbox
from sandbox.isolation import create_request
from tests.sandbox.test_sentrytrace import CHILD_5, ENTERED, KILLED_3, LIFE, heard, packet

STATUS = "Uid:\t1000\t1000\t1000\t1000\nCapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nSeccomp:\t2\n"
FREELY = "Uid:\t0\t0\t0\t0\nCapInh:\t0\nCapPrm:\t3ffdfff\nCapEff:\t3ffdfff\nCapBnd:\t3ffdfff\nSeccomp:\t0\n"
LIMITS = "".join(
    f"Max {name:<22}{bound:<21}{bound:<21}{unit}\n"
    for name, bound, unit in (
        ("cpu time", "unlimited", "seconds"),
        ("file size", "1000000", "bytes"),
        ("core file size", "0", "bytes"),
        ("open files", "4096", "files"),
        ("locked memory", "65536", "bytes"),
    )
)
INSIDE = Answer(STATUS, LIMITS, "1\n0\n-1", 9, frozenset({1, 3, 9}), "7:pids:/abc\n")
REQUEST = create_request(HostSpec("agent", "web01"), image="sha256:1", binds=(), labels={})


@pytest.fixture
def apart() -> Iterator[int]:
    """A process in namespaces of its own but for process ids and groups, as a sentry is."""
    script = "echo; exec sleep 60"
    argv = ["unshare", "--net", "--mount", "--ipc", "--uts", "sh", "-c", script]
    group = next(path for path in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if path.is_dir()) / "belljar-tests"
    group.mkdir(exist_ok=True)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
        process.kill()
    group.rmdir()


def seen(init: int, inside: Answer | None = INSIDE, freely: str = FREELY) -> dict[str, str]:
    results = seen_in_sandbox("x", init, REQUEST, Answers(inside, freely, {1, 3}))
    return {result.name: result.result for result in results}


def test_a_host_without_rights_among_its_own_is_blocked(apart: int) -> None:
    assert {name: seen(apart)[name] for name in ("rights:x", "own:x")} == {"rights:x": "BLOCKED", "own:x": "BLOCKED"}


@pytest.mark.parametrize(
    "status",
    [
        STATUS.replace("CapBnd:\t0", "CapBnd:\t80"),
        STATUS.replace("Seccomp:\t2", "Seccomp:\t0"),
        STATUS.replace("1000\n", "0\n"),
        "",
    ],
)
def test_each_right_inside_is_reached(apart: int, status: str) -> None:
    assert seen(apart, INSIDE._replace(status=status))["rights:x"] == "REACHED"


@pytest.mark.parametrize("privileges", ["0\n0\n-1", "1\n0\n0", "-1\n0\n-1", ""])
def test_new_privileges_and_an_ambient_set_that_is_not_shown_are_reached(apart: int, privileges: str) -> None:
    assert seen(apart, INSIDE._replace(privileges=privileges))["rights:x"] == "REACHED"


@pytest.mark.parametrize("freely", ["", STATUS, FREELY.replace("Seccomp:\t0", "Seccomp:\t2")])
def test_rights_beside_a_free_process_that_shows_none_prove_nothing(apart: int, freely: str) -> None:
    assert seen(apart, freely=freely)["rights:x"] == "INVALID"


def test_an_interpreter_that_answers_yes_to_everything_proves_nothing(apart: int) -> None:
    assert seen(apart, INSIDE._replace(privileges="1\n1\n-1"))["rights:x"] == "INVALID"


def test_a_process_that_the_trace_does_not_know_is_a_stranger(apart: int) -> None:
    assert seen(apart, INSIDE._replace(ids=frozenset({1, 3, 9, 77})))["own:x"] == "REACHED"
    assert seen(apart, INSIDE._replace(ids=frozenset({1, 3})))["own:x"] == "INVALID"


def test_a_group_of_this_machine_that_is_seen_inside_is_reached(apart: int) -> None:
    assert seen(apart, INSIDE._replace(groups="7:pids:/belljar-tests\n"))["own:x"] == "REACHED"


def test_a_sentry_in_the_machines_own_namespaces_is_reached() -> None:
    assert seen(os.getpid())["own:x"] == "REACHED"


def test_what_a_sandbox_may_on_this_machine_beyond_its_work_is_reached(apart: int) -> None:
    assert seen(apart)["sandbox:x"] == "REACHED"  # a super-user's process without a filter


@pytest.mark.parametrize("name", ["Inh", "Prm", "Eff", "Bnd", "Amb"])
def test_a_sentry_may_trace_and_no_more_in_any_set(name: str) -> None:
    sets = {each: f"Cap{each}:\t0000000000080000\n" for each in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    rest = "Uid:\t0\t0\t0\t0\nNoNewPrivs:\t1\nSeccomp:\t2\n"
    assert beyond("".join(sets.values()) + rest, 1 << 19) == {}
    more = {**sets, name: f"Cap{name}:\t0000000000280000\n"}
    assert set(beyond("".join(more.values()) + rest, 1 << 19)) == {"capabilities"}
    fewer = {each: line for each, line in sets.items() if each != name}
    assert set(beyond("".join(fewer.values()) + rest, 1 << 19)) == {"capabilities"}


@pytest.mark.parametrize("cut", ["", "a\n=\nb\n", "=\n=\n=\nno\n=\n"])
def test_a_host_that_does_not_answer_whole_proves_nothing(apart: int, cut: str) -> None:
    assert answered(cut.encode()) is None
    results = seen(apart, None)
    assert {results[name] for name in ("rights:x", "own:x", "bounds:x")} == {"INVALID"}


def test_an_answer_is_read_in_its_parts() -> None:
    said = f"{STATUS}=\n{LIMITS}=\n1\n0\n-1\n=\n9 /proc/1 /proc/3 /proc/9\n=\n7:pids:/abc\n"
    assert answered(said.encode()) == INSIDE


def test_every_quick_probe_has_its_like_under_gvisor() -> None:
    assert [(each.group, each.name) for each in PROBES] == [(each.group, each.name) for each in QUICK]
    assert {a.name for a, b in zip(PROBES, QUICK, strict=True) if a != b} == {"init_environment", "no_new_privileges"}


class Signalled(Sentry):
    def __init__(self) -> None:
        super().__init__(os.getpid(), "c", 1, "")
        self.told: list[tuple[Sequence[int], int]] = []

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        self.told.append((pids, number))


async def test_the_hosts_own_processes_are_found_and_those_that_are_gone_are_not_signalled() -> None:
    sentry, trace = Signalled(), heard(*LIFE)
    guests = Guests(sentry, trace)
    shell, child = guests.find(3), guests.find(5)
    assert shell is not None
    assert child is not None
    assert guests.born_of(3, frozenset({shell})) == [child]
    assert guests.born_of(3, frozenset({shell, child})) == []
    assert guests.folder_of(3) == "/tmp"
    assert guests.arguments() == ["/bin/true", "bash\0-c\0cd.."]
    assert (facts := guests.facts(child)) is not None
    assert (facts.parent, facts.inner, facts.uid, facts.argv) == (3, 5, 1000, ("/bin/true",))
    await guests.send([shell, child, Process(3, 1), Process(99, 0)], signal.SIGKILL)
    assert sentry.told == [([3, 5], signal.SIGKILL)]
    trace.take(packet(*KILLED_3))
    assert guests.find(3) is None
    assert guests.born_of(3, frozenset()) == [child]  # an orphan now


def test_nobody_under_gvisor_is_known_to_have_been_idle() -> None:
    guests = Guests(Signalled(), heard(ENTERED, CHILD_5))
    assert guests.activity(guests.alive()) != guests.activity(guests.alive())
    assert not guests.asleep()


def test_a_process_that_is_no_sentry_is_not_taken_for_one() -> None:
    assert sentry_of(os.getpid(), "c") is None
