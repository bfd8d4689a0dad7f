"""A retold trial shows every step, harmlessly, and keys move through it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from sandbox.cli.watch import _Screen, scenes, watch_trial
from sandbox.events import Call, Draft, Message, ModelCalled, ToolCalled
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from sandbox.trajectory import Trajectory
from tests.sandbox import recording

EVIL = "\x1b[2Jcleared \u202egnp.exe [bold]not markup[/bold]"


@pytest.fixture
async def recorded(tmp_path: Path) -> Trajectory:
    attempt = AttemptLayout(tmp_path / "attempt-1")
    async with Ledger(attempt) as ledger:
        await ledger.append(Draft(recording.manifest()))
        for step in range(1, 13):
            ledger.step = step
            call = Call(id=f"c{step}", tool="bash", arguments={"command": f"echo needle{step}"})
            said = EVIL if step == 2 else f"turn {step}"
            await ledger.append(Draft(ModelCalled(delta=(), reply=Message(role="assistant", content=said, calls=(call,)))))
            await ledger.append(Draft(ToolCalled(call=call.id, tool="bash", arguments=call.arguments)))
    return Trajectory.load(attempt.ledger)


def test_without_a_terminal_all_steps_are_printed_and_no_control_character_passes(recorded: Trajectory) -> None:
    out = io.StringIO()
    watch_trial(recorded, pace=0, out=Console(file=out, width=120))
    told = out.getvalue()
    assert all(f"step {n} of 12" in told for n in range(13))
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\\x1b[2Jcleared \\u202egnp.exe [bold]not markup[/bold]" in told


def test_keys_go_on_back_and_to_a_step_and_a_search_goes_round(recorded: Trajectory) -> None:
    screen = _Screen(scenes(recorded), Console(file=io.StringIO()), pace=0)
    for key, place in (("n", 1), ("\n", 2), ("p", 1), ("1", 1), ("1", 1), ("g", 11), ("n", 12), ("n", 12), ("g", 12)):
        screen.press(key)
        assert screen.place == place, key
    screen.sought = "NEEDLE3"
    screen.search()
    assert screen.place == 3
    screen.sought = "nowhere ("
    screen.search()
    assert screen.place == 3
    assert "nowhere" in screen.said
    screen.press("a")
    screen.press("+")
    assert (screen.auto, screen.pace) == (True, 1.0)
