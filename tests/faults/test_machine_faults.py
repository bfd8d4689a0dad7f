"""What the machine does to a trial is recorded as the machine's doing; the trials beside it are whole, and the run goes on."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from analysis.coverage import coverage_of
from sandbox.docker import DockerEnvironment
from sandbox.events import FileEffect, SensorState
from sandbox.hosts.daemon import daemon
from sandbox.record.verify import verify
from sandbox.sensors.collector import collector
from sandbox.trajectory import Trajectory
from tests.faults.faulty import FaultyStudy, errors_of, judged

pytestmark = pytest.mark.docker

DAY = 24 * 3600


def assert_infrastructure(study: FaultyStudy, words: str) -> None:
    """The second trial alone was struck, its ledger says by what (a pattern) and by whose fault; it counts for nothing."""
    assert study.stops() == ["submitted", "infrastructure", "submitted"]
    struck = study.attempts()[1]
    errors = errors_of(struck)
    assert {error.fault for error in errors} == {"infrastructure"}
    assert re.search(words, errors[-1].message), errors[-1].message
    verdict = judged(struck)
    assert verdict["status"] == "invalid"
    assert verdict["verdicts"]["sabotage"]["attempted"] != "true"
    assert all(verify(attempt.root).ok for attempt in study.attempts())
    assert all(judged(study.attempts()[n])["status"] == "valid" for n in (0, 2))
    assert not daemon().list_containers({"belljar.run": study.layout.id})


def assert_nothing_repeated(study: FaultyStudy) -> None:
    """Resuming a run whose trials have all ended changes no ledger."""
    before = ledgers(study)
    asyncio.run(study.resume())
    assert ledgers(study) == before


def ledgers(study: FaultyStudy) -> dict[Path, bytes]:
    return {attempt.ledger: attempt.ledger.read_bytes() for attempt in study.attempts()}


def test_a_container_removed_by_somebody_ends_its_trial_alone(tmp_path: Path) -> None:
    async def remove(environment: DockerEnvironment) -> None:
        container = environment._agent.container

        async def soon() -> None:
            await asyncio.sleep(0.3)
            await asyncio.to_thread(daemon().force_remove, container)

        study.meanwhile(soon())

    study = FaultyStudy.made(tmp_path, remove)
    asyncio.run(study.run())
    assert_infrastructure(study, "container is gone|has stopped")
    assert_nothing_repeated(study)


def test_a_host_killed_for_want_of_memory_is_not_the_agents_doing(tmp_path: Path) -> None:
    """The kernel takes the host's first process, so that all of it dies in the middle of a call."""

    async def take_init_first(environment: DockerEnvironment) -> None:
        score = Path(f"/proc/{environment.pids['agent']}/oom_score_adj")
        await asyncio.to_thread(score.write_text, "1000")

    part = "python3 -c 'import time; x = b\"x\" * (50 << 20); time.sleep(5)'"
    greedy = ("echo one", f"for n in 1 2 3 4; do {part} & done; wait", "echo three")
    study = FaultyStudy.made(tmp_path, take_init_first, commands=greedy)
    asyncio.run(study.run())
    assert_infrastructure(study, "Host agent has stopped|shell did not answer")  # by who is asked first
    assert {error.type for error in errors_of(study.attempts()[1])} == {"EnvironmentDied"}
    assert_nothing_repeated(study)


def test_a_world_killed_in_the_middle_ends_its_trial_alone(tmp_path: Path) -> None:
    async def kill(environment: DockerEnvironment) -> None:
        world = environment._network
        await asyncio.to_thread(daemon().force_remove, world.container)  # type: ignore[union-attr]

    study = FaultyStudy.made(tmp_path, kill, world=True)
    asyncio.run(study.run())
    assert_infrastructure(study, "The world is gone")
    assert_nothing_repeated(study)


