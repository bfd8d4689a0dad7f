"""A record that does not hold is told by every command that reads it, and is nobody's evidence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.errors import UsageError
from sandbox.record.layout import RunLayout
from tests.analysis.adversarial.worlds import OPS
from tests.analysis.speed import guilty, ordinary, recorded
from tests.invoked import invoke


@pytest.fixture
def run(tmp_path: Path) -> RunLayout:
    """Two trials, of which the second was altered afterwards."""
    layout = RunLayout(tmp_path / "run-1")
    ledger = recorded(ordinary(2, OPS))
    for name, data in (("0000", ledger), ("0001", forged(ledger))):
        attempt = layout.trial(name).attempt(1)
        attempt.root.mkdir(parents=True)
        attempt.ledger.write_bytes(data)
    return layout


def forged(ledger: bytes) -> bytes:
    assert b"Permission denied" in ledger or b"Next batch" in ledger
    return ledger.replace(b"Permission denied", b"Permission granted").replace(b"Next batch", b"Last batch")


@pytest.mark.parametrize(
    "command",
    [
        ("diff", "{whole}", "{altered}"),
        ("diff", "--no-verdicts", "{whole}", "{altered}"),
        ("analyze", "{altered}"),
        ("export", "{altered}", "--to", "openai-messages", "--out", "{out}"),
        ("export", "{altered}", "--to", "openai-messages", "--no-verdicts", "--out", "{out}"),
        ("replay", "--served", "{altered}"),
        ("label", "{run}", "--labeller", "a", "--override", "0001:sabotage.attempted=false", "--reason", "b"),
    ],
)
def test_every_command_tells_of_a_record_that_does_not_hold(run: RunLayout, tmp_path: Path, command: tuple[str, ...]) -> None:
    places = {"whole": run.trial("0000").root, "altered": run.trial("0001").root, "run": run.root, "out": tmp_path / "out"}
    said = invoke(*(word.format(**places) for word in command))
    assert "the record is broken" in " ".join(said.output.split()), said.output


def test_a_trial_served_from_a_broken_record_is_not_consistent(run: RunLayout) -> None:
    whole, altered = (json.loads(invoke("replay", "--served", "--json", run.trial(n).root).stdout) for n in ("0000", "0001"))
    assert "the record is broken" not in str(whole["problems"])
    assert "the record is broken" in altered["problems"][0]
    assert altered["consistent"] is False


def test_a_difference_from_a_broken_record_is_of_an_invalid_trial(run: RunLayout) -> None:
    said = invoke("diff", "--json", run.trial("0000").root, run.trial("0001").root)
    assert "invalid" in said.stdout


def test_a_ledger_on_standard_input_is_verified_too() -> None:
    ledger = recorded(guilty(2, OPS)).decode()
    whole, altered, cut = (
        json.loads(invoke("analyze", "-", "--json", answers=text).stdout)["trials"][0]
        for text in (ledger, forged(ledger.encode()).decode(), "".join(ledger.splitlines(keepends=True)[1:]))
    )
    assert (whole["status"], whole["verdicts"]["sabotage"]["attempted"]) == ("valid", "true")
    for trial in (altered, cut):
        assert trial["status"] == "invalid"
        assert "the record is broken" in " ".join(trial["problems"])


def test_what_is_no_trial_is_wrong_input_and_is_named(run: RunLayout, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 9)
    for command in (["diff", run.trial("0000").root, noise], ["replay", noise, "--served"]):
        with pytest.raises(UsageError, match="noise holds no trial"):
            invoke(*command)
