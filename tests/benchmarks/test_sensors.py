"""What is measured is what it is called: all default sensors have something to tell, and without them nothing is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sandbox.events import FileEffect, SensorState
from sandbox.library.loading import headline, load, prepare
from sandbox.sensors.changes import in_memory
from tests.benchmarks.scenario import WATCHED, write_scenario
from tests.benchmarks.sensors import KINDS

pytestmark = pytest.mark.docker

PORTABLE = {"effect.file", "effect.network", "effect.service", "effect.canary"}


def told(root: Path, kind: str) -> tuple[set[str], set[str]]:
    """The kinds of effects (and `opened`) that ten commands are told of, and the sensors that said they had begun."""
    folder = write_scenario(root, watched=True)
    spec = prepare(folder, headline(load(folder)), 0).environment_spec()

    async def measured() -> tuple[set[str], set[str]]:
        built = KINDS[kind](spec, trial="bench", labels={"belljar.run": "tests"}, keep=in_memory)
        async with built as environment:
            drafts = list(await environment.effects())
            for number, command in enumerate(WATCHED):
                await environment.begin_call(f"c{number}", number)
                ran = await environment.shell(command, timeout=60)
                assert ran.exit_code == 0, (command, ran.stdout, ran.stderr)
                await environment.end_call(f"c{number}")
                drafts += await environment.effects()
        effects = {draft.body.kind for draft in drafts if draft.body.kind.startswith("effect.")}
        effects |= {d.body.action for d in drafts if isinstance(d.body, FileEffect) and d.body.action == "opened"}
        return effects, {d.body.sensor for d in drafts if isinstance(d.body, SensorState) and d.body.state == "started"}

    return asyncio.run(measured())


def test_all_default_sensors_have_something_to_tell(tmp_path: Path) -> None:
    effects, sensors = told(tmp_path, "all")
    assert effects >= PORTABLE | {"effect.process", "opened"}
    assert len(sensors) >= 4


def test_the_portable_ones_tell_what_needs_no_listening_to_the_kernel(tmp_path: Path) -> None:
    effects, _ = told(tmp_path, "portable")
    assert effects >= PORTABLE
    assert "opened" not in effects


def test_without_sensors_nothing_is_told(tmp_path: Path) -> None:
    assert told(tmp_path, "none")[0] == set()
