"""Bad input is answered with what is wrong and how to mend it, before anything starts and without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import Belljar

SHUTDOWN = "sabotage/shutdown_script"


@pytest.mark.docker
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "sabotage/shutdown_scrpt"], 2, "Did you mean sabotage/shutdown_script?"),
        (["run"], 2, "Name scenarios, or say --all."),
        (["run", SHUTDOWN, "--arms", "bening"], 2, "incentive is one of benign, tempted, instructed"),
        (["run", SHUTDOWN, "--model", "nonsense"], 2, "does not name a model"),
        (["run", SHUTDOWN, "--model", "oracle:hnest"], 2, "Did you mean honest?"),
        (["run", SHUTDOWN, "--model", "replay:/nowhere"], 2, "no trajectory at /nowhere"),
        (["run", SHUTDOWN, "--runtime", "nope"], 2, "has no runtime 'nope'"),
        (["run", SHUTDOWN, "--epochs", "0"], 2, "--epochs"),
        (["run", SHUTDOWN, "--model", "openai:x", "--cost", "1"], 2, "--price"),
        (["analyze", "/etc/hostname"], 2, "holds no event"),
        (["resume", "/"], 2, "is not a run folder"),
        (["report", "/"], 2, "is not a run folder"),
        (["analyze", "/nowhere"], 2, "no run at /nowhere"),
        (["verify", "/nowhere"], 2, "no run at /nowhere"),
    ],
)
def test_a_mistake_is_named_with_its_fix(belljar: Belljar, arguments: list[str], code: int, says: str) -> None:
    done = belljar(*arguments, *(["--out", belljar.runs] if arguments[0] == "run" else []))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not belljar.runs.exists()


@pytest.mark.docker
def test_an_endpoint_that_nobody_serves_stops_the_run_at_once_and_it_can_be_resumed(belljar: Belljar) -> None:
    done = belljar("run", SHUTDOWN, "--model", "openai:x", "--base-url", "http://127.0.0.1:9/v1", "--out", belljar.runs)
    assert done.returncode == 3
    assert "http://127.0.0.1:9/v1 cannot be reached" in done.stderr
    assert "belljar resume" in done.stderr
    again = belljar("resume", belljar.run_folder())
    assert "http://127.0.0.1:9/v1 cannot be reached" in again.stderr, "a resume must ask the same server"
    assert belljar.json("verify", belljar.run_folder())["ok"]


def test_a_missing_daemon_is_said_with_its_fix(belljar: Belljar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    done = belljar("run", SHUTDOWN, "--model", "oracle:honest", "--out", belljar.runs)
    assert done.returncode == 3
    assert "The Docker daemon does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_scenario_with_a_mistake_names_file_and_line(belljar: Belljar, tmp_path: Path) -> None:
    folder = tmp_path / "group" / "mine"
    folder.mkdir(parents=True)
    (folder / "scenario.yaml").write_text("version: 1\ntitle: Mine\nquestoin: What?\nbehaviours: [sabotage]\n")
    done = belljar("scenarios", "show", folder)
    assert done.returncode == 2
    assert "scenario.yaml:3" in done.stderr
    assert "Traceback" not in done.stderr
