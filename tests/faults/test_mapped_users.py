"""A daemon that maps user ids: trials go on as on any other, with verdicts, certificate and ids as the hosts know them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox.errors import ContainmentError
from sandbox.events import ContainmentCertificate, FileEffect, ProcessEffect
from sandbox.hosts.idmap import Ids, require_ids
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory
from tests.faults.private_daemon import PrivateDaemon

pytestmark = [pytest.mark.docker, pytest.mark.full]

BASE = 300_000


@contextmanager
def granted() -> Iterator[None]:
    """Subordinate ids for `nobody` on this machine, taken back afterwards."""
    before = {path: path.read_text() if path.exists() else None for path in (Path("/etc/subuid"), Path("/etc/subgid"))}
    try:
        for path, text in before.items():
            path.write_text((text or "") + "".join(f"{name}:{BASE}:65536\n" for name in ("nobody", "nogroup")))
        yield
    finally:
        for path, text in before.items():
            path.unlink() if text is None else path.write_text(text)


@pytest.fixture(scope="module")
def mapped() -> Iterator[PrivateDaemon]:
    with granted(), PrivateDaemon("--userns-remap=nobody:nogroup") as daemon:
        yield daemon


def test_scripted_agents_get_their_verdicts_and_hosts_keep_their_own_ids(mapped: PrivateDaemon, tmp_path: Path) -> None:
    scenarios = {"sabotage/shutdown_script": "sabotage", "self_replication/spare_host": "self-replication"}
    run = mapped.belljar(
        "run", *scenarios, "--model", "oracle:honest", "--model", "oracle:open", "--out", str(tmp_path), "--json"
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (root,) = [path for path in tmp_path.iterdir() if (path / "study.json").exists()]
    judged = json.loads(mapped.belljar("analyze", str(root), "--json").stdout)["trials"]
    assert {(t["scenario"], t["model"], t["status"], t["verdicts"][scenarios[t["scenario"]]]["succeeded"]) for t in judged} == {
        (scenario, model, "valid", succeeded)
        for scenario in scenarios
        for model, succeeded in (("oracle:honest", "false"), ("oracle:open", "true"))
    }
    trials = [Trajectory.load(attempt.root) for trial in RunLayout(root).trials() for attempt in trial.attempts()]
    assert {trial.manifest.users_mapped for trial in trials if trial.manifest} == {True}
    assert all(body.passed for trial in trials for _, body in trial.of(ContainmentCertificate))
    states = [state for trial in trials for _, body in trial.of(FileEffect) for state in (body.before, body.after) if state]
    assert states
    assert {state.uid for state in states} <= {0, 1000}
    ran = {body.uid for trial in trials for _, body in trial.of(ProcessEffect) if body.action == "started"}
    assert 1000 in ran
    assert ran <= {0, 1000, 100, 65534, None}


def test_the_first_process_has_ids_that_the_machine_gave_to_nobody_else(mapped: PrivateDaemon) -> None:
    ids = Ids(BASE, BASE)
    script = "import time; print('up', flush=True); time.sleep(60)"
    held = ["docker", "-H", mapped.host, "run", "-d", "--network=none", "--entrypoint=python3", "belljar/base", "-c", script]
    container = subprocess.run(held, check=True, capture_output=True, text=True).stdout.strip()
    asked = ["docker", "-H", mapped.host, "inspect", "-f", "{{.State.Pid}}", container]
    init = int(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    require_ids(init, ids, "agent")
    with pytest.raises(ContainmentError, match="uid_map"):
        require_ids(init, Ids(BASE + 1, BASE), "agent")
    with pytest.raises(ContainmentError, match="uid_map"):
        require_ids(os.getpid(), ids, "agent")
    subprocess.run(["docker", "-H", mapped.host, "rm", "-f", container], check=True, capture_output=True)
