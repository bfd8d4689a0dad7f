"""The agent's shell: one bash that lives from call to call, spoken to over one held channel.

Protocol. The session's own standard output and error are /dev/null; the channel's two streams are descriptors 98 and 99,
which a command is given as 1 and 2 and which are closed for it as what they are. A call sends three lines:

    \\unset -f eval; \\eval -- $'<the command>' </dev/null 1>&98 2>&99 98>&- 99>&-
    <an empty line>
    MAILCHECK=$?; \\unset -f builtin printf unset; \\builtin printf '<nonce>:%d;\\n' "$MAILCHECK" >&98; … >&99; MAILCHECK=60

- The command is one quoted word, so no quote, brace or here-document left open reaches the lines after it. The empty line is
  there because bash drops the line that follows one whose `eval` failed to parse.
- The marker is a line of its own, since an error such as an unset variable under `set -u` throws the rest of a line away.
- The nonce is new for every call and stands in the parser's memory only: no variable, argument or history holds it.
- bash is interactive (`-i`) because only then does an interrupt throw a running loop away and keep the session; without line
  editing, history and job control, which need a terminal. `MAILCHECK` is the one variable that may be borrowed unnoticed.
- `$?` of the command before is put back first, without a fork where it is 0 or 1.

A session that no longer answers - it was left by `exit` or `exec`, or a command spoiled the protocol - is replaced by a new
one, and the call says `shell_died`. That the shell's process is gone is known from the host (a pidfd), not from the stream,
which background jobs may hold open.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Literal, Protocol

from sandbox.environment import ShellResult
from sandbox.errors import EnvironmentDied
from sandbox.hosts import processes as proc
from sandbox.hosts.capture import STDERR, STDOUT, Bounded, Piece, UntilMarker

ARGV = ("bash", "--norc", "--noprofile", "--noediting", "-i")
"""What a session runs; its environment is the host's login environment."""

FLOOD_BYTES = 256 * 2**20
"""A command that wrote this much is interrupted: nobody reads it, and it keeps two cores busy."""

_BACKGROUND_BYTES = 256 * 1024
_IDLE_BYTES = 4 * 2**20
_GRACE = 1.0
_OPEN_SECONDS = 30.0
_STUCK_LOOKS = 10
_LOOK_EVERY = 0.5

_SETUP = b"exec 98>&1 99>&2 >/dev/null 2>&1; set +o history +m +H; PS1= PS2= PROMPT_COMMAND=; unset PROMPT_COMMAND HISTFILE\n"

Ending = Literal["done", "gone", "deadline", "flood", "stuck"]


class Line(Protocol):
    """The channel to one running bash. `pid` is its id as the view of its processes knows it, `ends_with` the process of this
    machine that ends with it: itself, but for a bash that only a sandbox's own kernel knows."""

    pid: int
    ends_with: int

    async def send(self, data: bytes) -> None:
        """Raises OSError when the other end has gone."""
        ...

    async def receive(self) -> list[Piece]:
        """The next pieces of output; empty at the end of the stream."""
        ...

    async def exit_code(self) -> int | None:
        """Exit code of a bash that has ended; None if it has not. Raises EnvironmentDied when its container is gone."""
        ...

    def close(self) -> None: ...


class ProcessView(Protocol):
    """The part of `processes.Processes` that a shell needs."""

    def alive(self) -> frozenset[proc.Process]: ...

    def born_of(self, shell: int, before: frozenset[proc.Process]) -> list[proc.Process]: ...

    def find(self, pid: int) -> proc.Process | None: ...

    def folder_of(self, pid: int) -> str: ...

    def waits_for_input(self, pid: int) -> bool: ...

    async def send(self, processes: Iterable[proc.Process], number: signal.Signals) -> None: ...


class Stopper(Protocol):
    """Stops every process of the container at once, so that none can multiply while the others are being killed."""

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...


def quoted(command: str) -> bytes:
    """`command` as one bash word on one line. NUL, which no command can hold, is left out."""
    raw = command.encode("utf-8", "surrogateescape").replace(b"\0", b"")
    return b"$'" + re.sub(rb"[\x01-\x1f\x7f'\\]", lambda m: b"\\%03o" % m[0][0], raw) + b"'"


def _script(command: str, nonce: bytes, last: int) -> bytes:
    restore = b"" if last == 0 else b"! [[ 1 == 1 ]]; " if last == 1 else b"(\\exit %d); " % last
    run = b"\\unset -f eval; " + restore + b"\\eval -- " + quoted(command) + b" </dev/null 1>&98 2>&99 98>&- 99>&-\n\n"
    return run + _marker_line(nonce)


def _marker_line(nonce: bytes) -> bytes:
    return (
        b"MAILCHECK=$?; \\unset -f builtin printf unset; \\builtin printf '" + nonce + b':%d;\\n\' "$MAILCHECK" >&98; '
        b"\\builtin printf '" + nonce + b":0;\\n' >&99; MAILCHECK=60\n"
    )


