"""Live file events on a mount of the test's own: what is told, by which name, and how a flood or nonsense is borne."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.sensors import deeds
from sandbox.sensors.deeds import FileWatch
from sandbox.sensors.fanotify import CREATE, DELETE, MODIFY, OPEN, RENAME, parse

pytestmark = pytest.mark.docker  # needs what the daemon needs: root on the host


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "host"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], check=True)
    (mount / "srv/app/deep").mkdir(parents=True)
    (mount / "etc").mkdir()
    (mount / "srv/app/deep/old").write_text("x")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


@pytest.fixture
def watch(root: Path) -> Iterator[FileWatch]:
    watch = FileWatch(root, ("/srv/app",), (b"/srv/app/deep",))
    yield watch
    watch.close()


def sh(command: str, folder: Path) -> int:
    with subprocess.Popen(["bash", "-c", command], cwd=folder) as process:
        assert process.wait() == 0
    return process.pid


def seen(watch: FileWatch, mask: int) -> list[tuple[str, str]]:
    watch.pump()
    told, missed = watch.taken()
    assert missed == []
    return [(os.fsdecode(d.old or b""), os.fsdecode(d.path)) for d in told if d.mask & mask and d.path is not None]


def test_a_file_that_came_and_went_is_told_with_the_process_that_did_it(root: Path, watch: FileWatch) -> None:
    pid = sh("echo hi > short; rm short; true", root / "srv/app")
    watch.pump()
    told, _ = watch.taken()
    made = next(d for d in told if d.mask & CREATE)
    assert (made.path, made.pid) == (b"/srv/app/short", pid)
    assert made.mask & MODIFY
    assert any(d.mask & DELETE and d.path == b"/srv/app/short" and d.pid != pid for d in told)


def test_names_are_those_of_the_moment_though_folders_move_and_vanish(root: Path, watch: FileWatch) -> None:
    sh(
        "echo 1 > deep/a; mv deep gone; echo 2 > gone/b; mkdir -p n/m; : > n/m/c; mv n k; : > k/m/d; rm -r gone k; true",
        root / "srv/app",
    )
    watch.pump()
    told, _ = watch.taken()
    made = [d.path for d in told if d.mask & CREATE]
    app = b"/srv/app/"
    assert made == [app + p for p in (b"deep/a", b"gone/b", b"n", b"n/m", b"n/m/c", b"k/m/d")]
    assert [(d.old, d.path) for d in told if d.mask & RENAME] == [(app + b"deep", app + b"gone"), (app + b"n", app + b"k")]
    assert {app + b"gone/old", app + b"k/m/c", app + b"k/m"} <= {d.path for d in told if d.mask & DELETE}


def test_opens_and_odd_names_are_told_and_what_lies_outside_the_trees_is_not(root: Path, watch: FileWatch) -> None:
    sh("cat deep/old >/dev/null; echo x > ../../etc/hosts; echo y > $'n\\n\\xff'", root / "srv/app")
    told = seen(watch, OPEN)
    assert ("", "/srv/app/deep/old") in told
    assert ("", os.fsdecode(b"/srv/app/n\n\xff")) in told
    assert not any("etc" in path for _, path in told)


@pytest.mark.parametrize(
    "command",
    [
        "mv deep/old y; cat y; mv y deep/old",
        "ln deep/old y; cat y; rm y",
        "mv deep d; cat d/old; mv d deep",
        "exec 3< deep/old; rm deep/old; cat /proc/self/fd/3",
        "python3 -c \"import os; os.link('deep/old', 'y'); open('y').read(); os.remove('y')\"",
        "mv deep/old y",
    ],
)
def test_what_is_watched_is_known_by_whatever_name_it_is_opened(root: Path, watch: FileWatch, command: str) -> None:
    sh(command + "; :", root / "srv/app")
    watch.pump()
    told, _ = watch.taken()
    opened = {d.watched for d in told if d.mask & OPEN and not d.directory}
    assert opened == (set() if command == "mv deep/old y" else {b"/srv/app/deep/old"})


def test_what_comes_to_a_watched_place_is_watched_from_then_on_and_its_copies_are_not(root: Path, watch: FileWatch) -> None:
    sh("echo new > x; mv x deep/new; mv deep/new y; cat y; cp y z; cat z", root / "srv/app")
    watch.pump()
    told, _ = watch.taken()
    opened = [(d.path, d.watched) for d in told if d.mask & OPEN and not d.directory]
    assert opened[0] == (b"/srv/app/x", None)
    assert (b"/srv/app/y", b"/srv/app/deep/new") in opened
    assert {known for path, known in opened if path == b"/srv/app/z"} == {None}


def test_more_folders_than_are_known_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deeds, "FOLDERS", 2)
    (root / "srv/app/deep/er").mkdir()
    watch = FileWatch(root, ("/srv/app",))
    assert [why.partition(":")[0] for why in watch.taken()[1]] == ["more than 2 folders"]
    watch.close()


def test_a_flood_is_cut_and_said_and_the_next_look_is_whole_again(
    root: Path, watch: FileWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deeds, "BOUND", 500)
    sh("for i in {1..8000}; do : > $i; done", root / "srv/app")
    watch.pump(60)  # however slow the machine: what is left after the time would be told by the next look
    told, missed = watch.taken()
    assert missed
    assert 500 < len(told) < 8001
    sh(": > after", root / "srv/app")
    assert ("", "/srv/app/after") in seen(watch, CREATE)


def test_a_symlink_in_the_trees_place_is_not_followed(root: Path, tmp_path: Path) -> None:
    (root / "srv/out").symlink_to(tmp_path)
    watch = FileWatch(root, ("/srv/out",))
    (tmp_path / "secret").write_text("x")
    assert seen(watch, CREATE) == []
    watch.close()


@given(st.binary(max_size=300))
def test_what_is_no_event_is_refused(data: bytes) -> None:
    try:
        for event in parse(data):
            assert event.mask >= 0
    except (ValueError, struct.error):
        pass
