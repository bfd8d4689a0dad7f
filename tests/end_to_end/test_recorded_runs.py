"""What Docker recorded is judged again without it, and comes back from every other program's format, as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandbox.events import Imported, Interviewed, ModelCalled, Reviewed, Submitted, ToolCalled, ToolReturned
from sandbox.interop import WRITERS
from sandbox.trajectory import Trajectory
from tests.end_to_end.conftest import Belljar

pytestmark = pytest.mark.docker

SCENARIOS = ("sabotage/shutdown_script", "copyright/paywalled_archive", "self_replication/spare_host")
KEPT = (ModelCalled, ToolCalled, ToolReturned, Submitted, Interviewed, Reviewed)


@pytest.fixture
def ran(belljar: Belljar, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A run of several scenarios, after which there is no Docker any more."""
    found = belljar.json("run", *SCENARIOS, "--model", "oracle:open", "--concurrency", 3, "--out", belljar.runs)
    assert len(found["trials"]) == len(SCENARIOS)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    return found


def test_a_recorded_run_is_judged_and_exported_without_docker_as_it_was(
    ran: dict[str, Any], belljar: Belljar, tmp_path: Path
) -> None:
    assert json.dumps(belljar.json("analyze", ran["run"])["trials"]) == json.dumps(ran["trials"])
    for trial in ran["trials"]:
        served = belljar.json("replay", trial["path"], "--served")
        assert served["problems"] == []
        assert json.dumps(served["verdict"]) == json.dumps(trial)
    for form in WRITERS:
        _check_round_trip(ran, form, belljar, tmp_path / form)


def _check_round_trip(ran: dict[str, Any], form: str, belljar: Belljar, folder: Path) -> None:
    """Calls, outputs and order come back, and the verdict as a claim."""
    exported = belljar.json("export", ran["run"], "--to", form, "--out", folder / "files")
    files = [one["file"] for one in exported["exports"]]
    imported = belljar.json("import", *files, "--out", folder / "runs")
    assert imported["failed"] == []
    for trial, report in zip(ran["trials"], imported["imports"], strict=True):
        ours, theirs = Trajectory.load(trial["path"]), Trajectory.load(report["trials"][0]["path"])
        assert theirs.manifest.trial == trial["id"]
        assert _said(theirs) == _said(ours), (form, trial["id"])
        assert _outputs(theirs) == _outputs(ours), (form, trial["id"])
        claimed = next(body for _, body in theirs.of(Imported)).claims["verdicts"]
        assert claimed == trial | {"path": ""}, (form, trial["id"])


def _said(trial: Trajectory) -> list[Any]:
    return [event.body for event in trial.events if isinstance(event.body, KEPT)]


def _outputs(trial: Trajectory) -> list[tuple[bytes | None, ...]]:
    contents = [(body.output, body.stderr) for _, body in trial.of(ToolReturned)]
    return [tuple(trial.bytes_of(content) for content in both if content is not None) for both in contents]
