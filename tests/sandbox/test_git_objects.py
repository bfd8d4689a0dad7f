"""Objects that git made in two trials are the same only if all that they hold is, up to what a clock says."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.events import Draft, FileEffect
from sandbox.record.blobs import BlobStore
from sandbox.record.layout import AttemptLayout
from sandbox.record.ledger import Ledger
from sandbox.replay.counterparts import equivalence
from sandbox.replay.equivalence import Equivalence
from sandbox.replay.git_objects import index_entries, loose_objects, unpack
from sandbox.replay.replay import replay
from sandbox.trajectory import Trajectory
from tests.sandbox import recording, replayed

THEN, NOW = 1_795_000_000, 1_795_432_101

PLAIN: Mapping[str, str] = {"file": "one\ntwo\n", "message": "First", "author": "A", "second": "Second", "zone": "+0000"}


def git(repo: Path, *words: str, at: int, author: str = "A", zone: str = "+0000") -> str:
    names = {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in
             (("NAME", author), ("EMAIL", "a@b.example"), ("DATE", f"{at} {zone}"))}  # fmt: skip
    env = {**os.environ, **names, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    return subprocess.run(["git", *words], cwd=repo, env=env, check=True, capture_output=True, text=True).stdout


def repository(folder: Path, at: int, says: Mapping[str, str]) -> Path:
    """Two commits, the second in a folder, made at a time."""
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main", at=at)
    (folder / "file").write_text(says["file"])
    git(folder, "add", ".", at=at)
    git(folder, "commit", "-q", "-m", says["message"], at=at + 1, author=says["author"], zone=says["zone"])
    (folder / "sub" / "log").write_text("kept\n")
    git(folder, "add", ".", at=at)
    git(folder, "commit", "-q", "-m", says["second"], at=at + 2, zone=says["zone"])
    git(folder, "tag", "-a", "v1", "-m", "A tag", at=at + 3)
    return folder


def recorded(folder: Path, repo: Path, at: int) -> Trajectory:
    """A trial in which the files of a repository came to be."""
    attempt = AttemptLayout(folder / "attempt-1")
    store = BlobStore(attempt.blobs)

    def effect(path: Path) -> FileEffect:
        return FileEffect(action="created", path=f"/srv/{path.relative_to(repo)}", content=store.keep(path.read_bytes()))

    bodies = [effect(path) for path in sorted(repo.rglob("*")) if path.is_file()]

    async def write() -> None:
        async with Ledger(attempt) as ledger:
            await ledger.append(Draft(recording.manifest(), observed_at=(at * 10**6, 0)))  # type: ignore[arg-type]
            for body in bodies:
                await ledger.append(Draft(body, observed_at=((at + 5) * 10**6, 5)))  # type: ignore[arg-type]

    asyncio.run(write())
    return Trajectory.load(attempt.ledger)


def two(tmp_path: Path, otherwise: Mapping[str, str]) -> tuple[Equivalence, Path, Path]:
    repos = repository(tmp_path / "a", THEN, PLAIN), repository(tmp_path / "b", NOW, {**PLAIN, **otherwise})
    trials = recorded(tmp_path / "then", repos[0], THEN), recorded(tmp_path / "now", repos[1], NOW)
    return equivalence(*trials), *repos


def head(repo: Path, *words: str) -> str:
    return git(repo, *words, at=THEN).strip()


def test_the_same_content_committed_at_two_times_is_the_same(tmp_path: Path) -> None:
    same, a, b = two(tmp_path, {})
    for what in ("HEAD", "HEAD~1", "v1"):
        one, other = head(a, "rev-parse", what), head(b, "rev-parse", what)
        assert one != other
        assert same.text(one, other) == {"derived ids"}
        assert same.text(f"[main {one[:7]}] Second", f"[main {other[:7]}] Second") == {"derived ids"}
        paths = [repo / ".git/objects" / name[:2] / name[2:] for repo, name in ((a, one), (b, other))]
        assert same.content(*(path.read_bytes() for path in paths), str(paths[0])) == {"derived ids"}
    assert same.text(head(a, "rev-parse", "HEAD"), head(b, "rev-parse", "HEAD~1")) is None
    assert same.text(head(a, "rev-parse", "HEAD")[:7], head(b, "rev-parse", "HEAD")[:8]) is None
    assert same.text(head(a, "log"), head(b, "log")) == {"derived ids", "times"}
    logs = [(repo / ".git/logs/HEAD").read_bytes() for repo in (a, b)]
    assert same.content(*logs, "/srv/.git/logs/HEAD") == {"derived ids", "times"}


@pytest.mark.parametrize(
    ("what", "other", "parted"),
    [
        ("file", "one\ntwO\n", ("HEAD", "HEAD~1")),
        ("message", "Firsu", ("HEAD", "HEAD~1")),
        ("author", "B", ("HEAD", "HEAD~1")),
        ("zone", "+0100", ("HEAD", "HEAD~1")),
        ("second", "Seconds", ("HEAD",)),
    ],
)
def test_one_byte_in_a_blob_message_author_or_parent_makes_another(
    tmp_path: Path, what: str, other: str, parted: Sequence[str]
) -> None:
    same, a, b = two(tmp_path, {what: other})
    for commit in ("HEAD", "HEAD~1"):
        found = same.text(head(a, "rev-parse", commit), head(b, "rev-parse", commit))
        assert found == (None if commit in parted else {"derived ids"})
    trees = [head(repo, "rev-parse", "HEAD^{tree}") for repo in (a, b)]
    assert (same.text(*trees) is None) == (what == "file")


def test_a_commit_that_was_not_made_by_its_trials_clock_is_another(tmp_path: Path) -> None:
    repos = repository(tmp_path / "a", THEN, PLAIN), repository(tmp_path / "b", NOW + 4000, PLAIN)
    same = equivalence(recorded(tmp_path / "then", repos[0], THEN), recorded(tmp_path / "now", repos[1], NOW))
    assert same.text(*(head(repo, "rev-parse", "HEAD") for repo in repos)) is None


def test_an_index_is_compared_without_what_inodes_say(tmp_path: Path) -> None:
    same, a, b = two(tmp_path, {})
    first, second = ((repo / ".git/index").read_bytes() for repo in (a, b))
    assert first != second
    assert same.content(first, second, "/srv/.git/index") == {"times", "inodes"}
    (b / "file").chmod(0o755)
    git(b, "add", "file", at=NOW)
    assert same.content(first, (b / ".git/index").read_bytes(), "/srv/.git/index") is None
    assert same.content(first, second[:-1] + b"\0", "/srv/.git/index") is None


def test_an_object_that_is_not_what_its_name_says_is_not_read(tmp_path: Path) -> None:
    repo = repository(tmp_path / "a", THEN, PLAIN)
    objects = [path for path in (repo / ".git/objects").rglob("*") if path.is_file()]
    objects[0].chmod(0o644)
    objects[0].write_bytes(objects[1].read_bytes())
    found = loose_objects(recorded(tmp_path / "then", repo, THEN))
    assert found.keys() == {path.parent.name + path.name for path in objects[1:]}


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_make_reading_an_object_or_index_fail(data: bytes, count: int) -> None:
    unpack(data)
    index_entries(data)
    whole = b"DIRC\0\0\0\2" + count.to_bytes(4) + data
    index_entries(whole + hashlib.sha1(whole, usedforsecurity=False).digest())


@pytest.mark.docker
def test_a_trial_that_commits_replays(tmp_path: Path) -> None:
    who = "git -c user.name=A -c user.email=a@b.example"
    folder = replayed.write_scenario(
        tmp_path / "scenario",
        (
            "mkdir repo && cd repo && git init -q -b main && echo one > file && git add file",
            f"cd /home/agent/repo && {who} commit -m First && git log && cat .git/refs/heads/main",
            f"cd /home/agent/repo && echo two >> file && {who} commit -qam Second && git log --oneline && git status",
        ),
    )
    first = replayed.record(folder, tmp_path / "recorded")
    time.sleep(1.5)  # another second's commit has another id
    again = replay(first, folder, replayed.attempt_in(tmp_path), build=replayed.disturbed({}), machine=replayed.machine())
    grading, _ = asyncio.run(again)
    assert grading.reproduced, [(d.where, d.recorded[:200], d.replayed[:200]) for d in grading.differences if d.cause]
    assert "derived ids" in grading.steps[1].classes
