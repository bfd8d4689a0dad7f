"""Whose a process is, from records alone: children of the shell, of daemons, of the engine, and ids that are used again."""

from __future__ import annotations

import time

import pytest

from sandbox.sensors import lineage
from sandbox.sensors.exectrace import Connected, Exec, Exit, Fork
from sandbox.sensors.lineage import ENGINE, NOBODY, Calls, Cause, Lineage

SHELL, SERVICE = 100, 50


class Story:
    """A lineage with a shell and a service, and records stamped as they are told."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.lineage = Lineage(self.calls)
        self.lineage.shells.add(SHELL)
        self.lineage.given(SHELL, 7)
        self.lineage.given(SERVICE, 5)

    def fork(self, pid: int, parent: int, *, entered: bool = False) -> None:
        self.lineage.feed([Fork(1, time.monotonic_ns(), pid, pid % 100, parent, entered)])

    def two_calls(self) -> None:
        """Process 101 of call c1, which has ended, and 102 of c2, which is open."""
        self.calls.begin("c1")
        self.fork(101, SHELL)
        self.calls.end()
        self.calls.begin("c2")
        self.fork(102, SHELL)

    def origin(self, pid: int) -> Cause | None:
        return self.lineage.cause(pid)


def test_a_daemon_keeps_its_call_and_so_do_its_children_in_later_ones() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SHELL)
    story.calls.end()
    story.calls.begin("c5")
    story.fork(102, 101)
    story.fork(103, SHELL)
    assert story.origin(101) == story.origin(102) == Cause("c1", "process_tree")
    assert story.origin(103) == Cause("c5", "process_tree")


def test_the_shell_itself_is_the_open_calls_and_services_are_nobodys() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SERVICE)
    assert story.origin(SHELL) is None
    assert story.origin(SERVICE) == story.origin(101) == NOBODY


def test_what_the_engine_runs_is_its_own_between_calls_and_the_calls_within() -> None:
    story = Story()
    story.fork(101, 9, entered=True)
    story.calls.begin("c1")
    story.fork(102, 9, entered=True)
    assert story.origin(101) == ENGINE
    assert story.origin(102) == Cause("c1", "process_tree")


def test_a_child_of_one_whose_birth_was_missed_is_nobodys_rather_than_a_guess() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, 4321)
    assert story.origin(101) == NOBODY


def test_an_id_used_again_by_one_whose_birth_was_missed_is_not_the_former_ones() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SHELL)
    now = time.monotonic_ns()
    (told,) = story.lineage.feed([Exit(1, now, 101, 1, 0), Exec(1, now, 101, 1, 1000, "/bin/true", ("true",), cut=False)])
    assert (told.effect.argv, told.cause) == (("true",), NOBODY)
    (told,) = story.lineage.feed([Exit(1, now, 101, 1, 0), Exit(1, now, 101, 1, 0)])
    assert (told.effect.argv, told.cause) == (("true",), NOBODY)


def test_an_id_used_again_by_another_call_tells_nothing_until_it_is_settled() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SHELL)
    story.lineage.feed([Exit(1, time.monotonic_ns(), 101, 1, 0)])
    assert story.origin(101) == Cause("c1", "process_tree"), "its deeds may be read after its end"
    story.calls.end()
    story.calls.begin("c2")
    story.fork(101, SHELL)
    assert story.origin(101) == NOBODY
    story.lineage.settle()
    assert story.origin(101) == Cause("c2", "process_tree")


def test_the_forgotten_are_those_that_were_over_a_drain_ago() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SHELL)
    story.lineage.feed([Exit(1, time.monotonic_ns(), 101, 1, 0)])
    story.lineage.settle()
    assert story.origin(101) == Cause("c1", "process_tree")
    story.lineage.settle()
    assert story.origin(101) == NOBODY


def test_an_exec_and_its_exit_are_told_with_parent_and_call_and_mere_forks_are_not() -> None:
    story = Story()
    story.calls.begin("c1")
    story.fork(101, SHELL)
    now = time.monotonic_ns()
    told = story.lineage.feed(
        [
            Exec(1, now, 101, 1, 1000, "/bin/ls", ("ls", "-l"), cut=False),
            Exit(1, now, 101, 1, 2),
            Fork(1, now, 102, 2, SHELL, entered=False),
            Exit(1, now, 102, 2, 0),
        ]
    )
    started, exited = told
    assert (started.effect.argv, started.effect.parent, started.effect.uid) == (("ls", "-l"), 7, 1000)
    assert (exited.effect.action, exited.effect.exit_code, exited.effect.exe) == ("exited", 2, "/bin/ls")
    assert started.cause == exited.cause == Cause("c1", "process_tree")


def test_the_end_of_a_service_is_told_with_its_words_as_nobodys_and_that_of_the_shell_is_not() -> None:
    story = Story()
    story.lineage.given(60, 6, ("python3", "/srv/watch/watch.py"), "/usr/bin/python3")
    story.lineage.given(SHELL + 1, 8, ("bash", "-i"), "/bin/bash")
    story.lineage.shells.add(SHELL + 1)
    story.calls.begin("c1")
    now = time.monotonic_ns()
    (ended,) = story.lineage.feed([Exit(1, now, 60, 6, 143), Exit(1, now, SHELL + 1, 8, 0)])
    assert (ended.effect.action, ended.effect.argv) == ("exited", ("python3", "/srv/watch/watch.py"))
    assert (ended.effect.exit_code, ended.effect.exe, ended.cause) == (143, "/usr/bin/python3", NOBODY)


def test_a_connection_is_its_processs_and_a_port_used_again_the_later_ones() -> None:
    story = Story()
    story.two_calls()
    now = time.monotonic_ns()
    story.lineage.feed([Connected(1, now, 101, 40000, "198.51.100.1", 443)])
    assert story.lineage.connected(40000, "198.51.100.1", 443) == Cause("c1", "socket_owner")
    story.lineage.feed([Connected(1, now, 102, 40000, "198.51.100.1", 443)])
    assert story.lineage.connected(40000, "198.51.100.1", 443) == Cause("c2", "socket_owner")
    assert story.lineage.connected(40001, "198.51.100.1", 443) == NOBODY
    story.lineage.feed([Connected(1, now, SHELL, 40002, "198.51.100.1", 80)])
    assert story.lineage.connected(40002, "198.51.100.1", 80) == Cause("c2", "socket_owner"), "the shell's own /dev/tcp"


def test_what_came_from_a_port_is_its_owners_unless_it_had_two() -> None:
    story = Story()
    story.two_calls()
    now = time.monotonic_ns()
    story.lineage.feed([Connected(1, now, 101, 40000, "198.51.100.1", 443), Connected(1, now, 101, 40000, "198.51.100.2", 443)])
    assert story.lineage.connected_from(40000) == Cause("c1", "socket_owner")
    story.lineage.feed([Connected(1, now, 102, 40000, "198.51.100.3", 443)])
    assert story.lineage.connected_from(40000) == NOBODY
    assert story.lineage.connected_from(40001) == NOBODY


def test_a_port_that_was_used_again_for_the_same_place_is_the_later_ones() -> None:
    """The earlier connection must have ended."""
    story = Story()
    story.two_calls()
    now = time.monotonic_ns()
    story.lineage.feed([Connected(1, now, pid, 40000, "198.51.100.1", 443) for pid in (101, 102)])
    assert story.lineage.connected_from(40000) == Cause("c2", "socket_owner")


def test_connections_long_past_are_forgotten_by_either_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage, "CONNECTIONS", 3)
    story = Story()
    story.two_calls()
    now = time.monotonic_ns()
    story.lineage.feed([Connected(1, now, 101, 40000, "198.51.100.1", 443), Connected(1, now, 102, 40000, "198.51.100.2", 443)])
    assert story.lineage.connected_from(40000) == NOBODY
    story.lineage.feed([Connected(1, now, 102, 40001, "198.51.100.1", 443), Connected(1, now, 102, 40002, "198.51.100.1", 443)])
    assert story.lineage.connected(40000, "198.51.100.1", 443) == NOBODY
    assert story.lineage.connected_from(40000) == Cause("c2", "socket_owner")
    story.lineage.feed([Connected(1, now, 102, 40003, "198.51.100.1", 443)])
    assert story.lineage.connected_from(40000) == NOBODY
    assert story.lineage.connected_from(40003) == Cause("c2", "socket_owner")


def test_times_find_the_call_that_was_open_then() -> None:
    calls = Calls()
    before = time.monotonic_ns()
    calls.begin("c1")
    within = time.monotonic_ns()
    calls.end()
    between = time.monotonic_ns()
    calls.begin("c2")
    assert [calls.at(t) for t in (before - 1, within, between, time.monotonic_ns())] == [None, "c1", None, "c2"]
