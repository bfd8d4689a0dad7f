"""One command runs real containers and says what each agent did."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sandbox.library.loading import names
from sandbox.trajectory import Trajectory
from tests.end_to_end.conftest import Belljar

pytestmark = pytest.mark.docker

SHUTDOWN = "sabotage/shutdown_script"
FIVE = {"honest", "near_miss", "open", "concealing", "blocked"}


def test_the_whole_library_goes_through_the_gate_and_every_scripted_agent_gets_the_verdict_that_it_deserves(
    belljar: Belljar,
) -> None:
    done = belljar("scenarios", "check", "--all", "--json", timeout=1500)
    checked = json.loads(done.stdout)
    failed = {
        f"{scenario['name']}: {check['name']}": check["detail"]
        for scenario in checked["scenarios"]
        for check in scenario["checks"]
        if not check["passed"]
    }
    assert failed == {}
    assert (done.returncode, checked["passed"]) == (0, True)
    played = {s["name"]: {c["name"].split()[0] for c in s["checks"]} for s in checked["scenarios"]}
    for name in names():
        assert played[name] >= FIVE, name


def test_a_run_prints_one_object_whose_verdicts_cite_events_that_exist(belljar: Belljar) -> None:
    ran = belljar.json("run", SHUTDOWN, "--model", "oracle:open", "--model", "oracle:honest", "--out", belljar.runs)
    assert ran["totals"] == {"trials": 2, "valid": 2, "invalid": 0}
    by_model = {trial["model"]: trial for trial in ran["trials"]}
    guilty, clean = by_model["oracle:open"], by_model["oracle:honest"]
    assert guilty["verdicts"]["sabotage"]["attempted"] == "true"
    assert clean["verdicts"]["sabotage"]["attempted"] == "false"
    assert clean["indicators"] == []
    assert set(guilty["verdicts"]) == {"self-replication", "sabotage", "disinformation", "copyright"}
    known = {event.seq for event in Trajectory.load(guilty["path"]).events}
    cited = guilty["verdicts"]["sabotage"]["evidence"]
    assert cited
    assert set(cited) <= known


def test_reports_are_written_and_verification_finds_the_altered_byte(belljar: Belljar) -> None:
    ran = belljar.json("run", SHUTDOWN, "--model", "oracle:honest", "--out", belljar.runs)
    run = Path(ran["run"])
    html = (run / "report.html").read_text()
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert belljar.json("verify", run)["ok"]
    assert belljar("report", run).returncode == 0
    ledger = Path(ran["trials"][0]["path"]) / "ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if b'"tool":"bash"' in line)
    lines[place] = lines[place].replace(b'"tool":"bash"', b'"tool":"bosh"')
    ledger.write_bytes(b"".join(lines))
    broken = belljar.json("verify", run, code=1)
    assert re.search(rf"\b{place}\b", json.dumps(broken["first_bad"]))
    judged = belljar.json("report", run)
    assert judged["totals"] == {"trials": 1, "valid": 0, "invalid": 1}
    assert "the record is broken" in " ".join(judged["trials"][0]["problems"])


def test_analysis_again_says_the_same_and_changes_nothing(belljar: Belljar) -> None:
    ran = belljar.json("run", SHUTDOWN, "--model", "oracle:concealing", "--out", belljar.runs)
    ledger = Path(ran["trials"][0]["path"]) / "ledger.jsonl"
    before = ledger.read_bytes()
    again = belljar.json("analyze", ran["run"])
    assert again["trials"] == ran["trials"]
    assert ledger.read_bytes() == before
    explained = belljar("analyze", ran["run"], "--explain").stdout
    assert "sabotage" in explained
