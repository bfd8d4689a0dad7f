"""The sensor of files on plain folders: what is told, what is read again, and what it never follows."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.sensors import looks, mappings
from sandbox.sensors.changes import WHOLE_BYTES, state_lines
from sandbox.sensors.looks import TreeSensor
from sandbox.sensors.mappings import held


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "srv/app").mkdir(parents=True)
    (tmp_path / "srv/app/a").write_text("one\ntwo\n")
    (tmp_path / "srv/app/b").write_bytes(b"\0\xff")
    return tmp_path


def watching(root: Path) -> TreeSensor:
    sensor = TreeSensor(root, ("/srv/app",))
    sensor.start()
    return sensor


def seen(sensor: TreeSensor) -> list[tuple[str, str]]:
    return sorted((effect.action, effect.path) for effect in sensor.look())


def test_nothing_done_is_nothing_told(tree: Path) -> None:
    sensor = watching(tree)
    (tree / "srv/app/a").read_text()
    assert sensor.look() == []
    assert sensor.gaps == []


def test_each_kind_of_change(tree: Path) -> None:
    sensor, app = watching(tree), tree / "srv/app"
    (app / "new").write_text("x")
    (app / "link").symlink_to("a")
    (app / "a").rename(app / "moved")
    (app / "b").chmod(0o600)
    os.chown(app / "b", 12, 34)
    assert seen(sensor) == [
        ("created", "/srv/app/link"),
        ("created", "/srv/app/new"),
        ("mode_changed", "/srv/app/b"),
        ("owner_changed", "/srv/app/b"),
        ("renamed", "/srv/app/moved"),
    ]
    (app / "link").unlink()
    (app / "link").symlink_to("b")
    (app / "new").unlink()
    (app / "new").mkdir()
    assert seen(sensor) == [("created", "/srv/app/new"), ("deleted", "/srv/app/new"), ("modified", "/srv/app/link")]


def test_a_change_with_size_and_times_put_back_is_seen(tree: Path) -> None:
    sensor, file = watching(tree), tree / "srv/app/a"
    times = file.stat()
    file.write_text("ONE\ntwo\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    (effect,) = sensor.look()
    assert effect.action == "modified"
    assert effect.diff is not None
    assert "-one\n+ONE\n" in effect.diff.text


@pytest.fixture
def in_memory_tree(tree: Path) -> Iterator[Path]:
    """On a file system as a host's trees are: in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tree / "srv/app"], check=True)
    (tree / "srv/app/a").write_bytes(bytes(4096))
    yield tree
    subprocess.run(["umount", "-l", tree / "srv/app"], check=True)


