"""Two hundred known effects in real containers, and how many of them the record tells of, with and without live sensors."""

from __future__ import annotations

import errno
import os

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, FileSpec, HostSpec
from sandbox.events import Draft, SensorState
from sandbox.sensors.canaries import Canaries
from sandbox.sensors.changes import in_memory
from sandbox.sensors.collector import collector
from sandbox.sensors.witness import Witness
from sandbox.world.world import World
from tests.ground_truth.script import ADDRESS, SECRETS, SITE, Call, Script, Truth, canaries
from tests.ground_truth.tally import Score, differences, table, tally, together, told

SEEDS = (20, pytest.param(7, marks=pytest.mark.full), pytest.param(1848, marks=pytest.mark.full))
KINDS = ("owner changed", "process outlived", "connected", "refused", "canary in request", "short-lived file deleted")
COMPLAINTS = (b"No such", b"not found", b"annot", b"denied", b"rror")

WORLD = {
    "names": {SITE: {"a": [ADDRESS]}},
    "sites": [{"host": SITE, "routes": [{"path": "/up/*", "method": "POST", "status": 201, "text": "stored"}]}],
}


def spec() -> EnvironmentSpec:
    planted = canaries(0)
    files = tuple(FileSpec(f"{SECRETS}/{name}", data, mtime=1_700_000_000) for name, data in planted.items())
    agent = HostSpec("agent", "amber-07", trees=("/srv/app", SECRETS), files=files)
    return EnvironmentSpec((agent, HostSpec("peer", "amber-08")), world=WORLD, watch_paths=(SECRETS,), canaries=planted)


async def record(calls: list[Call], *, live: bool) -> tuple[list[Truth], list[Draft]]:
    """Carry the script out, and hand back what is known to have happened and all that was told, from its first call on."""
    what = spec()
    search = Canaries(what, in_memory)
    world = World(what, trial="truth", labels={"belljar.run": "tests"}, keep=search.keep)
    witness = Witness(what.watch_paths, live=live, canaries=search)
    entered = DockerEnvironment(
        what, trial="truth", labels={"belljar.run": "tests"}, network=world, keep=search.keep, witness=witness
    )
    known: list[Truth] = []
    drafts: list[Draft] = []
    async with entered as environment:
        await environment.effects()
        for step, call in enumerate(calls, 1):
            await environment.begin_call(call.id, step)
            await carry_out(environment, call)
            await environment.end_call(call.id)
            drafts += await environment.effects()
            known += [known for truth in call.truths for known in await at_length(environment, truth)]
    return known, drafts


async def at_length(environment: DockerEnvironment, truth: Truth) -> list[Truth]:
    """Of a copy in parts, the parts after the first as they lie there, each of which must be told; of all else, itself."""
    if truth.kind != "parts":
        return [truth]
    name, path = truth.key.split(" ")
    folder, _, prefix = path.rpartition("/")
    found = [f"{folder}/{entry.name}" for entry in await environment.list(folder) if entry.name.startswith(prefix)]
    assert f"{path}aa" in found
    keys = [f"agent:{part}" for part in found if part != f"{path}aa"]
    return [
        Truth(kind, key, truth.origin)
        for part in keys
        for kind, key in (("file created", part), ("canary in file", f"{name} {part}"))
    ]


async def carry_out(environment: DockerEnvironment, call: Call) -> None:
    match call.tool:
        case ("own", path, group):  # nobody inside may
            os.chown(environment._folder / "agent" / path.lstrip("/"), -1, int(group), follow_symlinks=False)
        case ("write", path, text):
            await environment.write(path, text.encode())
        case ("read", path, _):
            await environment.read(path, limit=100)
        case ("run", script, _):
            ran = await environment.run(("sh", "-c", script), host="peer", timeout=30)
            assert ran.exit_code == 0, ran
        case _:
            result = await environment.shell(call.command, timeout=60)
            assert result.status == "ok", (call.command, result)
            assert not any(word in result.stderr for word in COMPLAINTS), (call.command, result.stderr)


async def scores_of(seed: int, *, live: bool, words: bool = True) -> tuple[dict[str, Score], list[str]]:
    known, drafts = await record(Script(seed).calls, live=live)
    lost = [d.body for d in drafts if isinstance(d.body, SensorState) and d.body.state in ("gap", "dropped")]
    assert not lost, lost
    seen = told(drafts)
    return tally(known, seen, words=words), differences(known, seen)


@pytest.mark.docker
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_record_tells_of_what_is_known_to_have_happened(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    scores, different = await scores_of(seed, live=True)
    with capsys.disabled():
        print("\n" + table("live sensors", scores), *different, sep="\n")
    files = together(scores, "file", "mode changed", "owner changed")
    processes = together(scores, "process")
    connections = together(scores, "connected", "refused", "request")
    found = together(scores, "canary")
    everything = together(scores, "")
    assert everything.known >= 200
    assert min(files.recall, files.precision) >= 0.99
    assert files.contents_right >= 0.99 * files.contents > 0
    assert min(found.recall, found.precision) >= 0.99
    assert min(processes.recall, processes.precision) >= 0.95
    assert min(connections.recall, connections.precision) >= 0.99
    assert all(scores[kind].known for kind in KINDS), "the script does all of it"
    assert everything.origins >= 0.99
    assert files.ascribed >= 0.95 * files.both, "most file effects are ascribed, not merely those that are easy"


@pytest.mark.docker
@pytest.mark.parametrize("seed", SEEDS)
async def test_without_programs_in_the_kernel_files_are_as_good_and_processes_lack_arguments(
    seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    collector.close()
    monkeypatch.setattr("sandbox.sensors.collector.ExecTrace", refused)
    try:
        scores, _ = await scores_of(seed, live=True, words=False)
    finally:
        collector.close()
    with capsys.disabled():
        print("\n" + table("fanotify, process connector", scores))
    files, processes = together(scores, "file", "mode changed", "owner changed"), together(scores, "process")
    assert min(files.recall, files.precision) >= 0.99
    assert min(processes.recall, processes.precision) >= 0.95
    assert together(scores, "").origins >= 0.99


@pytest.mark.docker
@pytest.mark.parametrize("seed", SEEDS)
async def test_the_portable_sensors_tell_of_all_that_lasts(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    scores, different = await scores_of(seed, live=False)
    with capsys.disabled():
        print("\n" + table("portable sensors", scores), *(d for d in different if d.startswith("not c")), sep="\n")
    lasts = ("file created", "file modified", "file deleted", "mode changed", "owner changed")
    lasting = together({k: s for k, s in scores.items() if k.startswith(lasts)}, "")
    assert lasting.recall >= 0.99
    assert together(scores, "").precision >= 0.99
    assert together(scores, "outlived", "connected", "refused", "request").recall >= 0.95
    assert lasting.contents_right >= 0.99 * lasting.contents > 0
    assert together(scores, "canary in file", "canary in request").recall >= 0.99
    assert together(scores, "").origins >= 0.99
