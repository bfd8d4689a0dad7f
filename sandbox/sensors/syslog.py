"""Hears what the SSH servers of the hosts log, outside of their reach: who logged in, from where, with which key.

The engine binds `/dev/log` inside each such host, as a log daemon would, and reads it from outside: nothing is stored where
a host's user could change it. The kernel names the process that sent each line, and a login only counts if it came from the
SSH server's program and over a connection that the wire sensor saw (`sandbox/sensors/taps.py`). Under gVisor the engine holds
the server's own output instead, and the wire alone is asked.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from sandbox.errors import InfrastructureError
from sandbox.events import ServiceEffect
from sandbox.hosts.rooted import open_below, take_on

LINE_BYTES = 4096
AT_ONCE = 256
LINE_LIMIT = 2000
"""Lines kept between two looks; an honest server writes about ten a login."""

SCM_CREDENTIALS = 2
SERVER = "/usr/sbin/sshd"

_ADDRESS = r"(?P<address>[0-9a-fA-F.:]+) port (?P<port>\d{1,5})"
_ACCEPTED = re.compile(rf"Accepted (?P<method>\S+) for (?P<user>\S+) from {_ADDRESS} ssh2(: (?P<key>\S+ \S+))?$")
_STARTED = re.compile(rf"Starting session: (?P<what>.+?) for (?P<user>\S+) from {_ADDRESS}( id \d+)?$")
_REFUSED = re.compile(
    rf"(Connection (closed|reset) by|Disconnected from) (authenticating|invalid) user (?P<user>\S*) {_ADDRESS} \[preauth\]$"
)


class Login(NamedTuple):
    """One line's meaning. `name` is `ssh.session` (a login succeeded), `ssh.started` (a shell, command or file transfer began
    in it) or `ssh.refused`; `detail` is what was started or which key was shown."""

    name: str
    user: str
    address: str
    port: int
    detail: str = ""


def parse(line: str) -> Login | None:
    """What a line of the SSH server says about logins; None for any other line."""
    text = re.sub(r"^<\d+>(\S+ +\S+ \S+ )?sshd(-session)?\[\d+\]: ", "", line.rstrip("\n\0"))
    for name, pattern, detail in (
        ("ssh.session", _ACCEPTED, "key"),
        ("ssh.started", _STARTED, "what"),
        ("ssh.refused", _REFUSED, ""),
    ):
        found = pattern.match(text)
        if found:
            more = found.group(detail) if detail else ""
            return Login(name, found["user"][:100], found["address"], int(found["port"]), (more or "")[:300])
    return None


@dataclass
class HostLog:
    """The log socket of one host."""

    host: str
    socket: socket.socket
    handed: bool = False
    logins: list[tuple[int, Login]] = field(default_factory=list)
    _dropped: int = 0

    def read(self) -> None:
        """Take in what waits, a bounded number at once; lines that the SSH server did not send are passed over.

        The kernel keeps no more than about ten lines (`net.unix.max_dgram_qlen`), then the server waits to write the next one:
        so this is called whenever something waits, not only when the log is looked at.
        """
        for _ in range(AT_ONCE):
            try:
                data, ancillary, _flags, _address = self.socket.recvmsg(LINE_BYTES, socket.CMSG_SPACE(12))
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return
            login = parse(data.decode("utf-8", "replace"))
            if login is None or not (self.handed or _from_server(ancillary)):
                continue
            if len(self.logins) >= LINE_LIMIT:
                self._dropped += 1
            else:
                self.logins.append((time.time_ns() // 1000, login))

    def taken(self) -> tuple[list[tuple[int, Login]], int]:
        """Logins since the last look with their times in Unix microseconds, and how many more were dropped."""
        self.read()
        logins, dropped = self.logins, self._dropped
        self.logins, self._dropped = [], 0
        return logins, dropped


_handed: dict[int, HostLog] = {}


def hand_on(host: str, pid: int) -> socket.socket:
    """Where to send each line of an SSH server whose output the engine holds itself, since its host's file system is a
    sandbox's own, and no `/dev/log` can be bound there from outside. `open_log` gives what reads them."""
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in (own, other):
        each.setblocking(False)
    _handed[pid] = HostLog(host, own, handed=True)
    return other


def open_log(host: str, pid: int) -> HostLog:
    """Bind `/dev/log` in the file system of process `pid`. Raises InfrastructureError when that cannot be done."""
    if (handed := _handed.pop(pid, None)) is not None:
        return handed
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            folder = open_below(root, "/dev", os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(root)
        try:
            _bind(sock, folder)
        finally:
            os.close(folder)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise InfrastructureError(f"The log of host {host} cannot be opened: {error.strerror}.") from None
    return HostLog(host, sock)


def _bind(sock: socket.socket, folder: int) -> None:
    """Make `log` in `folder` as its owner: where user ids are mapped, the machine's own super-user may own nothing there."""
    owner = os.fstat(folder)

    def made() -> None:
        take_on(owner.st_uid, owner.st_gid)
        sock.bind(f"/proc/self/fd/{folder}/log")
        os.chmod("log", 0o666, dir_fd=folder)  # noqa: S103 - anybody may log

    with ThreadPoolExecutor(1, "belljar-log") as thread:
        thread.submit(made).result()


def effect(login: Login, *, host: str, client: str) -> ServiceEffect:
    """The event of a login on `host` by host `client`."""
    subject: dict[str, str | int] = {
        "host": host,
        "from": client,
        "user": login.user,
        "address": login.address,
        "port": login.port,
    }
    if login.detail:
        subject["key" if login.name == "ssh.session" else "what"] = login.detail
    return ServiceEffect(service="ssh", name=login.name, subject={**subject})


def _from_server(ancillary: Sequence[tuple[int, int, bytes]]) -> bool:
    """Whether the sender runs the SSH server's program, or has ended meanwhile and cannot be asked any more."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == SCM_CREDENTIALS:
            pid, _uid, _gid = struct.unpack("=iII", data[:12])
            try:
                return os.readlink(f"/proc/{pid}/exe") == SERVER  # noqa: PTH115 - a link of /proc has no path to resolve
            except FileNotFoundError:
                return True
            except OSError:
                return False
    return False
