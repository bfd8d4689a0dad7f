"""Every process inside a gVisor sandbox, told by gVisor's own kernel: the trace of one sentry, read from outside.

The sentry sends each point as one packet over a UNIX socket: a header, and a message of protocol buffers of which few fields
are read (https://github.com/google/gvisor/tree/master/pkg/sentry/seccheck). What runs inside can neither reach the socket nor
alter what is sent. A point that found no room is counted by the sentry, and said to be missing.

Ids are the sandbox's own. Who owns a socket is not told; arguments are whole.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sandbox.errors import InfrastructureError
from sandbox.sensors.exectrace import ARGS_BYTES, Exec, Exit, Fork, Record

NAME = "sentrytrace"
RECORDS = 50_000
"""Kept between two drains."""

INIT = 1
_HEADER = struct.Struct("<HHI")
_CLONE, _EXEC, _EXIT, _CHDIR = 2, 3, 4, 13
_HANDSHAKE = b"\x08\x01"
_PACKET = 2**20
_SECONDS = 20.0
_MOST_GUESTS = 100_000

Fields = dict[int, list[int | bytes]]


@dataclass(slots=True)
class Guest:
    """A process that is there, as last told of."""

    pid: int
    started: int
    parent: int
    uid: int = -1
    argv: tuple[str, ...] = ()
    exe: str = ""
    folder: str = ""


class SentryTrace:
    """Listens from its making; `connect` has the sentry call. Safe to use from several threads.

    Args:
        mark: the folder that a process which enters the sandbox says it changes to, with its token behind it.
    """

    sensor = NAME

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._records: deque[Record] = deque()
        self._dropped = self._lost = 0
        self._guests: dict[int, Guest] = {INIT: Guest(INIT, 0, 0)}
        self._entered: dict[str, int] = {}
        self._ended = ""

    def connect(self, folder: Path, call: Callable[[Path], None]) -> None:
        """Let `call` have the sentry connect to the address it is given, in `folder`. Blocks. Raises InfrastructureError."""
        address = folder / "trace"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(address))
            listener.listen(1)
            listener.settimeout(_SECONDS)
            answering = threading.Thread(target=self._answer, args=(listener,), daemon=True)
            answering.start()
            call(address)
            answering.join(_SECONDS)
        if self._socket is None:
            raise InfrastructureError("The sandbox's trace did not begin.")
        threading.Thread(target=self._read, name="sentrytrace", daemon=True).start()

    def _answer(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(_SECONDS)
            connection.recv(_PACKET)
            connection.send(_HANDSHAKE)
            connection.settimeout(None)
            self._socket = connection

    def _read(self) -> None:
        """Keep the queue empty, so that the sandbox is not held up."""
        connection = self._socket
        assert connection is not None
        while not self._ended:
            with suppress(OSError):
                connection.recv(1, socket.MSG_PEEK)
            with self._lock:
                self._pump()
        with self._lock:
            self._pump()
            self._socket = None
            connection.close()

    def _pump(self) -> None:
        while self._socket is not None:
            try:
                data = self._socket.recv(_PACKET, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._ended = self._ended or "the sandbox has ended its trace"
                return
            self.take(data)

    def begin(self) -> None:
        """Let go of what was told so far: who is there now is known."""
        with self._lock:
            self._pump()
            self._records.clear()

    def drain(self) -> tuple[list[Record], int]:
        """The records up to now, and how many are missing. Raises LookupError when the sandbox tells nothing any more."""
        with self._lock:
            self._pump()
            if self._ended and not self._records:
                raise LookupError(self._ended)
            records, lost = list(self._records), self._lost
            self._records.clear()
            self._lost = 0
            return records, lost

    def guests(self) -> dict[int, Guest]:
        """What runs inside now, by id."""
        with self._lock:
            self._pump()
            return dict(self._guests)

    def entered(self, token: str) -> int:
        """The id of the process that came in with `token`; 0 if none has yet."""
        with self._lock:
            self._pump()
            return self._entered.get(token, 0)

    def close(self) -> None:
        """Stop listening; safe to call twice."""
        with self._lock:
            self._ended = self._ended or "it was ended"
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def take(self, packet: bytes) -> None:
        """One packet of the sentry's. One that cannot be read counts as lost."""
        try:
            size, kind, dropped = _HEADER.unpack_from(packet)
            self._lost += max(0, dropped - self._dropped)
            self._dropped = max(self._dropped, dropped)
            message = fields(packet[size:])
            context = _context(fields(_bytes(message, 1)))
            record = self._record(kind, message, context)
        except (ValueError, IndexError, struct.error):
            self._lost += 1
            return
        if record is not None and len(self._records) < RECORDS:
            self._records.append(record)
        elif record is not None:
            self._lost += 1

    def _record(self, kind: int, message: Fields, context: _Context) -> Record | None:
        at, pid = context.at_ns, context.group
        match kind:
            case n if n == _CLONE:
                child, thread = _number(message, 4), _number(message, 3)
                if child == pid or child != thread:
                    return None  # a thread
                return self._begun(
                    Guest(child, _number(message, 5), pid, context.uid, folder=context.folder), at, entered=False
                )
            case n if n == _CHDIR:
                return self._moved(_text(message, 6), context)
            case n if n == _EXEC:
                guest = self._guests.setdefault(pid, Guest(pid, at, 0))
                words = tuple(_words(word) for word in message.get(3, []))
                guest.argv, guest.exe, guest.uid = words, _text(message, 2), context.uid
                kept = _bounded(words)
                return Exec(0, at, pid, pid, context.uid, guest.exe, kept, cut=len(kept) < len(words))
            case n if n == _EXIT:
                self._gone(pid)
                status = _number(message, 2)
                number = status & 0x7F
                return Exit(0, at, pid, pid, 128 + number if number else status >> 8 & 0xFF)
        return None

    def _moved(self, path: str, context: _Context) -> Record | None:
        """A change of folder, or the word of a process that enters."""
        pid = context.group
        if path.startswith(self._mark) and pid not in self._guests:
            self._entered[path.removeprefix(self._mark)] = pid
            return self._begun(Guest(pid, context.at_ns, 0, context.uid, folder=context.folder), context.at_ns, entered=True)
        if pid in self._guests:
            self._guests[pid].folder = context.folder
        return None

    def _begun(self, guest: Guest, at: int, *, entered: bool) -> Fork:
        parent = self._guests.get(guest.parent)
        if parent is not None:
            guest.argv, guest.exe = parent.argv, parent.exe
        if len(self._guests) < _MOST_GUESTS:
            self._guests[guest.pid] = guest
        return Fork(0, at, guest.pid, guest.pid, guest.parent, entered)

    def _gone(self, pid: int) -> None:
        self._guests.pop(pid, None)
        for guest in self._guests.values():
            if guest.parent == pid:
                guest.parent = INIT