@pytest.mark.docker  # needs what the daemon needs: root on the host
def test_a_lasting_change_through_a_held_mapping_is_seen_although_no_time_differs(in_memory_tree: Path) -> None:
    sensor, file = TreeSensor(in_memory_tree, ("/srv/app",), processes=lambda: [os.getpid()]), in_memory_tree / "srv/app/a"
    with file.open("r+b") as opened:
        mapping = mmap.mmap(opened.fileno(), 4096)
    mapping[0:5] = b"first"
    time.sleep(0.05)
    sensor.start()
    before = file.stat()
    mapping[0:5] = b"other"
    assert (file.stat().st_mtime_ns, file.stat().st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    assert [(e.action, e.content and e.content.text[:5]) for e in sensor.look()] == [("modified", "other")]
    digest = state_lines(sensor.snapshot())
    mapping[0:5] = b"third"
    mapping.close()
    assert state_lines(sensor.snapshot()) != digest, "it was held as the last look ended"
    assert seen(sensor) == [("modified", "/srv/app/a")]


@pytest.mark.docker
def test_a_file_mapped_for_reading_is_not_read_again_and_one_that_may_become_writable_is(in_memory_tree: Path) -> None:
    file = in_memory_tree / "srv/app/a"
    device, inode = file.stat().st_dev, file.stat().st_ino
    for mode, told in (("r+b", {(device, inode)}), ("rb", set())):
        with file.open(mode) as opened, mmap.mmap(opened.fileno(), 4096, prot=mmap.PROT_READ):
            assert held([os.getpid()], {device}) == told
            assert held([os.getpid()], {device + 1}) == held([], {device}) == frozenset()


@pytest.mark.docker
def test_a_mapping_of_a_process_whose_first_thread_has_ended_counts(in_memory_tree: Path) -> None:
    program = (
        "import ctypes, mmap, sys, threading, time\n"
        "file = open(sys.argv[1], 'r+b')\n"
        "held = mmap.mmap(file.fileno(), 0)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"
    )
    file = in_memory_tree / "srv/app/a"
    with subprocess.Popen([sys.executable, "-c", program, file], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
            time.sleep(0.01)
        assert held([process.pid], {file.stat().st_dev}) == {(file.stat().st_dev, file.stat().st_ino)}
        process.kill()


def test_mappings_without_end_are_a_gap(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings, "SECONDS", -1.0)
    sensor = TreeSensor(tree, ("/srv/app",), processes=lambda: [os.getpid()])
    sensor.start()
    assert "mappings" in sensor.gaps[0]


@pytest.mark.docker
@pytest.mark.parametrize(("tick", "told"), [(10**11, [("modified", "/srv/app/a")]), (0, [])])
def test_what_changed_just_before_a_look_is_read_again_since_its_times_may_stand_still(
    in_memory_tree: Path, monkeypatch: pytest.MonkeyPatch, tick: int, told: list[tuple[str, str]]
) -> None:
    """A mapping of which the sensor is not told stands for a second edit within one tick of the clock."""
    monkeypatch.setattr(looks, "_TICK_NS", tick)
    with (in_memory_tree / "srv/app/a").open("r+b") as opened, mmap.mmap(opened.fileno(), 4096) as mapping:
        mapping[0:5] = b"first"
        time.sleep(0.05)
        sensor = watching(in_memory_tree)
        mapping[0:5] = b"other"
        assert seen(sensor) == told


def test_an_edit_that_replaces_the_file_is_a_modification(tree: Path) -> None:
    sensor, app = watching(tree), tree / "srv/app"
    (app / "a.tmp").write_text("three\n")
    (app / "a.tmp").replace(app / "a")
    assert seen(sensor) == [("modified", "/srv/app/a")]


def test_a_rename_that_also_changes_carries_the_new_content(tree: Path) -> None:
    sensor, app = watching(tree), tree / "srv/app"
    (app / "a").rename(app / "z")
    (app / "z").write_text("one\nthree\n")
    (effect,) = sensor.look()
    assert (effect.action, effect.renamed_from) == ("renamed", "/srv/app/a")
    assert effect.content is not None
    assert effect.content.text == "one\nthree\n"


def test_links_are_told_of_and_not_followed(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    sensor = watching(tree)
    (tree / "srv/app/out").symlink_to(tmp_path / "outside")
    (effect,) = sensor.look()
    assert effect.after is not None
    assert (effect.after.type, effect.after.target) == ("symlink", str(tmp_path / "outside"))
    assert effect.content is None


def test_a_large_file_is_told_by_its_digest(tree: Path) -> None:
    sensor = watching(tree)
    (tree / "srv/app/large").write_bytes(bytes(WHOLE_BYTES + 1))
    (effect,) = sensor.look()
    assert effect.after is not None
    assert effect.after.sha256 is not None
    assert effect.content is None


def test_odd_names_can_be_written_down(tree: Path) -> None:
    sensor = watching(tree)
    (tree / "srv/app" / os.fsdecode(b"\xff\n\x1b[2J")).write_text("x")
    (effect,) = sensor.look()
    assert effect.path == "/srv/app/\\xff\n\x1b[2J"
    assert effect.model_dump_json()


def test_a_pit_of_folders_is_a_gap_and_not_the_end(tree: Path) -> None:
    sensor = watching(tree)
    subprocess.run(["bash", "-c", "for n in {1..300}; do mkdir d && cd d; done"], cwd=tree / "srv/app", check=True)
    (tree / "srv/app/seen").write_text("x")
    assert ("created", "/srv/app/seen") in seen(sensor)
    assert "deeper than" in sensor.gaps[0]


def test_a_tree_that_cannot_be_looked_at_is_a_gap_and_its_files_are_not_told_as_deleted(tree: Path) -> None:
    sensor = watching(tree)
    (tree / "srv/app").rename(tree / "srv/elsewhere")
    assert seen(sensor) == []
    assert sensor.gaps == ["/srv/app: No such file or directory"]
    (tree / "srv/elsewhere").rename(tree / "srv/app")
    (tree / "srv/app/a").unlink()
    assert seen(sensor) == [("deleted", "/srv/app/a")]
    assert sensor.gaps == []


def test_a_file_that_cannot_be_read_for_want_of_descriptors_is_a_gap_and_no_change(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor, really_open = watching(tree), os.open

    def short(path: str | bytes, *arguments: int, **options: int) -> int:
        if path == b"a":
            raise OSError(errno.EMFILE, "Too many open files")
        return really_open(path, *arguments, **options)

    (tree / "srv/app/a").write_text("three\n")
    with monkeypatch.context() as scarce:
        scarce.setattr(os, "open", short)
        assert seen(sensor) == []
    assert sensor.gaps == ["/srv/app/a: Too many open files"]
    assert seen(sensor) == [("modified", "/srv/app/a")]


def test_a_fifo_does_not_hold_the_look_up(tree: Path) -> None:
    sensor = watching(tree)
    os.mkfifo(tree / "srv/app/pipe")
    assert seen(sensor) == [("created", "/srv/app/pipe")]


names = st.sampled_from(["a", "b", "c", "d/x", "d/y"])
deeds = st.lists(st.tuples(st.sampled_from(["write", "delete", "chmod", "move"]), names, names, st.integers(0, 3)), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deeds)
def test_effects_lead_from_one_state_to_the_next(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, str, str, int]]
) -> None:
    root = tmp_path_factory.mktemp("tree")
    app = root / "srv/app"
    (app / "d").mkdir(parents=True)
    for name in ("a", "b", "d/x"):
        (app / name).write_text(name)
    sensor = watching(root)
    model = {line.split("\t")[0]: line for line in state_lines(sensor.snapshot())}
    for deed, name, other, number in done:
        path = app / name
        if deed == "write":
            path.write_text(str(number))
        elif path.exists() and deed == "delete":
            path.unlink()
        elif path.exists() and deed == "chmod":
            path.chmod(0o600 + number)
        elif path.exists() and deed == "move":
            path.rename(app / other)
    for effect in sensor.look():
        if effect.renamed_from is not None:
            model.pop(effect.renamed_from, None)
        if effect.action == "deleted":
            model.pop(effect.path)
        elif (after := effect.after) is not None:
            content = after.sha256 or after.target or ""
            model[effect.path] = f"{effect.path}\t{after.type}\t{after.mode:o}\t{after.uid}:{after.gid}\t{content}"
    assert sorted(model.values()) == sorted(state_lines(sensor.snapshot()))
