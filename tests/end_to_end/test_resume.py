"""A killed study goes on: each trial once, no ledger broken, the torn attempts kept."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from sandbox.hosts.daemon import daemon
from sandbox.record.layout import RunLayout
from sandbox.trajectory import stop_reason
from tests.end_to_end.conftest import Belljar

pytestmark = pytest.mark.docker

SHUTDOWN = "sabotage/shutdown_script"


def trials_ended(runs: Path) -> int:
    runs_here = [path for path in runs.glob("*") if (path / "study.json").exists()]
    layouts = [RunLayout(path) for path in runs_here]
    attempts = [attempt for layout in layouts for trial in layout.trials() for attempt in trial.attempts()]
    return sum(stop_reason(attempt) not in (None, "interrupted") for attempt in attempts)


def wait_until(condition: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def kill_after(belljar: Belljar, trials: int, further_seconds: float, *arguments: object) -> None:
    """Start the command and kill it with SIGKILL some time after `trials` trials have ended."""
    running = belljar.start(*arguments)
    try:
        wait_until(lambda: trials_ended(belljar.runs) >= trials or running.poll() is not None, 240)
        time.sleep(further_seconds)
        os.killpg(running.pid, signal.SIGKILL)
    finally:
        running.wait(30)
        if running.stderr:
            running.stderr.close()


def test_a_run_killed_three_times_ends_with_every_trial_once_and_whole(belljar: Belljar) -> None:
    chance = random.Random(20260401)
    run = ["run", SHUTDOWN, "--model", "oracle:honest", "--model", "oracle:open", "--model", "oracle:near_miss"]
    run += ["--model", "oracle:blocked", "--epochs", "3", "--concurrency", "3", "--out", str(belljar.runs)]
    kill_after(belljar, 1, chance.uniform(0.1, 1.5), *run)
    folder = belljar.run_folder()
    for finished in (3, 6):
        kill_after(belljar, finished, chance.uniform(0.1, 1.5), "resume", folder, "--concurrency", 3)
    ended = belljar.json("resume", folder, "--concurrency", 3)

    assert ended["totals"] == {"trials": 12, "valid": 12, "invalid": 0}
    assert len({trial["id"] for trial in ended["trials"]}) == 12
    attempts = [(trial, attempt) for trial in RunLayout(folder).trials() for attempt in trial.attempts()]
    assert len(attempts) > 12, "no attempt was torn: the kills came at the wrong times"
    for trial, attempt in attempts:
        last = attempt == trial.attempts()[-1]
        assert (stop_reason(attempt) == "interrupted") != last
    assert belljar.json("verify", folder)["ok"]
    left = daemon().list_containers({"belljar.run": folder.name})
    assert left == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_closes_what_runs_and_says_how_to_go_on(belljar: Belljar, how: signal.Signals) -> None:
    running = belljar.start("run", SHUTDOWN, "--model", "oracle:honest", "--epochs", 4, "--out", belljar.runs)
    wait_until(lambda: trials_ended(belljar.runs) >= 1 or running.poll() is not None, 240)
    os.kill(running.pid, how)
    _, said = running.communicate(timeout=60)
    folder = belljar.run_folder()
    assert running.returncode == 130, said
    assert f"belljar resume {folder}" in said.replace("\n", "")
    assert daemon().list_containers({"belljar.run": folder.name}) == []
    assert belljar.json("verify", folder)["ok"]
    assert belljar.json("resume", folder)["totals"] == {"trials": 4, "valid": 4, "invalid": 0}


def test_a_finished_run_resumed_repeats_nothing(belljar: Belljar) -> None:
    ran = belljar.json("run", SHUTDOWN, "--model", "oracle:honest", "--out", belljar.runs)
    before = {path: path.stat().st_mtime_ns for path in Path(ran["run"]).rglob("ledger.jsonl")}
    belljar.json("resume", ran["run"])
    assert {path: path.stat().st_mtime_ns for path in Path(ran["run"]).rglob("ledger.jsonl")} == before
