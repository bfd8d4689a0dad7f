"""Watches the wires of a trial from outside: who opened, was refused or closed a connection to whom, and who pinged.

A packet socket sits on the world's end of every host's veth and sees what no process inside can hide or alter, traffic
between hosts included. The kernel filters first: only the packets that begin or end something reach the engine, which
reads their fixed header fields and nothing more.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from sandbox.events import Draft, NetworkEffect, SensorState

SENSOR = "wire"
ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_ATTACH_FILTER = 26
SO_TIMESTAMPNS = 35
SNAP = 160
SILENCE_NS = 50_000_000
"""A connection that has no answer after this long was met with silence: an answer takes microseconds here."""

OPENED_LIMIT = 50_000
EVENT_LIMIT = 1000
"""Events of one host between two drains; more are counted as dropped."""

FIN, SYN, RST, ACK = 1, 2, 4, 16

# (label or None, code, operand, true, false): classic BPF with jumps by label, None for the next instruction.
_LD_H, _LD_B, _LDX_MSH = 0x28, 0x30, 0xB1
_LD_H_IND, _LD_B_IND = 0x48, 0x50
_JEQ, _JSET, _RET = 0x15, 0x45, 0x06
_PROGRAM: tuple[tuple[str | None, int, int, str | None, str | None], ...] = (
    (None, _LD_H, 12, None, None),
    (None, _JEQ, 0x0800, "ip4", None),
    (None, _JEQ, 0x86DD, "ip6", "drop"),
    ("ip4", _LD_H, 20, None, None),
    (None, _JSET, 0x1FFF, "drop", None),
    (None, _LD_B, 23, None, None),
    (None, _JEQ, 6, "tcp4", None),
    (None, _JEQ, 17, "udp4", None),
    (None, _JEQ, 1, "icmp4", "drop"),
    ("tcp4", _LDX_MSH, 14, None, None),
    (None, _LD_B_IND, 27, None, None),
    (None, _JSET, FIN | SYN | RST, "take", "drop"),
    ("udp4", _LDX_MSH, 14, None, None),
    (None, _LD_H_IND, 14, None, None),
    (None, _JEQ, 53, "drop", None),
    (None, _LD_H_IND, 16, None, None),
    (None, _JEQ, 53, "drop", "take"),
    ("icmp4", _LDX_MSH, 14, None, None),
    (None, _LD_B_IND, 14, None, None),
    (None, _JEQ, 8, "take", None),
    (None, _JEQ, 3, "take", "drop"),
    ("ip6", _LD_B, 20, None, None),
    (None, _JEQ, 6, "tcp6", None),
    (None, _JEQ, 17, "udp6", None),
    (None, _JEQ, 58, "icmp6", "drop"),
    ("tcp6", _LD_B, 67, None, None),
    (None, _JSET, FIN | SYN | RST, "take", "drop"),
    ("udp6", _LD_H, 54, None, None),
    (None, _JEQ, 53, "drop", None),
    (None, _LD_H, 56, None, None),
    (None, _JEQ, 53, "drop", "take"),
    ("icmp6", _LD_B, 54, None, None),
    (None, _JEQ, 128, "take", None),
    (None, _JEQ, 1, "take", "drop"),
    ("take", _RET, SNAP, None, None),
    ("drop", _RET, 0, None, None),
)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def assemble() -> bytes:
    """The filter in the kernel's form: eight bytes an instruction."""
    places = {label: index for index, (label, *_) in enumerate(_PROGRAM) if label}
    return b"".join(
        struct.pack("=HBBI", code, *(places[j] - index - 1 if j else 0 for j in (yes, no)), operand)
        for index, (_, code, operand, yes, no) in enumerate(_PROGRAM)
    )


def open_tap(interface: str) -> socket.socket:
    """A filtered packet socket on `interface` of the namespace that this thread is in."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    code = assemble()
    buffer = ctypes.create_string_buffer(code, len(code))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, bytes(_Program(len(code) // 8, ctypes.addressof(buffer))))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    tap.bind((interface, ETH_P_ALL))
    tap.setblocking(False)
    return tap


class Packet(NamedTuple):
    """The fields that count. `sequence` and `flags` of TCP; `kind` of ICMP; `inner` is what an ICMP error complains of."""

    protocol: str
    source: str
    destination: str
    source_port: int = 0
    port: int = 0
    flags: int = 0
    sequence: int = 0
    kind: int = 0
    inner: Packet | None = None


def parse(frame: bytes) -> Packet | None:
    """An Ethernet frame's fields; None for what is cut short or of no interest."""
    try:
        return _parse_ip(frame[14:])
    except (struct.error, IndexError, ValueError):
        return None