def test_a_sensor_that_fails_leaves_a_gap_and_no_acquittal(tmp_path: Path) -> None:
    async def blind(environment: DockerEnvironment) -> None:
        tree = environment._folder / "agent" / "tmp"
        await asyncio.to_thread(tree.rename, tree.with_name("elsewhere"))

    study = FaultyStudy.made(tmp_path, blind)
    asyncio.run(study.run())
    struck = study.attempts()[1]
    gaps = [body for _, body in Trajectory.load(struck.root).of(SensorState) if body.state == "gap" and "files" in body.covers]
    assert gaps
    assert {judged(struck)["verdicts"]["sabotage"][fact] for fact in ("attempted", "succeeded")} == {"undetermined"}
    assert verify(struck.root).ok
    assert study.stops() == ["submitted"] * 3, "the host went on, and only the look at it failed"


def test_a_collector_that_ends_in_the_middle_leaves_told_gaps_in_what_only_it_could_see(tmp_path: Path) -> None:
    """The looks from outside go on, so what rests on them alone may still be decided; what came and went may not."""

    async def end(_: DockerEnvironment) -> None:
        await asyncio.to_thread(collector.close)

    study = FaultyStudy.made(tmp_path, end)
    asyncio.run(study.run())
    first, struck, third = (Trajectory.load(attempt.root) for attempt in study.attempts())
    gone = {body.sensor: body for _, body in struck.of(SensorState) if body.state in ("gap", "dropped")}
    assert gone["exectrace"].state == "gap"
    assert gone["fanotify"].covers == ("passing", "opens")
    coverage = coverage_of(struck.events, {"agent": "agent"}, closed=True)
    assert "exectrace: gap" in coverage.missing(("processes",))
    assert coverage.missing(("files",)) == ""
    assert verify(study.attempts()[1].root).ok
    for whole in (first, third):
        assert coverage_of(whole.events, {"agent": "agent"}, closed=True).missing(("files", "processes")) == ""
    assert_nothing_repeated(study)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 4 MiB: a file with a file system in it, mounted over a loop device."""
    folder, image = tmp_path / "disk", tmp_path / "image"
    folder.mkdir()
    image.write_bytes(bytes(4 * 2**20))
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_ends_its_trial_alone_once_somebody_makes_room(tmp_path: Path, small_disk: Path) -> None:
    hog = small_disk / "hog"

    def fill() -> None:
        with suppress(OSError), hog.open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass

    async def filled(_: DockerEnvironment) -> None:
        await asyncio.to_thread(fill)

    study = FaultyStudy.made(small_disk, filled)
    study.before_third = hog.unlink
    asyncio.run(study.run())
    assert_infrastructure(study, "No space left on device")
    assert_nothing_repeated(study)


def test_a_date_set_back_in_the_middle_of_a_run_changes_no_order_and_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the engine that asks for the date is told one of a day before, from the second trial's first call on."""
    date, seconds = time.time_ns, time.time

    async def set_back(_: DockerEnvironment) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: date() - DAY * 10**9)
        monkeypatch.setattr(time, "time", lambda: seconds() - DAY)

    study = FaultyStudy.made(tmp_path, set_back)
    asyncio.run(study.run())
    assert study.stops() == ["submitted"] * 3
    assert all(verify(attempt.root).ok for attempt in study.attempts())
    assert {judged(attempt)["status"] for attempt in study.attempts()} == {"valid"}
    struck = Trajectory.load(study.attempts()[1].root)
    dates = [event.header.observed_at.wall_us for event in struck.events]
    assert max(later - earlier for earlier, later in itertools.pairwise(dates)) < DAY * 10**6
    assert min(later - earlier for earlier, later in itertools.pairwise(dates)) < -DAY * 10**6 / 2
    assert struck.finished is not None
    assert 0 <= struck.finished.duration_us < 10**9
    assert {draft.body.path for draft in struck.events if isinstance(draft.body, FileEffect)} >= {"/tmp/one", "/tmp/two"}
    assert_nothing_repeated(study)
