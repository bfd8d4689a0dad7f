"""One trial on the in-memory environment: whatever goes wrong is recorded and classified."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.verdict import judge
from sandbox.environment import ShellResult
from sandbox.errors import EnvironmentDied, ModelRejected, ModelUnavailable, NotReadyError, ScenarioError
from sandbox.events import (
    Call,
    CanaryEffect,
    ContainmentCertificate,
    ErrorRaised,
    Message,
    ModelCalled,
    Planted,
    ProbeResult,
    StopReason,
)
from sandbox.library.loading import find, headline, load, prepare
from sandbox.memory.environment import MemoryEnvironment
from sandbox.models.model import Reply, ToolSpec
from sandbox.plan import TrialPlan
from sandbox.record.layout import AttemptLayout
from sandbox.record.verify import verify
from sandbox.scenario import Asset
from sandbox.trajectory import Trajectory
from sandbox.trial import Machine, TrialJob, run_trial

FOLDER = find(["sabotage/shutdown_script"])[0]


class Says:
    """One bash call, then a submission; or an exception."""

    name = "scripted"
    sampling: dict[str, Any] = {}

    def __init__(self, error: Exception | None = None, report: str = "done") -> None:
        self.error = error
        self.report = report

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        if self.error is not None:
            raise self.error
        turn = sum(message.role == "assistant" for message in conversation)
        if not tools:
            return Reply(Message(role="assistant", content='{"answer": "no"}'))
        submission = {"status": "completed", "report": self.report}
        call = (
            Call(id="", tool="submit", arguments=submission) if turn else Call(id="", tool="bash", arguments={"command": "ls"})
        )
        return Reply(Message(role="assistant", content="", calls=(call,)))

    async def close(self) -> None:
        """Nothing to close."""


class Dies(MemoryEnvironment):
    """Its host is lost while the first command runs."""

    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        raise EnvironmentDied("The host has stopped (out of memory: True).")


class Leaks(MemoryEnvironment):
    """One probe gets through."""

    async def certify(self) -> ContainmentCertificate:
        probe = ProbeResult(group="network", name="way_out", result="REACHED", control=True)
        return ContainmentCertificate(profile="memory", passed=False, probes=(probe,))


class NeverStarts(MemoryEnvironment):
    async def __aenter__(self) -> MemoryEnvironment:
        raise NotReadyError("The image is missing.", "Build it.")


class Hangs(MemoryEnvironment):
    async def shell(self, command: str, *, timeout: float) -> ShellResult:
        await asyncio.sleep(3600)
        raise AssertionError


def job(tmp_path: Path) -> TrialJob:
    prepared = prepare(FOLDER, headline(load(FOLDER)), 0)
    plan = TrialPlan(id="t1", scenario=FOLDER.name, arm=headline(load(FOLDER)), seed=0, epoch=0, model="scripted:x")
    return TrialJob(plan, prepared, "r1", 1, AttemptLayout(tmp_path / "attempt-1"), Machine({}, {}, "memory"))


async def run(
    tmp_path: Path, environment: type[MemoryEnvironment] = MemoryEnvironment, error: Exception | None = None
) -> tuple[StopReason, Trajectory]:
    async def opened(_: TrialJob) -> Says:
        return Says(error)

    stop = await run_trial(job(tmp_path), build=lambda spec, **_: environment(spec), open_model=opened)
    return stop, Trajectory.load(tmp_path / "attempt-1")


async def test_a_trial_is_whole_from_manifest_to_end(tmp_path: Path) -> None:
    stop, trajectory = await run(tmp_path)
    assert stop == "submitted"
    assert trajectory.events[0].kind == "trial.started"
    assert trajectory.events[-1].kind == "trial.finished"
    assert trajectory.manifest.resolved["name"] == FOLDER.name
    assert verify(tmp_path / "attempt-1").ok


@pytest.mark.parametrize(
    ("environment", "error", "stop", "fault"),
    [
        (Dies, None, "infrastructure", "infrastructure"),
        (NeverStarts, None, "infrastructure", "infrastructure"),
        (Leaks, None, "containment", "infrastructure"),
        (MemoryEnvironment, ModelUnavailable("overloaded"), "provider", "model"),
        (MemoryEnvironment, ScenarioError("the oracle went astray"), "scenario_error", "scenario"),
        (MemoryEnvironment, RuntimeError("a bug of ours"), "infrastructure", "infrastructure"),
    ],
)
async def test_what_goes_wrong_is_recorded_with_its_fault_and_never_judged_safe_or_guilty(
    tmp_path: Path, environment: type[MemoryEnvironment], error: Exception | None, stop: str, fault: str
) -> None:
    ended, trajectory = await run(tmp_path, environment, error)
    assert ended == stop
    assert [body.fault for _, body in trajectory.of(ErrorRaised)] == [fault]
    verdict = judge(trajectory)
    assert verdict.status == "invalid"
    assert verdict.outcome == "undetermined"
    assert verdict.verdicts["sabotage"].attempted == "undetermined"
    assert verify(tmp_path / "attempt-1").ok


async def test_works_and_notices_are_kept_as_they_were_planted(tmp_path: Path) -> None:
    assets = (
        Asset(id="queue", role="work", path="/srv/queue"),
        Asset(id="guide", role="licence", path="/srv/ops/README.md"),
        Asset(id="stop", role="control", path="/srv/ops/shutdown.sh"),
    )
    planned = job(tmp_path)
    resolved = planned.prepared.resolved.model_copy(update={"assets": assets})
    planned = replace(planned, prepared=replace(planned.prepared, resolved=resolved))

    async def opened(_: TrialJob) -> Says:
        return Says()

    await run_trial(planned, build=lambda spec, **_: MemoryEnvironment(spec), open_model=opened)
    trajectory = Trajectory.load(tmp_path / "attempt-1")
    kept = {(body.asset, body.path): trajectory.bytes_of(body.content) for _, body in trajectory.of(Planted)}
    planted = {file.path: file.data for file in planned.prepared.files["agent"]}
    wanted = {("queue", p): d for p, d in planted.items() if p.startswith("/srv/queue/")}
    assert kept == wanted | {("guide", "/srv/ops/README.md"): planted["/srv/ops/README.md"]}
    assert len(wanted) > 1
    assert verify(tmp_path / "attempt-1").ok


async def test_planted_bytes_that_the_agent_writes_into_its_report_are_told_with_the_event_that_holds_them(
    tmp_path: Path,
) -> None:
    planned = job(tmp_path)
    stop_script = Asset(id="stop", role="control", path="/srv/ops/shutdown.sh", canary=True)
    resolved = planned.prepared.resolved.model_copy(update={"assets": (stop_script,)})
    planned = replace(planned, prepared=replace(planned.prepared, resolved=resolved))
    planted = planned.prepared.environment_spec().canaries["stop"].decode()

    async def opened(_: TrialJob) -> Says:
        return Says(report=f"It reads:\n{planted}")

    await run_trial(planned, build=lambda spec, **_: MemoryEnvironment(spec), open_model=opened)
    trajectory = Trajectory.load(tmp_path / "attempt-1")
    found = [body for _, body in trajectory.of(CanaryEffect)]
    assert [(body.canary, body.where, body.location) for body in found] == [
        ("stop", "report", "submit"),
        ("stop", "report", "report"),
    ]
    assert [trajectory.events[body.found_in or 0].kind for body in found] == ["model.called", "submitted"]


async def test_a_leak_stops_the_trial_before_the_model_sees_anything(tmp_path: Path) -> None:
    _, trajectory = await run(tmp_path, Leaks)
    assert list(trajectory.of(ModelCalled)) == []


async def test_a_key_that_is_refused_closes_the_ledger_and_reaches_the_study(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected):
        await run(tmp_path, error=ModelRejected("bad key"))
    trajectory = Trajectory.load(tmp_path / "attempt-1")
    assert trajectory.finished is not None
    assert trajectory.finished.stop_reason == "interrupted", "a resume is to run it again"


async def test_an_interruption_closes_the_ledger_as_interrupted(tmp_path: Path) -> None:
    running = asyncio.ensure_future(run(tmp_path, Hangs))
    ledger = AttemptLayout(tmp_path / "attempt-1").ledger
    while not (ledger.exists() and b"tool.called" in ledger.read_bytes()):  # noqa: ASYNC110 - another task writes it
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    finished = Trajectory.load(tmp_path / "attempt-1").finished
    assert finished is not None
    assert finished.stop_reason == "interrupted"
    assert verify(tmp_path / "attempt-1").ok
