"""The wire sensor: what frames mean, and what may be said of a connection."""

import socket
import struct
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sandbox.sensors.taps import ACK, FIN, RST, SYN, Packet, Tap, assemble, parse

HOST, PEER, WEB = "10.20.0.5", "10.20.0.11", "198.51.100.20"


def tap() -> Tap:
    return Tap("agent", frozenset({HOST}), frozenset({PEER}))


def tcp(flags: int, sequence: int = 0, *, back: bool = False, to: str = PEER, port: int = 22) -> tuple[Packet, bool]:
    if back:
        return Packet("tcp", to, HOST, port, 40000, flags, sequence), False
    return Packet("tcp", HOST, to, 40000, port, flags, sequence), True


def told(sensor: Tap, *packets: tuple[Packet, bool], last: bool = False) -> list[tuple[str, dict]]:
    for packet, from_host in packets:
        sensor.saw(packet, from_host=from_host)
    return [(draft.body.action, draft.body.detail) for _, draft in sensor.drain(last=last)]


def test_a_connection_between_hosts_tells_how_many_bytes_went_each_way() -> None:
    events = told(
        tap(),
        tcp(SYN, 1000),
        tcp(SYN | ACK, 5000, back=True),
        tcp(FIN | ACK, 1000 + 1 + 4096),
        tcp(FIN | ACK, 5000 + 1 + 77, back=True),
    )
    assert events == [("connected", {}), ("closed", {"sent_bytes": 4096, "received_bytes": 77})]


def test_sequence_numbers_that_wrap_count_right() -> None:
    start = 2**32 - 10
    events = told(tap(), tcp(SYN, start), tcp(SYN | ACK, 1, back=True), tcp(FIN, 90), tcp(FIN, 2, back=True))
    assert events[-1] == ("closed", {"sent_bytes": 99, "received_bytes": 0})


def test_a_reset_is_a_refusal_and_no_answer_is_silence() -> None:
    assert told(tap(), tcp(SYN, 1), tcp(RST | ACK, 0, back=True)) == [("refused", {"how": "reset"})]
    assert told(tap(), tcp(SYN, 1), last=True) == [("refused", {"how": "silence"})]


def test_a_repeated_attempt_is_told_once() -> None:
    sensor = tap()
    assert told(sensor, tcp(SYN, 1), tcp(SYN, 1), last=True) == [("refused", {"how": "silence"})]
    assert told(sensor, tcp(SYN, 1), last=True) == []


def test_the_end_of_a_connection_to_the_world_is_not_told() -> None:
    web = {"to": WEB, "port": 80}
    events = told(
        tap(), tcp(SYN, 1, **web), tcp(SYN | ACK, 1, back=True, **web), tcp(FIN, 9, **web), tcp(FIN, 9, back=True, **web)
    )
    assert events == [("connected", {})]


def test_a_router_that_complains_is_a_refusal() -> None:
    inner = Packet("tcp", HOST, "203.0.113.9", 40000, 443)
    complaint = Packet("icmp", "10.20.0.1", HOST, kind=3, inner=inner)
    events = told(tap(), tcp(SYN, 1, to="203.0.113.9", port=443), (complaint, False))
    assert events == [("refused", {"how": "unreachable", "by": "10.20.0.1"})]


def test_datagrams_and_pings_are_told_once_for_each_destination() -> None:
    udp = Packet("udp", HOST, WEB, 5000, 123)
    ping = Packet("icmp", HOST, WEB, kind=8)
    sensor = tap()
    assert told(sensor, (udp, True), (udp, True), (ping, True), (ping, True)) == [("connected", {}), ("connected", {})]


def test_a_flood_is_bounded_and_counted() -> None:
    sensor = tap()
    for port in range(3000):
        sensor.saw(Packet("tcp", HOST, PEER, 40000, port, SYN, 1), from_host=True)
        sensor.saw(Packet("tcp", PEER, HOST, port, 40000, RST, 0), from_host=False)
    drafts = [draft.body for _, draft in sensor.drain()]
    assert len(drafts) == 1001
    assert (drafts[-1].kind, drafts[-1].state, drafts[-1].count) == ("sensor", "dropped", 2000)


def test_frames_are_read_by_their_fixed_fields() -> None:
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, socket.inet_aton(HOST), socket.inet_aton(WEB))
    segment = struct.pack("!HHIIBBHHH", 40000, 443, 77, 0, 0x50, SYN, 100, 0, 0)
    assert parse(b"\0" * 12 + b"\x08\x00" + ip + segment) == Packet("tcp", HOST, WEB, 40000, 443, SYN, 77)


@given(st.binary(max_size=200))
def test_no_frame_breaks_the_reader(frame: bytes) -> None:
    packet = parse(frame)
    if packet is not None:
        tap().saw(packet, from_host=True)


def test_a_tap_that_closes_is_forgotten_by_the_loop_that_reads_it() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    forgotten: list[int] = []
    with other:
        sensor = replace(tap(), socket=one, forget=forgotten.append)
        number = one.fileno()
        sensor.close()
    assert (forgotten, sensor.socket) == ([number], None)


def test_the_kernel_takes_the_filter() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        import ctypes

        from sandbox.sensors.taps import SO_ATTACH_FILTER, _Program

        code = assemble()
        buffer = ctypes.create_string_buffer(code, len(code))
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(_Program(len(code) // 8, ctypes.addressof(buffer))))
