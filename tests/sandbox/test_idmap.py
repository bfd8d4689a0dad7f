"""How a daemon's mapping of users is read, and what it does to a tree that is shown and to a process that is told of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.environment import FileSpec, HostSpec
from sandbox.errors import NotReadyError
from sandbox.events import ProcessEffect
from sandbox.hosts.daemon import Daemon
from sandbox.hosts.idmap import Ids, ids_of, own_ids, require_ids
from sandbox.hosts.rooted import take_on
from sandbox.hosts.trees import Trees

MAPPED = {"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]}


def told(**info: Any) -> Daemon:
    """A daemon that says this of itself."""

    class Told:
        def info(self) -> dict[str, Any]:
            return info

    return cast("Daemon", Told())


def test_the_mapping_is_read_from_what_the_daemon_says_of_itself() -> None:
    assert ids_of(told(SecurityOptions=["name=seccomp,profile=default"], DockerRootDir="/var/lib/docker")) is None
    assert ids_of(told(**MAPPED, DockerRootDir="/var/lib/docker/100000.200000")) == Ids(100000, 200000)


def test_a_mapping_that_is_not_told_is_refused() -> None:
    with pytest.raises(NotReadyError, match="userns-remap"):
        ids_of(told(**MAPPED, DockerRootDir="/var/lib/docker"))


def test_without_a_mapping_any_process_will_do() -> None:
    require_ids(os.getpid(), None, "agent")


def test_a_process_is_told_of_under_the_hosts_own_ids() -> None:
    effect = ProcessEffect(action="started", pid=2, argv=("true",), exe="/bin/true", uid=101_000, sensor="s")
    assert own_ids(effect, Ids(100_000, 100_000)).uid == 1000
    assert own_ids(effect, Ids(200_000, 200_000)).uid == 101_000
    assert own_ids(effect.model_copy(update={"uid": None}), Ids(100_000, 100_000)).uid is None


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    host = HostSpec("agent", "web01", files=(FileSpec("/home/agent/note", b"1"), FileSpec("/srv/x/rule", b"2", owner="root")),
                    trees=("/srv/x",))  # fmt: skip
    made = Trees(host, tmp_path / "agent")
    made.mount({"/etc/hosts": b""}, Ids(300_000, 400_000))
    yield made
    made.unmount()


@pytest.mark.docker
def test_a_tree_keeps_the_hosts_ids_and_is_shown_with_the_machines(trees: Trees) -> None:
    def owner(path: Path) -> tuple[int, int]:
        return path.stat().st_uid, path.stat().st_gid

    shown = {bind.target: Path(bind.source) for bind in trees.binds(["/etc/hosts"])}
    assert owner(trees.root / "home/agent/note") == (1000, 1000)
    assert owner(shown["/home/agent"] / "note") == (301_000, 401_000)
    assert owner(trees.root / "srv/x/rule") == (0, 0)
    assert owner(shown["/srv/x"] / "rule") == owner(shown["/etc/hosts"]) == (300_000, 400_000)
    folder = os.open(shown["/tmp"], os.O_PATH)

    def make() -> None:
        take_on(301_000, 401_000)
        os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=folder))

    with ThreadPoolExecutor(1) as thread:
        thread.submit(make).result()
    os.close(folder)
    assert owner(trees.root / "tmp/new") == (1000, 1000)


@pytest.mark.docker
def test_both_mounts_are_gone_afterwards(trees: Trees) -> None:
    trees.unmount()
    assert str(trees.root) not in Path("/proc/self/mountinfo").read_text()
    assert not list(trees.root.parent.iterdir())
