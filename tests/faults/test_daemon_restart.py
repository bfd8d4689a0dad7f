"""The Docker daemon is restarted while a run is under way: one trial is lost to it, and said to be; the run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.record.layout import RunLayout
from sandbox.trajectory import stop_reason
from tests.faults.faulty import errors_of, wait_for_trial, write_scenario
from tests.faults.private_daemon import PrivateDaemon

pytestmark = [pytest.mark.docker, pytest.mark.full]


@pytest.fixture(scope="module")
def private() -> Iterator[PrivateDaemon]:
    with PrivateDaemon() as daemon:
        yield daemon


def test_a_restarted_daemon_costs_the_trial_under_way_and_no_other(private: PrivateDaemon, tmp_path: Path) -> None:
    folder = write_scenario(tmp_path / "scenarios", ("echo one", "sleep 3", "echo three"))
    environment = {**os.environ, "DOCKER_HOST": private.host, "BELLJAR_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "sandbox", "run", str(folder.path), "--model", "oracle:four", "--epochs", "4"]
    command += ["--concurrency", "1", "--out", str(tmp_path / "runs")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        wait_for_trial(tmp_path / "runs", 2, running)
        private.restart()
        said, _ = running.communicate(timeout=240)
    (root,) = [path for path in (tmp_path / "runs").iterdir() if (path / "study.json").exists()]
    layout = RunLayout(root)
    stops = [stop_reason(attempt) for trial in layout.trials() for attempt in trial.attempts()]
    assert stops[0] == "submitted", said
    assert "infrastructure" in stops[1:], said
    assert set(stops) <= {"submitted", "infrastructure"}
    struck = [attempt for trial in layout.trials() for attempt in trial.attempts() if stop_reason(attempt) == "infrastructure"]
    assert {error.fault for attempt in struck for error in errors_of(attempt)} == {"infrastructure"}

    resume = [sys.executable, "-m", "sandbox", "resume", str(root), "--json"]
    resumed = subprocess.run(resume, env=environment, capture_output=True, text=True, timeout=240, check=False)
    totals = json.loads(resumed.stdout)["totals"]
    assert totals["trials"] == 4
    assert totals["valid"] == stops.count("submitted")
    verified = subprocess.run(
        [sys.executable, "-m", "sandbox", "verify", str(root), "--json"], env=environment, capture_output=True, check=False
    )
    assert json.loads(verified.stdout)["ok"]