def _parse_ip(data: bytes, depth: int = 0) -> Packet | None:
    if data[0] >> 4 == 4:
        protocol, start = data[9], (data[0] & 15) * 4
        source, destination = str(IPv4Address(data[12:16])), str(IPv4Address(data[16:20]))
    elif data[0] >> 4 == 6:
        protocol, start = data[6], 40
        source, destination = str(IPv6Address(data[8:24])), str(IPv6Address(data[24:40]))
    else:
        return None
    body = data[start:]
    if protocol in (6, 17):
        source_port, port = struct.unpack("!HH", body[:4])
        if protocol == 17:
            return Packet("udp", source, destination, source_port, port)
        (sequence,) = struct.unpack("!I", body[4:8])
        flags = body[13] if len(body) > 13 else 0
        return Packet("tcp", source, destination, source_port, port, flags, sequence)
    if protocol in (1, 58):
        is_error = (protocol, body[0]) in ((1, 3), (58, 1))
        inner = _parse_ip(body[8:], depth + 1) if is_error and depth == 0 else None
        return Packet("icmp", source, destination, kind=body[0], inner=inner)
    return None


Key = tuple[str, int, str, int]


@dataclass
class _Flow:
    """A TCP connection that this host began: sequence numbers at its start, and at its end once they are known."""

    began_ns: int
    sent_from: int
    answered: bool = False
    got_from: int = 0
    sent_to: int | None = None
    got_to: int | None = None
    told: bool = False


