"""`python -m tests.benchmarks`: print the ratios as one JSON object and, on standard error, a table as they come in."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker

from sandbox.build import build_environment
from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, HostSpec
from sandbox.events import ErrorRaised
from sandbox.hosts.daemon import daemon
from sandbox.library.loading import ScenarioFolder
from sandbox.library.oracle import open_oracle
from sandbox.memory.environment import MemoryEnvironment
from sandbox.plan import Cell, plan_study
from sandbox.record.layout import RunLayout
from sandbox.study import Study
from sandbox.trajectory import trajectories
from sandbox.trial import BuildEnvironment, Machine
from tests.benchmarks import floor, replays, report, sensors
from tests.benchmarks.scenario import COMMANDS, write_scenario

CALLS = 60
TRIALS = int(os.environ.get("BELLJAR_BENCH_TRIALS", "12"))
LOOP_TRIALS = 200


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


async def shell_round_trip() -> dict[str, float]:
    """Median milliseconds of `true` through the held channel and through `docker exec` of the SDK, and their ratio."""
    spec = EnvironmentSpec(hosts=(HostSpec("agent", "amber-07"),))
    async with DockerEnvironment(spec, trial="bench") as environment:
        container = daemon().client.containers.list(filters={"label": "belljar.trial=bench"})[0]
        held, execs = [], []
        for _ in range(CALLS):
            started = time.perf_counter()
            await environment.shell("/bin/true", timeout=30)
            held.append(time.perf_counter() - started)
            started = time.perf_counter()
            await asyncio.to_thread(container.exec_run, ["/bin/true"], user="1000:1000")
            execs.append(time.perf_counter() - started)
    ours, theirs = statistics.median(held) * 1e3, statistics.median(execs) * 1e3
    say(f"shell round trip: {ours:.2f} ms through the channel, {theirs:.1f} ms through docker exec; ratio {ours / theirs:.3f}")
    return {"channel_ms": ours, "docker_exec_ms": theirs, "ratio": ours / theirs}


def floor_rate(concurrency: int, trials: int) -> float:
    """Trials per second of the bare floor."""
    image = daemon().image_id("belljar/base")
    api = docker.APIClient(max_pool_size=32)
    with ThreadPoolExecutor(concurrency) as pool:
        started = time.perf_counter()
        list(pool.map(lambda _: floor.trial(api, image, COMMANDS), range(trials)))
        return trials / (time.perf_counter() - started)


def study_rate(
    folder: ScenarioFolder, build: BuildEnvironment, concurrency: int, trials: int, root: Path, *, digests: bool = True
) -> float:
    """Trials per second of a study with the scripted agent, ledger, sensors and certificate included."""
    layout = RunLayout.new(root)
    plan = plan_study(
        run=layout.id,
        digests={folder.name: folder.digest},
        paths={},
        cells=[Cell(folder.name, {"incentive": "benign"}, ["oracle:ten"])],
        epochs=trials,
        seed=0,
    )
    layout.root.mkdir(parents=True)
    study = Study(
        plan=plan,
        layout=layout,
        folders={folder.name: folder},
        build=build,
        machine=Machine({}, {}, "runc"),
        open_shared=_no_model,
        open_oracle=open_oracle,
        concurrency=concurrency,
        digests=digests,
    )
    started = time.perf_counter()
    asyncio.run(study.run())
    taken = time.perf_counter() - started
    for trajectory in trajectories(layout.root):
        finished = trajectory.finished
        if finished is None or finished.stop_reason != "submitted" or finished.calls != len(COMMANDS) + 1:
            raise RuntimeError(f"a measured trial did not go as it should: {[b for _, b in trajectory.of(ErrorRaised)]}")
    return trials / taken


def _no_model(spec: str) -> object:
    raise AssertionError(spec)


def _memory(spec: EnvironmentSpec, **_: object) -> MemoryEnvironment:
    return MemoryEnvironment(spec)


def against_floor(folder: ScenarioFolder, name: str, root: Path) -> dict[str, dict[str, float]]:
    """Floor, study, floor again at each concurrency: what drifts meanwhile is averaged out."""
    found = {}
    for concurrency in (1, 4, 8):
        before = floor_rate(concurrency, TRIALS)
        ours = study_rate(folder, build_environment, concurrency, TRIALS, root)
        bare = statistics.mean((before, floor_rate(concurrency, TRIALS)))
        ratio = bare / ours
        say(f"{name}, concurrency {concurrency}: {ours:.2f} trials/s, floor {bare:.2f}/s; {ratio:.2f} x the floor's time")
        found[str(concurrency)] = {"trials_per_s": ours, "floor_per_s": bare, "ratio": ratio}
    return found


def sensors_cost(folder: ScenarioFolder, root: Path) -> dict[str, float]:
    """What all default sensors, and the portable ones, cost against none; digests, which need the same looks, are not taken.

    `ratio` is the rate with all of them to the rate with none.
    """
    found = sensors.cost(lambda build, at: study_rate(folder, build, 2, 3, at, digests=False), root, rounds=TRIALS)
    ratio = 1 / (1 + found["all_slower"])
    say(
        f"sensors: {found['all']:.2f} trials/s with all, {found['portable']:.2f} with the portable ones, {found['none']:.2f} "
        f"with none; ratio {ratio:.3f}, {found['all_slower']:+.1%} and {found['portable_slower']:+.1%} of time"
    )
    return found | {"ratio": ratio}


def replay_speed(folder: ScenarioFolder, root: Path) -> dict[str, float]:
    """Recorded and replayed one at a time."""
    recorded = root / "recorded"
    study_rate(folder, build_environment, 1, TRIALS, recorded)
    found = replays.ratio(recorded, folder.path, root / "replayed")
    say(f"replay: {found['replayed_s']:.2f} s against {found['recorded_s']:.2f} s recorded; median ratio {found['ratio']:.2f}")
    return found


def report_cost() -> dict[str, float]:
    """What ten thousand trials cost as a report, and to open."""
    found = report.cost()
    say(
        f"report of {found['trials']:,} trials: summarised in {found['summarise_s']:.1f} s, written in "
        f"{found['write_s']:.1f} s, {found['megabytes']:.1f} MB"
    )
    say(f"  opens with {found['script_s']:.2f} s of script, {found['script_with_set_s']:.2f} s with one set of trials chosen")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        os.environ["BELLJAR_STATE"] = str(root / "state")
        plain, world = write_scenario(root, world=False), write_scenario(root, world=True)
        parts: dict[str, Callable[[], object]] = {
            "shell": lambda: asyncio.run(shell_round_trip()),
            "plain": lambda: against_floor(plain, "without a world", root),
            "world": lambda: against_floor(world, "with a world", root),
            "sensors": lambda: sensors_cost(write_scenario(root, watched=True), root),
            "replay": lambda: replay_speed(world, root),
            "report": report_cost,
            "loop": lambda: study_rate(plain, _memory, 1, LOOP_TRIALS, root),
        }
        wanted = sys.argv[1:] or list(parts)
        results = {name: parts[name]() for name in wanted}
        if "loop" in results:
            say(f"loop alone, in memory: {results['loop']:.1f} trials/s of {len(COMMANDS)} commands")
    print(json.dumps(results))


main()
