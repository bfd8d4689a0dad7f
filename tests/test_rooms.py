"""Who may import whom: the rooms of the house, as README and design draw them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("sandbox", "tools", "analysis")


def modules(package: str) -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def who_imports(name: str) -> set[str]:
    return {
        module
        for package in OURS
        for module, path in modules(package)
        if any(found == name or found.startswith(f"{name}.") for found in imported(path))
    }


@pytest.mark.parametrize(
    ("library", "only"),
    [
        ("docker", {"sandbox.hosts.daemon"}),
        ("langgraph", {"sandbox.agent"}),
        ("langchain", {"sandbox.models.chat"}),
    ],
)
def test_one_module_alone_knows_each_framework(library: str, only: set[str]) -> None:
    assert who_imports(library) == only


def test_tools_see_only_the_environment_and_the_events() -> None:
    allowed = ("tools", "sandbox.environment", "sandbox.events")
    for module, path in modules("tools"):
        ours = {name for name in imported(path) if name.split(".")[0] in OURS}
        assert {name for name in ours if not name.startswith(allowed)} == set(), module


def test_analysis_sees_only_recorded_things() -> None:
    allowed = ("analysis", "sandbox.events", "sandbox.scenario", "sandbox.trajectory")
    for module, path in modules("analysis"):
        ours = {name for name in imported(path) if name.split(".")[0] in OURS}
        assert {name for name in ours if not name.startswith(allowed)} == set(), module
        assert not imported(path) & {"socket", "subprocess", "time", "requests", "httpx"}, module


def test_the_vocabulary_stands_on_nothing_of_ours_outside_the_engine() -> None:
    for name in ("events", "scenario", "environment", "errors", "trajectory", "record/ledger", "record/line"):
        assert not [m for m in imported(ROOT / "sandbox" / f"{name}.py") if m.startswith(("tools", "analysis"))], name


def test_only_the_loop_the_run_and_the_commands_reach_the_other_rooms() -> None:
    reach_tools = who_imports("tools") - {m for m, _ in modules("tools")}
    reach_analysis = who_imports("analysis") - {m for m, _ in modules("analysis")}
    assert {m for m in reach_tools if not m.startswith("sandbox.cli")} <= {
        "sandbox.agent",
        "sandbox.trial",
        "sandbox.replay.replay",
    }
    gate = {f"sandbox.gate.{module}" for module in ("trials", "sensors", "verdicts", "elsewhere")}
    judges_again = {"sandbox.replay.served", *gate}
    assert {m for m in reach_analysis if not m.startswith("sandbox.cli")} <= judges_again
