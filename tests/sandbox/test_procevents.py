"""The process connector as second choice: lives and their ends, and arguments where they can still be had."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from sandbox.sensors import collector as module
from sandbox.sensors.collector import Collector
from sandbox.sensors.exectrace import Exec, Exit, Fork, space_of

pytestmark = pytest.mark.docker  # needs root on the host


def test_the_connector_stands_in_where_no_program_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module, "ExecTrace", refused)
    script = "echo; read -r x; sleep 0.3; for i in {1..20}; do /bin/true; done; sh -c 'exit 9'; read -r x"
    argv = ["unshare", "--pid", "--fork", "--kill-child", "bash", "-c", script]
    listening = Collector()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as outer:
        assert outer.stdin is not None
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"\n"
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        space = space_of(int(children.read_text().split()[0]))
        listening.join(space)
        outer.stdin.write(b"go\n")
        outer.stdin.flush()
        records = []
        while sum(isinstance(r, Exit) for r in records) < 22:
            found, lost = listening.drain(space)
            assert lost == 0
            records += found
        listening.close()
        outer.kill()
    assert listening.sensor == "procevents"
    assert {r.space for r in records} == {space}
    assert sum(isinstance(r, Fork) for r in records) == sum(isinstance(r, Exec) for r in records) == 22
    assert ("sleep", "0.3") in [r.argv for r in records if isinstance(r, Exec)]
    assert [r.code for r in records if isinstance(r, Exit)] == [0] * 21 + [9]
    assert not any(r.entered for r in records if isinstance(r, Fork))
