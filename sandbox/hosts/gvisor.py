"""gVisor, asked about one of its sandboxes by the very program that runs it: to trace it, and to signal what runs inside.

The sandbox's first process on this machine is the sentry, gVisor's own kernel. Its command line says where its state is kept,
its link in /proc is the program, and it listens where it was started from: in its parent's network namespace.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sandbox.errors import EnvironmentDied, InfrastructureError
from sandbox.hosts.processes import control_group
from sandbox.isolation import AGENT_UID

_SECONDS = 20
_FREEZING_LOOKS = 300
_POINTS = {
    "sentry/clone": ("time", "thread_id", "group_id", "credentials", "cwd"),
    "sentry/execve": ("time", "thread_id", "group_id", "credentials", "cwd"),
    "sentry/exit_notify_parent": ("time", "thread_id", "group_id"),
    "syscall/chdir/exit": ("time", "thread_id", "group_id", "credentials", "cwd"),
}
_PATIENCE = {"retries": 200, "backoff_max": "10ms"}
"""A queue that is full holds the sandbox up for as long as two seconds before a point is dropped, and counted."""


def sentry_of(init: int, container: str) -> Sentry | None:
    """The sentry that runs `container`, if that is what its first process `init` is. Raises EnvironmentDied if it has gone."""
    try:
        words = Path(f"/proc/{init}/cmdline").read_bytes().split(b"\0")
        parent = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError as error:
        raise EnvironmentDied(f"The first process of container {container[:12]} is gone.") from error
    root = next((os.fsdecode(word) for word in words if word.startswith(b"--root=")), "")
    return Sentry(init, container, parent, root) if words[0] == b"runsc-sandbox" else None


class Sentry:
    """The sentry whose process is `init`, begun by `parent`, which runs `container`; `root` is the option for its state."""

    def __init__(self, init: int, container: str, parent: int, root: str) -> None:
        self.init = init
        self._container = container
        self._command = ("nsenter", f"--net=/proc/{parent}/ns/net", f"/proc/{init}/exe", root)

    def trace(self, endpoint: Path, config: Path) -> None:
        """Have the sentry tell of processes to whoever listens at `endpoint`; `config` is where to write how. Blocks."""
        points = [
            {"name": name, "context_fields": fields, "optional_fields": ["binary_info"] if name == "sentry/execve" else []}
            for name, fields in _POINTS.items()
        ]
        sinks = [{"name": "remote", "config": {"endpoint": str(endpoint), **_PATIENCE}}]
        config.write_text(json.dumps({"trace_session": {"name": "Default", "points": points, "sinks": sinks}}))
        self._ask("trace", "create", "--config", str(config), self._container)

    def signal(self, pids: Sequence[int], number: signal.Signals) -> None:
        """Signal processes by their ids inside, several at once by a process there; those that have gone are passed over.

        Blocks."""
        with suppress(InfrastructureError):
            if len(pids) == 1:
                self._ask("kill", "-pid", str(pids[0]), self._container, str(int(number)))
            elif pids:
                user, kill = f"{AGENT_UID}:{AGENT_UID}", ("perl", "-e", "kill shift, @ARGV", str(int(number)))
                self._ask("exec", "-user", user, self._container, *kill, *map(str, pids))

    def freeze(self, *, still: bool) -> None:
        """Let the whole sandbox stand still, or go on again, by its control group. Blocks.

        `runsc pause`, which the daemon uses, leaves a shim behind for ever if the sandbox ends before it goes on."""
        group = control_group(self.init, "freezer")
        old = (group / "freezer.state").exists()
        file, word = ("freezer.state", "FROZEN" if still else "THAWED") if old else ("cgroup.freeze", str(int(still)))
        (group / file).write_text(word)
        for _ in range(_FREEZING_LOOKS):
            state = (group / ("freezer.state" if old else "cgroup.events")).read_text()
            if (word if old else f"frozen {word}") in state:
                return
            time.sleep(0.01)
        raise InfrastructureError(f"The sandbox of container {self._container[:12]} does not {'stop' if still else 'go on'}.")

    def _ask(self, *words: str) -> None:
        try:
            ran = subprocess.run(
                (*self._command, *words), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InfrastructureError(f"gVisor did not answer ({words[0]}): {error}") from None
        if ran.returncode != 0:
            said = ran.stderr.decode(errors="replace").strip()[-300:]
            raise InfrastructureError(f"gVisor refused ({words[0]}): {said}")
