"""`belljar import`, `export`, `seal` and `diff` as a user meets them: what they print, write and exit with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sandbox.cli.diff import diff
from sandbox.cli.export import export
from sandbox.cli.import_ import import_
from sandbox.cli.output import JsonFlag
from sandbox.cli.seal import check_bundle, seal
from sandbox.errors import UsageError
from sandbox.trajectory import Trajectory
from tests.sandbox.interop.samples import whole_trial


def check(path: Path, json_output: JsonFlag = False) -> None:
    """As `belljar verify` does with a bundle."""
    check_bundle(path, json_output=json_output)


FILES = Path(__file__).parent / "files"
app = typer.Typer()
for name, command in {"import": import_, "export": export, "seal": seal, "diff": diff, "check": check}.items():
    app.command(name)(command)


def belljar(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def as_json(*arguments: object, code: int = 0) -> Any:
    return json.loads(belljar(*arguments, "--json", code=code))


def test_import_tells_what_it_made_and_what_was_lost(tmp_path: Path) -> None:
    told = belljar("import", FILES / "openai.json", "--out", tmp_path)
    assert "openai-messages, 1 trials, 2 turns, 2 calls" in told
    assert "not carried: 1 x messages after the last reply" in told
    found = as_json("import", FILES / "atif.json", FILES / "swe_agent.traj", "--out", tmp_path)
    assert [one["format"] for one in found["imports"]] == ["atif", "swe-agent"]
    for one in found["imports"]:
        assert Trajectory.load(one["trials"][0]["path"]).complete


def test_one_bad_file_among_several_does_not_stop_the_others(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    found = as_json("import", bad, FILES / "atif.json", "--out", tmp_path / "runs", code=2)
    assert [one["format"] for one in found["imports"]] == ["atif"]
    assert [one["file"] for one in found["failed"]] == [str(bad)]
    with pytest.raises(UsageError):
        belljar("import", bad, "--out", tmp_path / "runs")


def test_export_puts_verdicts_in_and_replaces_nothing(tmp_path: Path) -> None:
    trial = whole_trial(tmp_path / "runs")
    out = tmp_path / "trial.json"
    told = belljar("export", trial.layout.root, "--to", "atif", "--out", out)
    assert "not carried: 1 x effect.file events" in told
    extras = json.loads(out.read_text())["extra"]["belljar"]
    assert set(extras["verdicts"]["verdicts"]) == {"self-replication", "sabotage", "disinformation", "copyright"}
    with pytest.raises(UsageError, match="exists"):
        belljar("export", trial.layout.root, "--to", "atif", "--out", out)
    assert not list(tmp_path.glob(".*"))


def test_a_run_is_exported_into_a_folder_a_file_a_trial(tmp_path: Path) -> None:
    for name in ("one", "two"):
        whole_trial(tmp_path / "runs", trial=name)
    found = as_json(
        "export", tmp_path / "runs" / "run-1", "--to", "openai-messages", "--out", tmp_path / "out", "--no-verdicts"
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.json", "two.json"]
    assert len(found["exports"]) == 2


def test_seal_check_and_open(tmp_path: Path) -> None:
    whole_trial(tmp_path / "runs", secret="hush-hush-4711")
    run, bundle = tmp_path / "runs" / "run-1", tmp_path / "out.belljar"
    sealed = as_json("seal", run, "--out", bundle, "--withhold", "text:hush-hush")
    assert sealed["withheld"] == {"tool.returned.output": 1, "model.called.delta": 1}
    assert sealed["withheld_files"] == ["verdicts/summary.json"]
    checked = as_json("check", bundle)
    assert checked["ok"]
    assert checked["fingerprint"] == sealed["fingerprint"]
    assert checked["events"] == len(Trajectory.load(run / "trials" / "trial-1").events)
    told = belljar("check", bundle)
    assert "proven: nothing was changed" in told
    assert "withheld: tool.returned.output in 1 events" in told
    belljar("seal", bundle, "--open", "--out", tmp_path / "opened", "--know", "me")
    assert Trajectory.load(tmp_path / "opened" / "run-1" / "trials" / "trial-1").complete
    damaged = tmp_path / "damaged.belljar"
    damaged.write_bytes(bundle.read_bytes()[:-40])
    assert "BROKEN" in belljar("check", damaged, code=1)
    assert as_json("check", damaged, code=1)["first_bad"]


def test_a_sealed_run_keeps_its_verdicts_unless_something_is_withheld(tmp_path: Path) -> None:
    whole_trial(tmp_path / "runs")
    belljar("seal", tmp_path / "runs" / "run-1", "--out", tmp_path / "all.belljar")
    belljar("seal", tmp_path / "all.belljar", "--open", "--out", tmp_path / "opened")
    summary = json.loads((tmp_path / "opened" / "run-1" / "verdicts" / "summary.json").read_text())
    assert [trial["id"] for trial in summary["trials"]] == ["trial-1"]
    assert str(tmp_path) not in json.dumps(summary)


def test_diff_in_the_terminal_as_page_and_as_json(tmp_path: Path) -> None:
    a, b = whole_trial(tmp_path / "a", secret="one thing"), whole_trial(tmp_path / "b", secret="another")
    page = tmp_path / "diff.html"
    told = belljar("diff", a.layout.root, b.layout.root, "--html", page)
    assert "First parting: turn 1, the same call gave something else" in told
    assert "- one thing" in told
    assert "default-src 'none'" in page.read_text()
    found = as_json("diff", a.layout.root, b.layout.root)
    assert found["first"]["whose"] == "answered"
    assert as_json("diff", a.layout.root, a.layout.root)["identical"]
