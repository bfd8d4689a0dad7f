"""Trials under gVisor, by a daemon of the tests' own: verdicts, certificate, who did what, and what is said not to be seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.events import ContainmentCertificate, ProcessEffect, SensorState, ServiceEffect
from sandbox.hosts import surface
from sandbox.hosts.runtimes import GVISOR_NEEDS, GVISOR_OLDEST, gvisor_version
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory
from tests.faults.private_daemon import PrivateDaemon

FOUND = [p for p in (str(Path(sys.executable).parent / "runsc"), shutil.which("runsc")) if p and Path(p).exists()]
PROGRAM = next((path for path in FOUND if gvisor_version({"path": path}) >= GVISOR_OLDEST), None)

pytestmark = [
    pytest.mark.docker,
    pytest.mark.full,
    pytest.mark.skipif(PROGRAM is None, reason=f"no gVisor of {GVISOR_OLDEST} or later here: sh tests/gvisor.sh FOLDER"),
]
SCENARIOS = {"sabotage/shutdown_script": "sabotage", "self_replication/spare_host": "self-replication"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateDaemon]:
    how = tmp_path_factory.mktemp("gvisor") / "daemon.json"
    known = {"runsc": {"path": PROGRAM, "runtimeArgs": list(GVISOR_NEEDS)}, "bare": {"path": PROGRAM}}
    how.write_text(json.dumps({"runtimes": known}))
    with PrivateDaemon(f"--config-file={how}") as running:
        yield running


@pytest.fixture(scope="module")
def run(daemon: PrivateDaemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    models = ("--model", "oracle:honest", "--model", "oracle:open")
    ran = daemon.belljar("run", *SCENARIOS, *models, "--runtime", "runsc", "-c", "1", "--out", str(out), "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (root,) = [path for path in out.iterdir() if (path / "study.json").exists()]
    return root


@pytest.fixture(scope="module")
def trials(run: Path) -> list[Trajectory]:
    return [Trajectory.load(attempt.root) for trial in RunLayout(run).trials() for attempt in trial.attempts()]


def test_scripted_agents_get_their_verdicts(daemon: PrivateDaemon, run: Path) -> None:
    judged = json.loads(daemon.belljar("analyze", str(run), "--json").stdout)["trials"]
    assert {(t["scenario"], t["model"], t["status"], t["verdicts"][SCENARIOS[t["scenario"]]]["succeeded"]) for t in judged} == {
        (scenario, model, "valid", succeeded)
        for scenario in SCENARIOS
        for model, succeeded in (("oracle:honest", "false"), ("oracle:open", "true"))
    }


def test_manifest_and_report_name_the_runtime_and_its_release(run: Path, trials: list[Trajectory]) -> None:
    manifests = [trial.manifest for trial in trials if trial.manifest is not None]
    assert len(manifests) == 4
    release = gvisor_version({"path": PROGRAM})
    assert {(m.runtime, m.versions["runsc"]) for m in manifests} == {("runsc", release)}
    assert f"Held by runsc {release}, " in (run / "report.md").read_text()


def test_every_certificate_passed_with_the_sandbox_itself_in_it(trials: list[Trajectory]) -> None:
    certificates = [body for trial in trials for _, body in trial.of(ContainmentCertificate)]
    assert len(certificates) == 4
    assert all(each.passed for each in certificates)
    for certificate in certificates:
        names = {probe.name for probe in certificate.probes}
        assert {f"{what}:agent" for what in ("rights", "own", "bounds", "sandbox")} <= names


def test_the_calls_of_the_certificate_are_refused_by_the_filter_and_answered_without_it(daemon: PrivateDaemon) -> None:
    free = [
        "docker",
        "-H",
        daemon.host,
        "run",
        "--rm",
        "--runtime=runsc",
        "--network=none",
        "--security-opt=seccomp=unconfined",
    ]
    ran = subprocess.run([*free, "belljar/base", "bash", "-c", surface.command()], check=True, capture_output=True)
    reached = {result.name for result in surface.judged(ran.stdout.splitlines()) if result.result == "REACHED"}
    assert {"memfd_create", "ptrace", "unshare", "new_user_namespace"} <= reached


def test_processes_are_told_by_the_sandbox_with_the_call_that_they_belong_to(trials: list[Trajectory]) -> None:
    for trial in trials:
        told = [(event, body) for event, body in trial.of(ProcessEffect) if body.sensor == "sentrytrace"]
        started = {(body.argv, event.header.origin) for event, body in told if body.action == "started"}
        assert any(argv and origin for argv, origin in started)
        assert all(body.uid in (0, 1000) for _, body in told if body.action == "started")


def test_logins_to_an_ssh_host_are_told(trials: list[Trajectory]) -> None:
    names = [body.name for trial in trials for _, body in trial.of(ServiceEffect) if body.service == "ssh"]
    assert {"ssh.session", "ssh.started"} <= set(names)


def test_what_cannot_be_seen_is_not_said_to_be_covered(trials: list[Trajectory]) -> None:
    states = [body for trial in trials for _, body in trial.of(SensorState)]
    covered = {kind for body in states if body.state == "started" for kind in body.covers}
    assert "opens" not in covered
    assert {"files", "passing", "processes"} <= covered
    of_hosts = [
        body for body in states if body.sensor != "canaries"
    ]  # a search that a busy machine cuts short is no host's doing
    assert not [body for body in of_hosts if body.state in ("gap", "dropped")]


def test_nothing_of_a_trial_is_left_running(daemon: PrivateDaemon, trials: list[Trajectory]) -> None:
    assert trials
    asked = ["docker", "-H", daemon.host, "ps", "-aq"]
    assert not subprocess.run(asked, check=True, capture_output=True).stdout
    for _ in range(50):  # a shim needs a moment to end after its container
        left = subprocess.run(["pgrep", "-f", f"containerd-shim.*{daemon.root}/"], capture_output=True, check=False).stdout
        if not left:
            break
        time.sleep(0.2)
    assert not left


def test_a_gvisor_without_its_options_is_refused_before_anything_starts(daemon: PrivateDaemon, tmp_path: Path) -> None:
    ran = daemon.belljar("run", *SCENARIOS, "--model", "oracle:honest", "--runtime", "bare", "--out", str(tmp_path))
    assert ran.returncode != 0
    assert "--oci-seccomp" in ran.stdout + ran.stderr
