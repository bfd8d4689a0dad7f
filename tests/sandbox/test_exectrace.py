"""Processes told by the kernel itself: none too short-lived, no argument that forges another record, losses counted."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.sensors.btf import KERNEL, Layout
from sandbox.sensors.collector import Collector
from sandbox.sensors.exectrace import ARGS_BYTES, Connected, Exec, ExecTrace, Exit, Fork, space_of

pytestmark = pytest.mark.docker  # needs root on the host


class Space:
    """A pid namespace of the test's own, in which a shell runs what it is given."""

    def __init__(self) -> None:
        argv = ["unshare", "--pid", "--net", "--fork", "--kill-child", "bash", "--norc", "-s"]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.run("echo ready") == b"ready\n"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.shell = int(children.read_text().split()[0])
        self.id = space_of(self.shell)

    def run(self, script: str) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(script.encode() + b"\nprintf '\\0'\n")
        self.process.stdin.flush()
        said = b""
        while not said.endswith(b"\0"):
            said += self.process.stdout.read(1)
        return said[:-1]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def space() -> Iterator[Space]:
    space = Space()
    yield space
    space.close()


@pytest.fixture
def trace(space: Space) -> Iterator[ExecTrace]:
    trace = ExecTrace()
    trace.watch(space.id)
    yield trace
    trace.close()


def test_of_three_hundred_short_lives_none_is_missed(space: Space, trace: ExecTrace) -> None:
    space.run("for i in {1..300}; do /bin/true $i; done")
    records = list(trace.take(10_000))
    assert [e.argv for e in records if isinstance(e, Exec)] == [("/bin/true", str(i)) for i in range(1, 301)]
    assert sum(isinstance(e, Fork) for e in records) == sum(isinstance(e, Exit) for e in records) == 300
    assert trace.lost() == 0
    assert trace.empty


def test_arguments_are_kept_apart_whatever_they_hold_and_cut_ones_say_so(space: Space, trace: ExecTrace) -> None:
    long = f"$(printf 'x%.0s' {{1..{ARGS_BYTES}}})"
    space.run(f"/bin/true $'a\\nb' '' $'\\xff' 'c d'; /bin/true {long}; env -i /bin/true; (exec -a '' /bin/true)")
    runs = [e for e in trace.take(10_000) if isinstance(e, Exec) and e.exe == "/bin/true"]
    assert runs[0].argv == ("/bin/true", "a\nb", "", "\\xff", "c d")
    assert not runs[0].cut
    assert runs[1].cut
    assert runs[1].argv[1].startswith("xxxx")
    assert runs[3].argv == ("",)


def test_ends_are_told_as_a_shell_would_and_the_engine_is_told_from_inmates(space: Space, trace: ExecTrace) -> None:
    space.run("sh -c 'exit 41'; sh -c 'kill -9 $$'; (:)")
    before = list(trace.take(10_000))
    assert [e.code for e in before if isinstance(e, Exit)] == [41, 137, 0]
    assert not any(e.entered for e in before if isinstance(e, Fork))
    subprocess.run(["nsenter", "-t", str(space.shell), "-p", "true"], check=True)
    entered = [e for e in trace.take(10_000) if isinstance(e, Fork)]
    assert [e.entered for e in entered] == [True]


def test_other_namespaces_are_none_of_its_business(trace: ExecTrace) -> None:
    subprocess.run(["true"], check=True)
    assert list(trace.take(100)) == []


def test_a_connection_is_told_with_who_asked_for_it(space: Space, trace: ExecTrace) -> None:
    space.run("nsenter -t $$ true 2>/dev/null; ip link set lo up; (exec 3<>/dev/tcp/127.0.0.1/9) 2>/dev/null")
    (asked,) = [e for e in trace.take(10_000) if isinstance(e, Connected)]
    assert (asked.address, asked.to_port) == ("127.0.0.1", 9)
    assert asked.port > 0
    assert asked.pid != space.shell


def test_what_finds_no_room_is_counted(space: Space) -> None:
    trace = ExecTrace(ring_bytes=4096)
    trace.watch(space.id)
    space.run("for i in {1..100}; do /bin/true; done")
    kept = len(list(trace.take(10_000)))
    assert kept + trace.lost() == 300
    assert trace.lost() == 0
    trace.close()


def test_the_collector_hands_each_its_own_and_counts_a_full_queue(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.sensors.collector.RECORDS", 50)
    other, collector = Space(), Collector()
    try:
        collector.join(space.id)
        collector.join(other.id)
        space.run("for i in {1..100}; do /bin/true; done")
        other.run("/bin/true; /bin/true")
        records, lost = collector.drain(space.id)
        assert (len(records), lost) == (50, 250)
        assert collector.drain(space.id) == ([], 0)
        records, lost = collector.drain(other.id)
        assert (len(records), lost) == (6, 0)
        collector.leave(space.id)
        space.run("/bin/true")
        with pytest.raises(LookupError):  # nothing was heard there, which is not the same as nothing having happened
            collector.drain(space.id)
    finally:
        collector.leave(other.id)
        other.close()


def test_times_are_of_the_monotonic_clock(space: Space, trace: ExecTrace) -> None:
    before = time.monotonic_ns()
    space.run("/bin/true")
    after = time.monotonic_ns()
    assert all(before < record.at_ns < after for record in trace.take(100))


def test_the_kernels_own_types_are_read() -> None:
    layout = Layout({"list_head": ("next", "prev"), "mm_struct": ("arg_start", "arg_end")})
    assert (layout["list_head", "next"], layout["list_head", "prev"]) == (0, 8)
    assert layout["mm_struct", "arg_end"] == layout["mm_struct", "arg_start"] + 8
    with pytest.raises(ValueError, match=r"no list_head\.middle"):
        layout["list_head", "middle"]
    blob = KERNEL.read_bytes()
    with pytest.raises(ValueError, match=r"cannot be read|not BTF"):
        Layout({"list_head": ("next",)}, blob[:1000])
