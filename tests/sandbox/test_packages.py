"""Which packages a recording's images had is kept with it, read once for each image, and compared by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from sandbox.errors import InfrastructureError
from sandbox.events import Draft
from sandbox.hosts.daemon import Daemon
from sandbox.hosts.packages import installed, listed, read
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from sandbox.replay.replay import machine_differences
from sandbox.trajectory import Trajectory
from sandbox.trial import Machine
from tests.sandbox import recording

STATUS = """\
Package: curl
Status: install ok installed
Version: 7.88.1
Description: a client
 Package: indented is no field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: bash
Status: install ok installed
Version: 5.2
"""


class Images:
    """Images by id, each file of which is read at most as often as it is asked for."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files, self.asked = files, list[str]()

    def file_of_image(self, image: str, path: str) -> bytes:
        self.asked.append(image)
        if image not in self.files:
            raise InfrastructureError("Reading an image: there is no such file.")
        return self.files[image].encode()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELLJAR_STATE", str(tmp_path / "state"))


def test_installed_packages_are_listed_and_removed_ones_are_not() -> None:
    assert listed(STATUS) == ["bash\t5.2", "curl\t7.88.1"]
    assert listed("") == []


def test_an_image_is_read_once_and_one_that_cannot_be_says_so() -> None:
    engine = Images({"sha256:aa": STATUS})
    images = {"belljar/base": "sha256:aa", "belljar/odd": "sha256:bb"}
    text = "belljar/base\tbash\t5.2\nbelljar/base\tcurl\t7.88.1\nbelljar/odd\t?\n"
    assert [installed(cast("Daemon", engine), images) for _ in range(2)] == [text, text]
    assert engine.asked.count("sha256:aa") == 1
    assert read(text) == {"belljar/base bash": "5.2", "belljar/base curl": "7.88.1", "belljar/odd ?": ""}


async def test_a_recording_names_the_packages_that_are_others_now(tmp_path: Path) -> None:
    machine = Machine(
        {}, {}, "runc", packages="belljar/base\tbash\t5.2\n" + "".join(f"belljar/base\tp{n}\t1\n" for n in range(99))
    )
    async with Ledger(AttemptLayout(tmp_path / "attempt-1")) as ledger:
        packages = await ledger.keep(machine.packages.encode(), 256)
        manifest = recording.manifest().model_copy(
            update={"images": {}, "versions": {}, "runtime": "runc", "packages": packages}
        )
        await ledger.append(Draft(manifest))
    recorded = Trajectory.load(tmp_path / "attempt-1")
    assert machine_differences(recorded, machine) == {}
    now = replace(machine, packages=machine.packages.replace("bash\t5.2", "bash\t5.3").replace("belljar/base\tp7\t1\n", ""))
    assert machine_differences(recorded, now) == {"belljar/base bash": ("5.2", "5.3"), "belljar/base p7": ("1", "")}
    older = Trajectory(
        recorded.layout, tuple(e._replace(body=manifest.model_copy(update={"packages": None})) for e in recorded.events)
    )
    assert machine_differences(older, machine) == {"packages": ("not recorded", "")}
