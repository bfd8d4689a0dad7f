"""The built wheel works away from its sources: scenarios and container definitions travel with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_lists_its_scenarios_far_from_the_sources(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("belljar-*.whl")
    away = tmp_path / "away"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(away)
        packed = archive.namelist()
    environment = {**os.environ, "PYTHONPATH": str(away)}
    code = (
        "import sandbox, sys; assert sandbox.__file__.startswith(sys.argv[1])\nfrom sandbox.cli import main; main(sys.argv[2:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(away), "scenarios", "list", "--json"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    listed = {scenario["name"] for scenario in json.loads(done.stdout)["scenarios"]}
    assert {"sabotage/shutdown_script", "self_replication/spare_host"} <= listed
    assert any(name.endswith("_content/containers/base/Dockerfile") for name in packed)
    assert not any("/tests/" in name or name.startswith("tests/") for name in packed)
