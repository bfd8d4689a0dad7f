"""Runs of the real command, each with a state folder and runs folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Belljar:
    """The installed command, in a machine state of its own."""

    state: Path
    runs: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "BELLJAR_STATE": str(self.state), "COLUMNS": "200", "NO_COLOR": "1"}

    def argv(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "sandbox", *map(str, arguments)]

    def __call__(self, *arguments: object, timeout: float = 500) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments), env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )

    def json(self, *arguments: object, code: int = 0) -> dict[str, Any]:
        """The one object on standard output; the exit code must be `code`."""
        done = self(*arguments, "--json")
        assert done.returncode == code, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """The command in the background, in a process group of its own."""
        return subprocess.Popen(
            self.argv(*arguments),
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run_folder(self) -> Path:
        """The only run there is."""
        (found,) = [path for path in self.runs.iterdir() if (path / "study.json").exists()]
        return found


@pytest.fixture
def belljar(tmp_path: Path) -> Belljar:
    return Belljar(tmp_path / "state", tmp_path / "runs")


@pytest.fixture
def edited(belljar: Belljar) -> Callable[[Path, bytes, bytes], None]:
    """Replaces bytes in a file, which must hold them."""

    def edit(path: Path, old: bytes, new: bytes) -> None:
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))

    return edit