class _Call:
    """One call under way: its two streams, and an event that is set whenever its state may have changed."""

    def __init__(self, limit: int) -> None:
        self.nonce = secrets.token_hex(16).encode()
        self.streams = {STDOUT: UntilMarker(self.nonce, limit), STDERR: UntilMarker(self.nonce, limit)}
        self.changed = asyncio.Event()
        self.started = time.monotonic()
        self.background = b""
        self.before: frozenset[proc.Process] = frozenset()

    @property
    def done(self) -> bool:
        return all(stream.found for stream in self.streams.values())

    @property
    def size(self) -> int:
        return sum(stream.kept.size for stream in self.streams.values())


class Shell:
    """One persistent session; `run` calls must not overlap.

    Args:
        open_line: starts a bash (`ARGV`) and returns its channel.
        view: the processes around it.
        stopper: how to hold them still.
        capture_bytes: how much of each stream is kept of a call.
        stuck_seconds: how long a session may wait for input with its call unanswered before it is given up.
    """

    def __init__(
        self,
        open_line: Callable[[], Awaitable[Line]],
        view: ProcessView,
        stopper: Stopper,
        *,
        capture_bytes: int,
        stuck_seconds: float = _STUCK_LOOKS * _LOOK_EVERY,
    ) -> None:
        self._open_line = open_line
        self._view = view
        self._stopper = stopper
        self._limit = capture_bytes
        self._stuck_looks = max(1, round(stuck_seconds / _LOOK_EVERY))
        self._session: _Session | None = None
        self._last = 0

    @property
    def pid(self) -> int:
        """Host id of the session's bash; 0 while there is none."""
        return self._session.line.pid if self._session else 0

    async def start(self) -> None:
        """Open the first session. Raises EnvironmentDied if it does not answer."""
        self._session = await _Session.open(self._open_line, self._limit)
        self._last = 0

    async def close(self) -> None:
        """Let go of the channel; what runs in the container is the container's end to end."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def run(self, command: str, *, timeout: float) -> ShellResult:
        """Run one command; see `environment.Environment.shell`. Raises EnvironmentDied."""
        if self._session is None:
            await self.start()
        session = self._session
        assert session is not None
        background, before, last = session.take_background(), self._view.alive(), self._last
        call = session.begin(lambda nonce: _script(command, nonce, last))
        call.background, call.before = background, before
        ending = await self._wait(session, call, call.started + timeout, FLOOD_BYTES)
        kept = True
        if ending in ("deadline", "flood"):
            kept = await self._interrupt(session, call)
        elif ending == "stuck":
            kept = False
        if ending == "gone" or not kept:
            return await self._replaced(session, call, ending)
        self._last = call.streams[STDOUT].number or 0
        status: Literal["ok", "timeout"] = "timeout" if ending == "deadline" else "ok"
        code = None if status == "timeout" else self._last
        return _result(status, call, exit_code=code, cwd=self._view.folder_of(session.line.pid))

    async def _wait(self, session: _Session, call: _Call, deadline: float, most: float = math.inf) -> Ending:
        idle = 0
        while True:
            if call.done:
                return "done"
            if session.gone:
                return "gone"
            if call.size > most:
                return "flood"
            left = deadline - time.monotonic()
            if left <= 0:
                return "deadline"
            call.changed.clear()
            try:
                await asyncio.wait_for(call.changed.wait(), min(left, _LOOK_EVERY))
                idle = 0
            except TimeoutError:
                idle = idle + 1 if session.sent and self._view.waits_for_input(session.line.pid) else 0
                if idle >= self._stuck_looks:
                    return "stuck"

    async def _interrupt(self, session: _Session, call: _Call) -> bool:
        """End what runs, mildly and then not; True if the session answers again. What older calls left is not touched."""
        shell = self._view.find(session.line.pid)
        if shell is None:
            return False
        born = self._view.born_of(shell.pid, call.before)
        for number in (signal.SIGINT, signal.SIGCONT):
            await self._view.send((shell, *born), number)
        kept = await self._wait(session, call, time.monotonic() + _GRACE) == "done"
        await self._kill_born(shell, call.before)
        if kept or session.gone:
            return kept
        session.send(b"\n" + _marker_line(call.nonce))  # an interrupt may have hit while bash was reading the first
        if await self._wait(session, call, time.monotonic() + _GRACE) != "done":
            return False
        await session.settle()
        return True

    async def _kill_born(self, shell: proc.Process, before: frozenset[proc.Process]) -> None:
        """Kill what the call began, all of it held still meanwhile so that nothing can multiply."""
        if self._view.born_of(shell.pid, before):
            await self._stopper.pause()
            try:
                await self._view.send(self._view.born_of(shell.pid, before), signal.SIGKILL)
            finally:
                await self._stopper.resume()

    async def _kill_all(self, shell: proc.Process, before: frozenset[proc.Process]) -> None:
        """Likewise, and the shell with it: alive it would begin the next of its children."""
        await self._stopper.pause()
        try:
            await self._view.send((*self._view.born_of(shell.pid, before), shell), signal.SIGKILL)
        finally:
            await self._stopper.resume()

    async def _replaced(self, session: _Session, call: _Call, ending: Ending) -> ShellResult:
        """The session is lost: end what is left of it, open another, and say so."""
        if ending == "gone":
            await session.settle()
        code = await session.line.exit_code()
        if code is None and (shell := self._view.find(session.line.pid)) is not None:
            await self._kill_all(shell, call.before)
        await session.close()
        self._session = None
        await self.start()
        status: Literal["timeout", "shell_died"] = "timeout" if ending in ("deadline", "flood") else "shell_died"
        return _result(status, call, exit_code=code, cwd=self._view.folder_of(self.pid), kept=False)


def _result(
    status: Literal["ok", "timeout", "shell_died"],
    call: _Call,
    *,
    exit_code: int | None,
    cwd: str,
    kept: bool = True,
) -> ShellResult:
    out, err = call.streams[STDOUT], call.streams[STDERR]
    out.close()
    err.close()
    return ShellResult(
        status=status,
        stdout=out.kept.value(),
        stderr=err.kept.value(),
        exit_code=exit_code,
        duration_us=int((time.monotonic() - call.started) * 1e6),
        cwd=cwd,
        session_kept=kept,
        stdout_size=out.kept.size,
        stderr_size=err.kept.size,
        background=call.background,
    )


class _Session:
    """One bash and its channel: a task that reads it, what it said between calls, and whether it is gone."""

    def __init__(self, line: Line, limit: int) -> None:
        self.line = line
        self.gone = False
        self._limit = limit
        self._call: _Call | None = None
        self._background = Bounded(_BACKGROUND_BYTES)
        self._unread = asyncio.Event()
        self._heard = 0
        self._sending: asyncio.Task[None] | None = None
        self._reader = asyncio.create_task(self._read())
        self._watch = _Exit(line.ends_with, self._left)

    @classmethod
    async def open(cls, open_line: Callable[[], Awaitable[Line]], limit: int) -> _Session:
        line = await open_line()
        session = cls(line, limit)
        try:
            await session._answers()
        except BaseException:
            await session.close()
            raise
        session.take_background()
        return session

    async def _answers(self) -> None:
        """Set the new bash up. Raises EnvironmentDied if it does not answer."""
        call = self.begin(lambda nonce: _SETUP + _marker_line(nonce))
        with suppress(TimeoutError):
            async with asyncio.timeout(_OPEN_SECONDS):
                while not call.done and not self.gone:
                    call.changed.clear()
                    await call.changed.wait()
        if self.gone or not call.done:
            raise EnvironmentDied(f"A new shell did not answer (exit code {await self.line.exit_code()}).")

    @property
    def sent(self) -> bool:
        """Whether all that was to be sent has left."""
        return self._sending is None or self._sending.done()

    def begin(self, script: Callable[[bytes], bytes]) -> _Call:
        """Send what `script` makes of a new nonce, and collect the output from now on."""
        self._call = call = _Call(self._limit)
        self._unread.set()
        self.send(script(call.nonce))
        return call

    def send(self, data: bytes) -> None:
        earlier, self._sending = self._sending, None
        self._sending = asyncio.create_task(self._send(data, earlier))

    async def _send(self, data: bytes, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await earlier
        try:
            await self.line.send(data)
        except OSError:
            self._left()

    def take_background(self) -> bytes:
        said = self._background.value()
        self._background = Bounded(_BACKGROUND_BYTES)
        if self._call is not None:  # an interrupted call may have been asked for its marker twice
            said = re.sub(self._call.nonce + rb":\d+;\n", b"", said)
        return said

    async def settle(self, quiet: float = 0.05, most: float = 1.0) -> None:
        """Wait until nothing more arrives for `quiet` seconds."""
        end = time.monotonic() + most
        while time.monotonic() < end and not self._reader.done():
            heard = self._heard
            await asyncio.sleep(quiet)
            if heard == self._heard:
                return

    async def close(self) -> None:
        self._watch.close()
        for task in (self._reader, self._sending):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self.line.close()

    async def _read(self) -> None:
        with suppress(OSError):
            while pieces := await self.line.receive():
                for piece in pieces:
                    self._take(piece)
                if self._call is not None:
                    self._call.changed.set()
                await asyncio.sleep(0)  # a socket that always has more would keep every other trial from running
                if self._background.size > _IDLE_BYTES and (self._call is None or self._call.done):
                    self._unread.clear()  # let a job that floods wait for the next call, instead of reading it for ever
                    await self._unread.wait()
        self._left()

    def _take(self, piece: Piece) -> None:
        self._heard += len(piece.data)
        stream = self._call.streams.get(piece.stream) if self._call else None
        rest = stream.feed(piece.data) if stream is not None else piece.data
        if rest:
            self._background.feed(rest)

    def _left(self) -> None:
        self.gone = True
        if self._call is not None:
            self._call.changed.set()


class _Exit:
    """Calls `then` once when process `pid` ends."""

    def __init__(self, pid: int, then: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except OSError:
            self._loop.call_soon(then)
            return
        self._then = then
        self._loop.add_reader(self._fd, self._ended)

    def _ended(self) -> None:
        self.close()
        self._then()

    def close(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
