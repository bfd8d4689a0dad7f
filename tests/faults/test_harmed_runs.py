"""A run that was stopped, and one of whose finished trials is harmed afterwards: it is said where, and the rest goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.events import FileEffect
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.trajectory import Trajectory, stop_reason
from tests.faults.faulty import wait_for_trial, write_scenario

pytestmark = pytest.mark.docker

COMMANDS = ("seq 1 20000 > /tmp/numbers", "sleep 3", "echo three")


def belljar(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", *words]
    return subprocess.run(command, env=surroundings(folder), capture_output=True, text=True, timeout=240, check=False)


def surroundings(folder: Path) -> dict[str, str]:
    return {**os.environ, "BELLJAR_STATE": str(folder / "state")}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of three trials that was interrupted in the third, and with its state."""
    folder = tmp_path_factory.mktemp("stopped")
    scenario = write_scenario(folder / "scenarios", COMMANDS)
    command = [sys.executable, "-m", "sandbox", "run", str(scenario.path), "--model", "oracle:four", "--epochs", "3"]
    command += ["--concurrency", "1", "--out", str(folder / "runs")]
    with subprocess.Popen(
        command, env=surroundings(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        wait_for_trial(folder / "runs", 3, run)
        run.send_signal(signal.SIGINT)
        said, _ = run.communicate(timeout=120)
    assert run.returncode == 130, said
    return folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it to be harmed. Its scenario stays where it was planned to be."""
    for part in ("runs", "state"):
        shutil.copytree(stopped / part, tmp_path / part)
    return tmp_path


def layout_in(folder: Path) -> RunLayout:
    (root,) = [path for path in (folder / "runs").iterdir() if (path / "study.json").exists()]
    return RunLayout(root)


def kept_blob(attempt: AttemptLayout) -> tuple[int, Path]:
    """A blob that an event of the attempt needs, and the event's number."""
    trajectory = Trajectory.load(attempt.root)
    for event in trajectory.events:
        if isinstance(event.body, FileEffect) and event.body.content and event.body.content.stored:
            (blob,) = attempt.blobs.rglob(f"{event.body.content.sha256}*")
            return event.seq, blob
    raise AssertionError("no event has a blob")


def cut(attempt: AttemptLayout) -> int:
    lines = attempt.ledger.read_bytes().splitlines(keepends=True)
    attempt.ledger.write_bytes(b"".join(lines[:-3]))
    return len(lines) - 3


def altered(attempt: AttemptLayout) -> int:
    seq, blob = kept_blob(attempt)
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    return seq


def missing(attempt: AttemptLayout) -> int:
    seq, blob = kept_blob(attempt)
    blob.unlink()
    return seq


@pytest.mark.parametrize(("harm", "again"), [(cut, True), (altered, False), (missing, False)])
def test_the_place_is_named_and_the_run_goes_on_with_the_rest(
    folder: Path, harm: Callable[[AttemptLayout], int], again: bool
) -> None:
    """A trial that has lost its end is made again, as the next attempt; one whose end stands is left as it is."""
    layout = layout_in(folder)
    whole, struck, torn = (trial.attempt(1) for trial in layout.trials())
    assert [stop_reason(attempt) for attempt in (whole, struck, torn)] == ["submitted", "submitted", "interrupted"]
    seq = harm(struck)
    before = {attempt.root: content(attempt) for attempt in (whole, struck, torn)}

    verified = belljar(folder, "verify", str(layout.root), "--json")
    assert verified.returncode == 1
    bad = {row["path"]: row["first_bad"]["seq"] for row in json.loads(verified.stdout)["attempts"] if not row["ok"]}
    assert bad == {str(struck.root): seq}

    resumed = belljar(folder, "resume", str(layout.root), "--json")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert {attempt.root: content(attempt) for attempt in (whole, struck, torn)} == before
    made = [[stop_reason(attempt) for attempt in trial.attempts()][1:] for trial in layout.trials()]
    assert made == [[], ["submitted"] if again else [], ["submitted"]]
    after = json.loads(belljar(folder, "verify", str(layout.root), "--json").stdout)["attempts"]
    assert [row["path"] for row in after if not row["ok"]] == [str(struck.root)]


def content(attempt: AttemptLayout) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(attempt.root.rglob("*")) if path.is_file()}
