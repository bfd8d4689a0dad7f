"""The trace of a gVisor sandbox: packets that one sent (runsc 20240729), and what does not fit."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import pytest

from sandbox.sensors.exectrace import Exec, Exit, Fork
from sandbox.sensors.sentrytrace import INIT, SentryTrace, fields

MARK = "/.nonce"
ENTERED = (13, "0a1108bebaf9c289a686f6181003200342012f120210021850209cffffffffffffffff01320a2f2e6e6f6e6365313233")
BASH = (
    3,
    "0a25089e9e86dd89a686f618100320033a1208e80710e80718e80720e80728e80730e80742012f120d2f7573722f62696e2f626173681a04626173681a022d"
    "631a0463642e2e28ed8302",
)
TO_TMP = (13, "0a1408bdfa9afd89a686f6181003200342042f746d7012001850209cffffffffffffffff0132042f746d70")
CHILD_4 = (
    2,
    "0a2808938bc6fd89a686f618100320033a1208e80710e80718e80720e80728e80730e80742042f746d70180420042886f2c5fd89a686f6183080808009",
)
EXIT_4 = (4, "0a0e0888d1d38b8aa686f6181004200410800e")
CHILD_5 = (
    2,
    "0a2808cefedb8c8aa686f618100320033a1208e80710e80718e80720e80728e80730e80742042f746d701805200528c7d3db8c8aa686f6183080808009",
)
TRUE = (
    3,
    "0a2808b7fca6918aa686f618100520053a1208e80710e80718e80720e80728e80730e80742042f746d70120d2f7573722f62696e2f747275651a092f62696e"
    "2f7472756528ed8302",
)
EXIT_5 = (4, "0a0e08bad8a2a78aa686f61810052005")
KILLED_3 = (4, "0a0e08f1c0cecb8ba686f618100320031009")
LIFE = (ENTERED, BASH, TO_TMP, CHILD_4, EXIT_4, CHILD_5, TRUE)


def packet(kind: int, message: str, dropped: int = 0) -> bytes:
    return struct.pack("<HHI", 8, kind, dropped) + bytes.fromhex(message)


def heard(*packets: tuple[int, str]) -> SentryTrace:
    trace = SentryTrace(MARK)
    for each in packets:
        trace.take(packet(*each))
    return trace


def test_a_process_that_enters_its_children_and_their_ends_are_told_in_order() -> None:
    trace = heard(*LIFE, EXIT_5, KILLED_3)
    records, lost = trace.drain()
    assert lost == 0
    assert [(type(r), r.pid) for r in records] == [
        (Fork, 3), (Exec, 3), (Fork, 4), (Exit, 4), (Fork, 5), (Exec, 5), (Exit, 5), (Exit, 3),
    ]  # fmt: skip
    entered, child = records[0], records[2]
    assert isinstance(entered, Fork)
    assert entered.entered
    assert isinstance(child, Fork)
    assert (child.entered, child.parent) == (False, 3)
    assert [(r.uid, r.exe, r.argv) for r in records if isinstance(r, Exec)] == [
        (1000, "/usr/bin/bash", ("bash", "-c", "cd..")),
        (1000, "/usr/bin/true", ("/bin/true",)),
    ]
    assert [r.code for r in records if isinstance(r, Exit)] == [7, 0, 137]
    assert [r.at_ns for r in records] == sorted(r.at_ns for r in records)


def test_times_are_those_of_the_monotonic_clock() -> None:
    ((record, *_), _) = heard(ENTERED).drain()
    context = fields(bytes.fromhex(ENTERED[1]))[1][0]
    assert isinstance(context, bytes)
    ((sent,), at) = (fields(context)[1], record.at_ns)
    assert isinstance(sent, int)
    assert at == pytest.approx(sent - (time.time_ns() - time.monotonic_ns()), abs=50_000_000)


def test_who_is_there_where_and_what_it_runs_is_known() -> None:
    trace = heard(*LIFE)
    assert trace.entered("123") == 3
    assert trace.entered("124") == 0
    guests = trace.guests()
    assert set(guests) == {INIT, 3, 5}
    assert (guests[3].folder, guests[3].argv, guests[3].uid) == ("/tmp", ("bash", "-c", "cd.."), 1000)
    assert (guests[5].parent, guests[5].exe) == (3, "/usr/bin/true")
    trace.take(packet(*KILLED_3))
    assert trace.guests()[5].parent == INIT


def test_a_process_that_is_known_cannot_enter_again_under_a_token_of_its_choice() -> None:
    forged = (13, ENTERED[1].replace("313233", "343536"))
    trace = heard(ENTERED, forged)
    assert trace.entered("456") == 0
    assert len(trace.drain()[0]) == 1


def test_a_thread_is_no_process() -> None:
    thread = (2, CHILD_4[1].replace("18042004", "18042003"))
    trace = heard(ENTERED, thread)
    assert set(trace.guests()) == {INIT, 3}
    assert len(trace.drain()[0]) == 1


@pytest.mark.parametrize("message", ["0a", "0aff", "0a1108", "0b", ENTERED[1][:-2], "ff" * 12])
def test_what_cannot_be_read_is_missing_and_nothing_else(message: str) -> None:
    trace = heard(ENTERED, (13, message), BASH)
    records, lost = trace.drain()
    assert ([type(r) for r in records], lost) == ([Fork, Exec], 1)
    assert trace.drain() == ([], 0)


def test_points_that_the_sandbox_dropped_are_missing_once() -> None:
    trace = heard(ENTERED)
    trace.take(packet(*BASH, dropped=3))
    trace.take(packet(*TO_TMP, dropped=5))
    assert trace.drain()[1] == 5
    trace.take(packet(*CHILD_4, dropped=5))
    assert trace.drain()[1] == 0


def test_fields_are_numbers_or_bytes_and_each_may_come_again() -> None:
    assert fields(bytes.fromhex("08960112026869" + "12021a1b")) == {1: [150], 2: [b"hi", b"\x1a\x1b"]}
    assert fields(bytes.fromhex("209cffffffffffffffff01")) == {4: [2**64 - 100]}


def test_a_sentry_that_calls_is_answered_and_its_end_is_no_silence(tmp_path: Path) -> None:
    sentry = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def call(address: Path) -> None:
        sentry.connect(str(address))
        sentry.send(b"\x08\x01")
        assert sentry.recv(100) == b"\x08\x01"

    trace = SentryTrace(MARK)
    trace.connect(tmp_path, call)
    for each in LIFE:
        sentry.send(packet(*each))
    assert len(trace.drain()[0]) == 6  # all that was sent before it was asked for
    sentry.send(packet(*KILLED_3))
    sentry.close()
    assert [type(record) for record in trace.drain()[0]] == [Exit]
    with pytest.raises(LookupError, match="ended"):
        trace.drain()
    trace.close()
