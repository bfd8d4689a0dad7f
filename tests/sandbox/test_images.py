"""Which images are built, in which order, and when not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.errors import InfrastructureError
from sandbox.hosts.daemon import LABELS, daemon
from sandbox.hosts.images import build_images, definitions, digest_of, in_order, outdated_images


def image(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.mkdir()
    (path / "Dockerfile").write_text(text)
    return path


def test_parents_come_first(tmp_path: Path) -> None:
    image(tmp_path, "aaa", "FROM belljar/zzz\nCOPY --from=belljar/mmm /x /y\n")
    image(tmp_path, "mmm", "FROM belljar/zzz AS part\n")
    image(tmp_path, "zzz", "ARG ROOT\nFROM ${ROOT}\n")
    (tmp_path / "notes").mkdir()
    assert in_order(definitions(tmp_path)) == ["zzz", "mmm", "aaa"]


def test_a_circle_and_an_unknown_parent_are_refused(tmp_path: Path) -> None:
    image(tmp_path, "a", "FROM belljar/b\n")
    with pytest.raises(InfrastructureError, match="start from each other or from one that is not there"):
        in_order(definitions(tmp_path))


def test_the_digest_follows_content_name_mode_and_parents(tmp_path: Path) -> None:
    folder = image(tmp_path, "a", "FROM x\n")
    script = folder / "run"
    script.write_text("1")
    script.chmod(0o644)
    seen = [digest_of(folder, {"": "1"})]
    seen.append(digest_of(folder, {"": "2"}))
    script.chmod(0o755)
    seen.append(digest_of(folder, {"": "1"}))
    script.write_text("2")
    seen.append(digest_of(folder, {"": "1"}))
    script.rename(folder / "walk")
    seen.append(digest_of(folder, {"": "1"}))
    assert len(set(seen)) == len(seen)
    assert digest_of(folder, {"": "1"}) == seen[-1]


@pytest.mark.docker
def test_what_is_unchanged_is_not_built_again() -> None:
    build_images(lambda line: None)
    lines: list[str] = []
    ids = build_images(lines.append)
    assert set(ids) >= {"belljar/base", "belljar/host"}
    assert all(line.endswith("is up to date") for line in lines)
    assert outdated_images() == []
    assert LABELS.digest in (daemon().image_labels("belljar/base") or {})
    assert daemon().image_labels("belljar/no-such-image") is None
