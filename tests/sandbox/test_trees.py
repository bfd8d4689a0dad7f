"""The writable trees: what can be one, what lies in them, and that nothing leads out of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.docker import DockerEnvironment
from sandbox.environment import EnvironmentSpec, FileError, FileSpec, HostLimits, HostSpec
from sandbox.errors import ScenarioError
from sandbox.hosts.rooted import open_below, opened
from sandbox.hosts.trees import Trees, folders_of_root, tree_paths


def host(**changes: object) -> HostSpec:
    return HostSpec("agent", "web01", **{"limits": HostLimits(disk_mb=16), **changes})  # type: ignore[arg-type]


def test_home_and_scratch_folders_are_always_trees() -> None:
    assert tree_paths(host()) == ("/dev/shm", "/home/agent", "/tmp", "/var/tmp")
    assert "/run/sshd" in tree_paths(host(ssh=True))
    assert "/home/maria" in tree_paths(host(user="maria"))


def test_a_tree_inside_another_is_not_mounted_twice() -> None:
    assert tree_paths(host(trees=("/srv/app/data", "/srv/app/", "/srv//app/x", "/srv/application"))) == (
        "/dev/shm",
        "/home/agent",
        "/srv/app",
        "/srv/application",
        "/tmp",
        "/var/tmp",
    )


@pytest.mark.parametrize("path", ["/", "/etc", "/proc/1", "relative", "/srv/../etc", "/usr", "/dev"])
def test_some_folders_cannot_be_trees(path: str) -> None:
    with pytest.raises(ScenarioError):
        tree_paths(host(trees=(path,)))


@pytest.mark.parametrize("path", ["/srv/app", "/etc/passwd", "/srv/app/../../etc/passwd", "srv/app/x"])
def test_planted_files_lie_in_trees(path: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError):
        Trees(host(trees=("/srv/app",), files=(FileSpec(path, b""),)), tmp_path)


def test_a_folder_that_holds_only_files_of_root_is_roots_too() -> None:
    planted = [
        ("/etc/fleet/policy", FileSpec("/etc/fleet/policy", b"", owner="root")),
        ("/srv/app/own/x", FileSpec("/srv/app/own/x", b"", owner="root")),
        ("/srv/app/mixed/x", FileSpec("/srv/app/mixed/x", b"", owner="root")),
        ("/srv/app/mixed/y", FileSpec("/srv/app/mixed/y", b"")),
        ("/home/agent/x", FileSpec("/home/agent/x", b"", owner="root")),
    ]
    trees = ("/etc/fleet", "/home/agent", "/srv/app")
    assert folders_of_root(planted, trees, own=("/home/agent",)) == {"/etc/fleet", "/srv/app/own"}


@pytest.mark.docker
async def test_the_agent_cannot_replace_a_file_of_root_by_another() -> None:
    spec = EnvironmentSpec((host(trees=("/etc/fleet",), files=(FileSpec("/etc/fleet/policy", b"old", owner="root"),)),))
    async with DockerEnvironment(spec, trial="roots", labels={"belljar.dev": "trees"}) as started:
        for command in ("echo new > /etc/fleet/policy", "mv /etc/fleet/policy /tmp/x", "sed -i s/old/new/ /etc/fleet/policy"):
            result = await started.shell(command, timeout=20)
            assert result.exit_code
            assert b"ermission denied" in result.stderr
        assert await started.read("/etc/fleet/policy", limit=10) == b"old"


def test_links_do_not_lead_out_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("inside")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "climbing").symlink_to("../../../../../../etc/passwd")
    fd = os.open(root, os.O_PATH)
    try:
        for name in ("absolute", "climbing", "/../../etc/passwd"):
            with opened(fd, name, os.O_RDONLY, links=True) as file:
                assert os.read(file, 100) == b"inside"
        with pytest.raises(OSError, match="symbolic links"):
            open_below(fd, "absolute", os.O_RDONLY)
    finally:
        os.close(fd)


@pytest.fixture
async def environment() -> AsyncIterator[DockerEnvironment]:
    files = (
        FileSpec("/srv/app/old/report.txt", b"old\n", mtime=1_600_000_000),
        FileSpec("/home/agent/.ssh/authorized_keys", b"key\n", mode=0o600),
        FileSpec("/srv/app/policy", b"keep\n", owner="root"),
    )
    spec = EnvironmentSpec((host(trees=("/srv/app",), files=files),))
    async with DockerEnvironment(spec, trial="trees", labels={"belljar.run": "tests"}) as entered:
        yield entered


async def told(environment: DockerEnvironment, command: str) -> str:
    return (await environment.shell(command, timeout=20)).stdout.decode()


@pytest.mark.docker
async def test_planted_files_look_as_old_as_they_say(environment: DockerEnvironment) -> None:
    assert await told(environment, "stat -c '%U %a %Y' /srv/app/old/report.txt") == "agent 644 1600000000\n"
    assert await told(environment, "stat -c %Y /srv/app/old") == "1600000000\n"
    assert (
        await told(environment, "stat -c '%U %a' /home/agent/.ssh/authorized_keys /srv/app/policy") == "agent 600\nroot 644\n"
    )


@pytest.mark.docker
async def test_bait_does_not_make_the_engine_read_its_own_machine(environment: DockerEnvironment, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the machine's own")
    await told(
        environment,
        f"ln -s {secret} /tmp/bait; ln -s {tmp_path} /tmp/folder; ln -s /etc/hostname /tmp/name; ln -s / /srv/app/top",
    )
    with pytest.raises(FileError, match="No such file"):
        await environment.read("/tmp/bait", limit=100)
    with pytest.raises(FileError, match="No such file"):
        await environment.list("/tmp/folder")
    with pytest.raises(FileError):
        await environment.write("/tmp/folder/x", b"")
    assert secret.read_text() == "the machine's own"
    assert await environment.read("/tmp/name", limit=100) == b"web01\n"
    assert "os-release" in [entry.name for entry in await environment.list("/srv/app/top/etc")]
    await environment.write("/srv/app/top/tmp/through", b"1")
    assert await told(environment, "cat /tmp/through") == "1"


@pytest.mark.docker
async def test_what_is_no_regular_file_does_not_hang_the_engine(environment: DockerEnvironment) -> None:
    await told(environment, "mkfifo /tmp/pipe; ln -s /tmp/pipe /tmp/to_pipe")
    for path in ("/tmp/pipe", "/tmp/to_pipe"):
        with pytest.raises(FileError, match="Not a regular file"):
            await environment.read(path, limit=10)
    with pytest.raises(FileError):
        await environment.write("/tmp/pipe", b"x")


@pytest.mark.docker
async def test_a_full_disk_is_the_agents_to_see(environment: DockerEnvironment) -> None:
    with pytest.raises(FileError, match="No space left"):
        await environment.write("/tmp/big", bytes(40 * 2**20))
    await told(environment, "rm /tmp/big")
    await environment.write("/tmp/small", b"1")


@pytest.mark.docker
async def test_mounts_are_nosuid_and_nodev_and_hold_the_host_apart(environment: DockerEnvironment) -> None:
    lines = (await told(environment, "cat /proc/self/mountinfo")).splitlines()
    trees = [line for line in lines if line.split()[4] in ("/tmp", "/srv/app", "/home/agent", "/dev/shm", "/var/tmp")]
    assert len(trees) == 5
    assert all({"nosuid", "nodev", "rw"} <= set(line.split()[5].split(",")) for line in trees)
    assert "belljar" not in "".join(lines)


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.docker
async def test_nothing_is_left_behind(environment: DockerEnvironment) -> None:
    source = str(environment._folder)
    assert source in mounts()
    await environment.__aexit__(None, None, None)
    assert source not in mounts()
    assert Path(source).name not in await asyncio.to_thread(os.listdir, "/run/belljar")
    assert environment.hosts == {}
