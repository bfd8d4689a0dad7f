"""The one listener on this machine for what happens in all trials' hosts: takes the kernel's queues in, and hands each its own.

Process records come in one ring for all and are told apart by pid namespace; file events come host by host. A thread empties
both every tenth of a second while somebody listens, so that neither fills up during a long call; a drain empties them at once.
Every queue is bounded, and what did not fit is counted against those whom it may have concerned.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress

from sandbox.sensors import exectrace, procevents
from sandbox.sensors.deeds import FileWatch
from sandbox.sensors.exectrace import ExecTrace, Record
from sandbox.sensors.procevents import ProcessEvents

RECORDS = 50_000
"""Process records kept for one host between two drains."""

_EVERY = 0.1
_BATCH = 20_000


class _Queue:
    def __init__(self) -> None:
        self.records: deque[Record] = deque()
        self.lost = 0


class Collector:
    """Listens while anybody has joined. Safe to use from several threads. `sensor` names where process records come from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trace: ExecTrace | ProcessEvents | None = None
        self.sensor = exectrace.NAME
        self._queues: dict[int, _Queue] = {}
        self._watches: set[FileWatch] = set()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._ended = ""

    def join(self, space: int) -> None:
        """Keep what happens in a pid namespace from now on. Raises OSError or ValueError where this machine cannot."""
        with self._lock:
            if self._trace is None:
                self._trace, self.sensor = _listen()
            self._trace.watch(space)
            self._queues[space] = _Queue()
            self._run()

    def leave(self, space: int) -> None:
        with self._lock:
            if self._queues.pop(space, None) is not None and self._trace is not None:
                with suppress(OSError):
                    self._trace.forget(space)

    def add(self, watch: FileWatch) -> None:
        with self._lock:
            self._watches.add(watch)
            self._run()

    def remove(self, watch: FileWatch) -> None:
        """Also closes it."""
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)
                watch.close()

    def drain_files(self, watch: FileWatch) -> None:
        """Bring a watch up to now."""
        with self._lock:
            watch.pump()

    def drain(self, space: int) -> tuple[list[Record], int]:
        """The records of a namespace up to now, and how many are missing. Raises LookupError when nobody listens there."""
        with self._lock:
            if self._trace is None:
                raise LookupError(self._ended or "nobody listens")
            self._pump_records()
            queue = self._queues.get(space)
            if queue is None:
                raise LookupError("nobody listens there")
            records, lost = list(queue.records), queue.lost
            queue.records.clear()
            queue.lost = 0
            return records, lost

    def close(self) -> None:
        """Let go of everything, whoever still listens; joining again starts anew."""
        with self._lock:
            self._ended = "it was ended"
            for watch in self._watches:
                watch.close()
            self._watches.clear()
            self._queues.clear()
            if self._trace is not None:
                self._trace.close()
                self._trace = None

    def _pump_records(self) -> None:
        if self._trace is None:
            return
        for _ in range(8):
            if self._trace.empty:
                break
            for record in self._trace.take(_BATCH):
                queue = self._queues.get(record.space)
                if queue is None:
                    continue
                if len(queue.records) < RECORDS:
                    queue.records.append(record)
                else:
                    queue.lost += 1
        if lost := self._trace.lost():
            for queue in self._queues.values():
                queue.lost += lost

    def _pump_or_end(self) -> None:
        """Take records in; a source that fails is let go for good, so that whoever relies on it is told."""
        try:
            self._pump_records()
        except (OSError, ValueError) as error:
            self._ended = f"events could not be read: {error}"
            self._queues.clear()
            if self._trace is not None:
                self._trace.close()
                self._trace = None

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="collector", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            self._wake.wait(_EVERY)
            with self._lock:
                if not self._queues and not self._watches:
                    self._thread = None
                    return
                self._pump_or_end()
                for watch in list(self._watches):
                    watch.pump(0.02, drain=False)


def _listen() -> tuple[ExecTrace | ProcessEvents, str]:
    """The best source of process records that this machine has, and its name. Raises what the best one did if there is none."""
    try:
        return ExecTrace(), exectrace.NAME
    except (OSError, ValueError) as error:
        try:
            return ProcessEvents(), procevents.NAME
        except OSError:
            raise error from None


collector = Collector()
"""The one of this process."""