class _Context(NamedTuple):
    at_ns: int
    group: int
    uid: int
    folder: str


def _context(found: Fields) -> _Context:
    offset = time.time_ns() - time.monotonic_ns()
    uid = _number(fields(_bytes(found, 7)), 2) if 7 in found else -1
    return _Context(_number(found, 1) - offset, _number(found, 4), uid, _text(found, 8))


def fields(message: bytes) -> Fields:
    """The fields of a message of protocol buffers by number: integers, or bytes. Raises ValueError or IndexError."""
    found: Fields = {}
    for number, value in _each(message):
        found.setdefault(number, []).append(value)
    return found


def _each(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if key & 7 == 2:
            size, at = _varint(message, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7, -1)
        if size < 0 or at + size > len(message):
            raise ValueError("a field of unknown kind, or cut short")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        if shift > 63:
            raise ValueError("a number without an end")


def _number(found: Fields, number: int) -> int:
    value = found.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError("not a number")
    return value


def _bytes(found: Fields, number: int) -> bytes:
    value = found.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value


def _text(found: Fields, number: int) -> str:
    return _words(_bytes(found, number))


def _words(value: int | bytes) -> str:
    if not isinstance(value, bytes):
        raise ValueError("not bytes")
    return value.decode("utf-8", "backslashreplace")


def _bounded(words: tuple[str, ...]) -> tuple[str, ...]:
    """As many of the words as fit into what is kept of any process's arguments."""
    left = ARGS_BYTES
    for number, word in enumerate(words):
        left -= len(word.encode()) + 1
        if left < 0:
            return words[:number]
    return words
