"""Records that are too long: a line without an end, a million steps, more values than memory; all answered within bounds."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis.verdict import judge
from sandbox.errors import EventTooLarge, IntegrityError, TooLarge, UsageError
from sandbox.events import Draft, Header, ObservedAt, ToolCalled, TrialFinished
from sandbox.interop import import_file
from sandbox.record.layout import AttemptLayout, RunLayout
from sandbox.record.ledger import Ledger, close_interrupted
from sandbox.record.line import MAX_LINE, START, encode
from sandbox.record.verify import verify
from sandbox.trajectory import MAX_LEDGER, MAX_VALUES, Trajectory, headers, trajectories
from tests.sandbox.recording import manifest, record

MIB = 1024 * 1024
END = Draft(TrialFinished(stop_reason="submitted", steps=1))


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptLayout:
    made = RunLayout(tmp_path / "run-1").trial("trial-1").attempt(1)
    record(made.root, [Draft(manifest()), END])
    return made


def lengthened(attempt: AttemptLayout, size: int, tail: bytes = b"") -> AttemptLayout:
    """The ledger with a hole of NULs after its lines, up to `size` bytes, and `tail` after it."""
    with attempt.ledger.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(tail)
    return attempt


def within(mebibytes: int, code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """What a process of its own prints that has no more than so much address space."""
    bound = mebibytes * MIB
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bound, bound)),
        capture_output=True,
        text=True,
        check=False,
    )


LOOK = """
import sys
from sandbox.errors import UsageError
from sandbox.record.verify import verify
from sandbox.trajectory import Trajectory
print(verify(sys.argv[1]).first_bad)
try:
    print(Trajectory.load(sys.argv[1]).problems)
except UsageError as error:
    print(error.message)
"""


def test_a_line_without_an_end_is_bad_not_read(attempt: AttemptLayout) -> None:
    lengthened(attempt, 1024 * MIB)
    done = within(600, LOOK, attempt.root)
    assert done.returncode == 0, done.stderr[-500:]
    first_bad, refused = done.stdout.splitlines()
    assert "seq=2 line=3" in first_bad
    assert "longer than" in first_bad
    assert refused.endswith(f"at most {MAX_LEDGER:,} are loaded.")


def test_loading_stops_at_a_line_that_is_too_long_and_says_so(attempt: AttemptLayout) -> None:
    end = attempt.ledger.read_bytes().splitlines(keepends=True)[-1]
    lengthened(attempt, 2 * MAX_LINE, b"\n" + end)
    loaded = Trajectory.load(attempt.root)
    assert [event.kind for event in loaded.events] == ["trial.started", "trial.finished"]
    assert [problem.split(":")[0] for problem in loaded.problems] == [f"line 3 is longer than {MAX_LINE:,} bytes"]
    assert len(list(headers(attempt.root))) == 2


def test_more_values_than_a_usual_ledger_has_are_not_loaded(attempt: AttemptLayout) -> None:
    with attempt.ledger.open("ab") as file:
        file.write((b"[" + b"0," * 999 + b"0]\n") * (MAX_VALUES // 1000 + 1))
    with pytest.raises(TooLarge, match="values; at most"):
        Trajectory.load(attempt.root)


def test_an_event_that_nobody_would_read_back_is_not_written(tmp_path: Path) -> None:
    attempt = AttemptLayout(tmp_path)

    async def write() -> None:
        async with Ledger(attempt) as ledger:
            await ledger.append(Draft(manifest()))
            with pytest.raises(EventTooLarge, match=r"tool\.called event of"):
                await ledger.append(Draft(ToolCalled(call="c1", tool="bash", arguments={"command": "x" * MAX_LINE})))
            await ledger.append(END)

    asyncio.run(write())
    assert verify(attempt.root).status == "ok"
    assert [event.seq for event in Trajectory.load(attempt.root).events] == [0, 1]


def test_an_imported_call_that_is_longer_than_a_line_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    call = {"id": "1", "type": "function", "function": {"name": "bash", "arguments": json.dumps({"command": "x" * MAX_LINE})}}
    file.write_text(json.dumps([{"role": "assistant", "content": "", "tool_calls": [call]}]))
    with pytest.raises(UsageError, match=r"long\.json: A model\.called event of"):
        import_file(file, tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_trial_too_large_to_load_leaves_the_others_of_its_run_and_counts_for_nothing(attempt: AttemptLayout) -> None:
    run = RunLayout(attempt.root.parents[2])
    record(run.trial("trial-2").attempt(1).root, [Draft(manifest(trial="trial-2")), END])
    lengthened(attempt, MAX_LEDGER + 1)
    large, other = (judge(trajectory) for trajectory in trajectories(run.root))
    assert (large.id, large.status, other.id, other.status) == ("trial-1", "invalid", "trial-2", "valid")
    assert any("are loaded" in problem for problem in large.problems)


def steps(count: int) -> Iterator[bytes]:
    """The lines of a ledger that calls a tool in every step: its chain is whole, and it was never closed."""
    head = START
    for seq in range(count):
        body = ToolCalled(call=f"c{seq}", tool="bash", arguments={"command": "true"}) if seq else manifest()
        header = Header(
            kind=body.kind, seq=seq, step=seq, attempt=1, source="engine", observed_at=ObservedAt(seq, seq), prev=head
        )
        line, head = encode(header, body)
        yield line


COMMANDS = """
import resource, sys
from sandbox.cli import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)
"""


@pytest.mark.full
def test_a_million_steps_verify_and_are_refused_by_whatever_loads_them(tmp_path: Path) -> None:
    attempt = RunLayout(tmp_path / "run-1").trial("trial-1").attempt(1)
    attempt.root.mkdir(parents=True)
    with attempt.ledger.open("wb") as file:
        file.writelines(steps(1_000_000))
    before = attempt.ledger.stat()
    report = verify(attempt.root)
    assert (report.status, report.events, report.torn) == ("unanchored", 1_000_000, 0)
    for command in ("analyze {0}", "diff {0} {0}", "replay --watch {0}", "replay --served {0}", "export {0} --to atif"):
        done = within(1200, COMMANDS, *command.format(attempt.root).split())
        assert done.returncode != 0
        assert "bytes; at most" in done.stderr, done.stderr[-500:]
        assert "Traceback" not in done.stderr
        assert int(done.stderr.split()[-1]) < 600
    with pytest.raises(IntegrityError, match="are loaded"):
        asyncio.run(close_interrupted(attempt))
    after = attempt.ledger.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