@dataclass
class Tap:
    """One host's wire. `peers` are the other hosts' addresses: the end of a connection to one of them is told as well.
    `opened` remembers every connection that was answered, as (own address, port, address, port)."""

    host: str
    own: frozenset[str]
    peers: frozenset[str]
    socket: socket.socket | None = None
    flows: dict[Key, _Flow] = field(default_factory=dict)
    datagrams: set[tuple[str, str, int]] = field(default_factory=set)
    effects: list[tuple[int, NetworkEffect]] = field(default_factory=list)
    dropped: int = 0
    opened: set[Key] = field(default_factory=set)
    forget: Callable[[int], object] | None = None
    _now_us: int = 0

    def read(self) -> None:
        """Take in all that waits on the socket."""
        while self.socket is not None:
            try:
                frame, ancillary, _flags, address = self.socket.recvmsg(SNAP, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno == errno.ENETDOWN:
                    continue  # said once when the wire is cut; the socket hears again when it is joined
                self.close()
                return
            self._now_us = _stamp(ancillary)
            packet = parse(frame)
            if packet is not None:
                self.saw(packet, from_host=address[2] != PACKET_OUTGOING)

    def saw(self, packet: Packet, *, from_host: bool) -> None:
        """Follow one packet that this host sent or was sent."""
        if packet.protocol == "tcp":
            self._tcp(packet, from_host)
        elif packet.inner is not None and not from_host:
            self._complaint(packet.inner, packet.source)
        elif from_host and (packet.protocol == "udp" or packet.kind in (8, 128)) and packet.inner is None:
            self._datagram(packet)

    def drain(self, *, last: bool = False) -> list[tuple[int, Draft]]:
        """What happened since the last drain, with its time in Unix microseconds; `last` also tells of what was still waiting
        for an answer."""
        self.read()
        now, self._now_us = time.monotonic_ns(), time.time_ns() // 1000
        for key, flow in self.flows.items():
            if not flow.told and (last or now - flow.began_ns > SILENCE_NS):
                flow.told = True
                self._tell("refused", key, {"how": "silence"})
        if len(self.flows) > 20_000:
            self.flows.clear()
        self.datagrams.clear()
        drafts = [(at, Draft(effect, source="sensor", host=self.host)) for at, effect in self.effects]
        lost = self.dropped + self._lost_in_kernel()
        self.effects, self.dropped = [], 0
        if lost:
            state = SensorState(sensor=SENSOR, state="dropped", covers=("network",), hosts=(self.host,), count=lost)
            drafts.append((self._now_us, Draft(state, source="sensor")))
        return drafts

    def close(self) -> None:
        if self.socket is not None:
            if self.forget is not None:
                self.forget(self.socket.fileno())
            self.socket.close()
            self.socket = None

    def _tcp(self, packet: Packet, from_host: bool) -> None:
        there = (packet.source, packet.source_port, packet.destination, packet.port)
        key = there if from_host else (packet.destination, packet.port, packet.source, packet.source_port)
        flow = self.flows.get(key)
        if from_host and packet.flags & (SYN | ACK) == SYN:
            if flow is None or flow.sent_from != packet.sequence:
                self.flows[key] = _Flow(time.monotonic_ns(), packet.sequence)
        elif flow is None:
            return
        elif packet.flags & SYN and not from_host:
            self._opened(key, flow, packet)
        elif packet.flags & RST and not flow.answered:
            if not flow.told:
                self._tell("refused", key, {"how": "reset"})
            del self.flows[key]
        else:
            self._ended(key, flow, packet, from_host)

    def _opened(self, key: Key, flow: _Flow, packet: Packet) -> None:
        if not flow.answered:
            flow.answered, flow.got_from = True, packet.sequence
            if len(self.opened) < OPENED_LIMIT:
                self.opened.add(key)
            if not flow.told:
                flow.told = True
                self._tell("connected", key, {})

    def _ended(self, key: Key, flow: _Flow, packet: Packet, from_host: bool) -> None:
        """One side is done; a reset ends both. Bytes follow from the sequence numbers."""
        if from_host:
            flow.sent_to = packet.sequence if flow.sent_to is None else flow.sent_to
        else:
            flow.got_to = packet.sequence if flow.got_to is None else flow.got_to
        if packet.flags & RST or (flow.sent_to is not None and flow.got_to is not None):
            del self.flows[key]
            if key[2] in self.peers:
                sent = _between(flow.sent_from, flow.sent_to)
                self._tell("closed", key, {"sent_bytes": sent, "received_bytes": _between(flow.got_from, flow.got_to)})

    def _complaint(self, inner: Packet, router: str) -> None:
        key = (inner.source, inner.source_port, inner.destination, inner.port)
        flow = self.flows.get(key)
        if inner.protocol == "tcp" and flow is not None and not flow.told:
            del self.flows[key]
            self._tell("refused", key, {"how": "unreachable", "by": router})

    def _datagram(self, packet: Packet) -> None:
        """UDP and pings, once for each destination and well-known port between two drains."""
        mark = (packet.protocol, packet.destination, min(packet.port, 1024))
        if mark in self.datagrams or ip_address(packet.destination).is_multicast:
            return
        self.datagrams.add(mark)
        key = (packet.source, packet.source_port, packet.destination, packet.port)
        self._tell("connected", key, {}, protocol=packet.protocol)

    def _tell(self, action: str, key: Key, detail: dict[str, int | str | None], protocol: str = "tcp") -> None:
        if len(self.effects) >= EVENT_LIMIT:
            self.dropped += 1
            return
        effect = NetworkEffect(
            action=action,  # type: ignore[arg-type]
            protocol=protocol,
            source=f"{key[0]}:{key[1]}" if key[1] else key[0],
            destination=key[2],
            port=key[3] or None,
            detail={name: value for name, value in detail.items() if value is not None},
        )
        self.effects.append((self._now_us, effect))

    def _lost_in_kernel(self) -> int:
        if self.socket is None:
            return 0
        try:
            _packets, drops = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        except OSError:
            return 0
        return int(drops)


class Taps:
    """All taps of a trial, read as packets come."""

    def __init__(self, taps: Sequence[Tap]) -> None:
        self._taps = tuple(taps)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Read in the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        for tap in self._taps:
            _read_in(self._loop, tap)

    def add(self, tap: Tap) -> None:
        """Watch one more host, which the others then know as a peer."""
        for other in self._taps:
            other.peers |= tap.own
        self._taps = (*self._taps, tap)
        if self._loop is not None:
            _read_in(self._loop, tap)

    def drain(self, *, last: bool = False) -> list[tuple[int, Draft]]:
        """Everything that has crossed the wires before this call, host by host."""
        return [draft for tap in self._taps for draft in tap.drain(last=last)]

    def opened(self, key: Key) -> bool:
        """Whether such a connection was seen to be answered: (client, its port, server, its port)."""
        for tap in self._taps:
            tap.read()
        return any(key in tap.opened for tap in self._taps)

    def close(self) -> None:
        """Let go of the sockets, and with them of the world's namespace."""
        for tap in self._taps:
            tap.close()


def _read_in(loop: asyncio.AbstractEventLoop, tap: Tap) -> None:
    """Have the loop read a tap; one that closes tells the loop first, whose next use of that number would else go unheard."""
    if tap.socket is not None:
        loop.add_reader(tap.socket.fileno(), tap.read)
        tap.forget = loop.remove_reader


def _stamp(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The kernel's own time of a packet, in Unix microseconds."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("=qq", data[:16])
            return int(seconds * 1_000_000 + nanoseconds // 1000)
    return time.time_ns() // 1000


def _between(start: int, end: int | None) -> int | None:
    """Bytes between a SYN's sequence number and a FIN's, which wrap at 32 bits."""
    return None if end is None else (end - start - 1) % (1 << 32)
