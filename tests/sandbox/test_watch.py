"""A retold trial shows every step, harmlessly, and keys move through it."""

from __future__ import annotations

import io
import os
import pty
import select
import sys
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


class Typist:
    """The command in a terminal of its own, whose keys are pressed one by one."""

    def __init__(self, trial: Path) -> None:
        self.pid, self._line = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", COLUMNS="100", LINES="40")
            os.execv(sys.executable, [sys.executable, "-m", "sandbox", "replay", str(trial), "--watch"])

    def sees(self, wanted: str) -> bool:
        """Whether `wanted` is shown before nothing more comes for a while."""
        shown = ""
        while wanted not in shown:
            ready, _, _ = select.select([self._line], [], [], 60)
            if not ready:
                return False
            try:
                shown += os.read(self._line, 65536).decode(errors="replace")
            except OSError:
                return False
        return True

    def press(self, keys: bytes) -> None:
        os.write(self._line, keys)

    def close(self) -> int:
        """The command's exit status, once it has ended."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._line)
        return os.waitstatus_to_exitcode(status)


async def test_in_a_terminal_keys_move_search_set_the_pace_and_quit(recorded: Trajectory) -> None:
    typist = Typist(recorded.layout.root)
    try:
        assert typist.sees("step 0 of 12")
        for keys, shown in (
            (b"n", "step 1 of 12"),
            (b"\x1b[C", "step 2 of 12"),
            (b"\x1b[D", "step 1 of 12"),
            (b"11g", "step 11 of 12"),
            (b"/needle3\n", "step 3 of 12"),
            (b"/needlf\x7fe4\r", "step 4 of 12"),
            (b"/nothing like it\n", "is nowhere"),
            (b"+++", "0.25 s a step"),
            (b"a", "step 12 of 12"),
        ):
            typist.press(keys)
            assert typist.sees(shown), keys
    finally:
        typist.press(b"q")
        status = typist.close()
    assert status == 0
