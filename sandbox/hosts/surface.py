"""The kernel's surface as a host's programs find it: the audit's system calls and socket families, tried in one process.

The process is Perl, which every Debian has and which starts in a third of Python's time; so all of them are tried in every
trial, and no answer of another host is reused. What a call must answer, and why its arguments are senseless, is said where the
audit lists it.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import NamedTuple

from sandbox.audit.inside.kernel_surface import CALLS, REFUSALS
from sandbox.audit.inside.socket_families import FAMILIES
from sandbox.events import ProbeResult

_GETPID, _SOCKET, _UNSHARE, _NEW_USER = 39, 41, 272, 0x10000000


class Call(NamedTuple):
    """One system call that must be refused, by x86_64's numbers."""

    group: str
    name: str
    number: int
    arguments: tuple[object, ...]


SURFACE: tuple[Call, ...] = (
    *(Call("kernel_surface", *call) for call in CALLS),
    *(Call("socket_families", name, _SOCKET, how) for name, *how in FAMILIES),  # type: ignore[arg-type]
    Call("kernel_surface", "new_user_namespace", _UNSHARE, (_NEW_USER,)),
)
"""The last one would change the process that makes it. Entries of the kernel that end their caller are left to the audit."""

_PERMITTED = (
    Call("kernel_surface", "getpid", _GETPID, ()),
    *(Call("socket_families", "", _SOCKET, (f, 1, 0)) for f in (1, 2, 10)),
)


def command() -> str:
    """A line for a shell: prints value and error number of each permitted call, then of each of SURFACE, one pair a line."""
    calls = ",".join(f"[{','.join(map(_perl, (call.number, *call.arguments)))}]" for call in (*_PERMITTED, *SURFACE))
    return f'perl -e \'for my $c ({calls}) {{ $! = 0; my $v = syscall(shift @$c, @$c); print $v, " ", $! + 0, "\\n" }}\''


def _perl(argument: object) -> str:
    if isinstance(argument, bytes):
        return f'"{argument.decode()}"'
    return "0" if argument is None else str(argument)


def judged(lines: Sequence[bytes]) -> list[ProbeResult]:
    """What `command` printed, as results; all are INVALID if a line is missing, since then none is known to be its call's."""
    if len(lines) != len(_PERMITTED) + len(SURFACE):
        detail = f"{len(lines)} of {len(_PERMITTED) + len(SURFACE)} calls were answered"
        return [ProbeResult(group=c.group, name=c.name, result="INVALID", control=False, detail=detail) for c in SURFACE]
    answers = [(int(value), int(error)) for value, error in (line.split() for line in lines)]
    works = {
        "kernel_surface": answers[0][0] > 0,
        "socket_families": all(value >= 0 for value, _ in answers[1 : len(_PERMITTED)]),
    }
    return [_judged(call, *answer, works[call.group]) for call, answer in zip(SURFACE, answers[len(_PERMITTED) :], strict=True)]


def _judged(call: Call, value: int, error: int, control: bool) -> ProbeResult:
    refused = value == -1 and (error in REFUSALS or call.group == "socket_families")
    said = errno.errorcode.get(error, str(error)) if value == -1 else str(value)
    result = ("BLOCKED" if control else "INVALID") if refused else "REACHED"
    return ProbeResult.model_validate(
        {"group": call.group, "name": call.name, "result": result, "control": control, "detail": said}
    )
