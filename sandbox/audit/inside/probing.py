"""Tries one group's probes inside a container and prints one line of JSON for each: name, result, control, detail.

A probe is an attempt that must be refused beside a control that must work: the same interpreter, and as nearly as there is
one the permitted variant of the same thing. Each runs in a process of its own, so that one that crashes, is killed or hangs
is its own loss. Attempts are made so that they do no harm where they succeed: arguments that the kernel would refuse as
senseless, files opened and not written.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

SECONDS = 20
_LONGEST = 300
_libc = ctypes.CDLL(None, use_errno=True)

Context = Mapping[str, str]
"""What the outside tells the probes, e.g. the path of a file on the machine that must be out of reach."""


class Probe(NamedTuple):
    """`attempt` says what it reached, or raises OSError or Refused; `control` returns if the permitted variant works."""

    name: str
    attempt: Callable[[Context], str]
    control: Callable[[Context], object]


class Refused(Exception):  # noqa: N818 - the outcome that is hoped for, not an error
    """The attempt came to nothing; the text says how that was seen."""


class Outcome(NamedTuple):
    """How one process ended: `said` is "returned", "refused" or "broke", with what it had to say."""

    said: str
    detail: str


def system_call(number: int, *arguments: object) -> int:
    """The kernel's answer to a raw system call. Raises OSError as the kernel says."""
    ctypes.set_errno(0)
    answer = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if answer == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def own(path: str) -> str:
    """A path of the probes' own, in the one place that is writable everywhere."""
    return f"/tmp/.probe-{os.getpid()}-{path}"  # noqa: S108 - the container's own


def open_for_writing(path: str) -> str:
    """Opens and writes nothing; what it reached."""
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY))
    return f"{path} opened for writing"


def write_own_file(_: Context) -> None:
    path = own("control")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    os.unlink(path)


def apart(work: Callable[[], object]) -> Outcome:
    """Run `work` in a child and say how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.alarm(SECONDS)
        os.write(writing, json.dumps(_ended(work)).encode()[:4096])
        os._exit(0)
    os.close(writing)
    said = b"".join(iter(lambda: os.read(reading, 4096), b""))
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return Outcome("refused" if number == signal.SIGSYS else "broke", f"killed by {signal.Signals(number).name}")
    return Outcome(*json.loads(said)) if said else Outcome("broke", "ended without a word")


def _ended(work: Callable[[], object]) -> Outcome:
    try:
        return Outcome("returned", str(work())[:_LONGEST])
    except Refused as refused:
        return Outcome("refused", str(refused)[:_LONGEST])
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        return Outcome("refused", f"{name}: {error.strerror}"[:_LONGEST])
    except Exception as error:
        return Outcome("broke", f"{type(error).__name__}: {error}"[:_LONGEST])


def judged(attempt: Outcome, control: Outcome) -> tuple[str, bool, str]:
    """Result, whether the control worked, and the detail: a crash is INVALID, and so is a refusal without a control."""
    works = control.said == "returned"
    if attempt.said == "returned":
        return "REACHED", works, attempt.detail
    if attempt.said == "broke":
        return "INVALID", works, f"the attempt broke: {attempt.detail}"
    return ("BLOCKED", True, attempt.detail) if works else ("INVALID", False, f"the control failed: {control.detail}")


def main(probes: Sequence[Probe]) -> None:
    """Try them all, in order; the context is the first argument, as JSON."""
    context: Context = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    for probe in probes:
        control = apart(lambda probe=probe: probe.control(context))  # type: ignore[misc]
        attempt = apart(lambda probe=probe: probe.attempt(context))  # type: ignore[misc]
        result, works, detail = judged(attempt, control)
        sys.stdout.write(json.dumps({"name": probe.name, "result": result, "control": works, "detail": detail}) + "\n")
        sys.stdout.flush()
