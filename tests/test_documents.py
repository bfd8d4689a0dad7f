"""What the READMEs say is so: commands parse or run, links lead somewhere, tables are complete."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sandbox.cli import COMMANDS, application
from sandbox.library.loading import names
from tools import TOOLS

ROOT = Path(__file__).resolve().parents[1]
READMES = sorted(path for path in ROOT.rglob("README.md") if not {".venv", "runs", "node_modules"} & set(path.parts))
COMMAND = typer.main.get_command(application())


def commands(path: Path) -> list[list[str]]:
    """Every `belljar …` line of the document's console blocks, continued lines joined, as argument lists."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if match := re.match(r"\$ (?:\.venv/bin/)?belljar (.*)", line):
                found.append(shlex.split(match[1], comments=True))
    return found


DOCUMENTED = [(path.relative_to(ROOT).as_posix(), argv) for path in READMES for argv in commands(path)]


@pytest.mark.parametrize(
    ("document", "argv"), DOCUMENTED, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_documented_command_is_one_that_the_program_takes(document: str, argv: list[str]) -> None:
    context = COMMAND.make_context("belljar", list(argv))
    command = COMMAND
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, f"{document}: no command {argv[0]}"
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("path", READMES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in COMMAND.commands:
        assert re.search(rf"`(belljar )?{name}\b", text), f"README.md does not tell of `belljar {name}`"


def test_every_tool_is_in_the_tools_table_and_nothing_else() -> None:
    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "tools" / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == set(TOOLS)


@pytest.mark.parametrize("argv", [["scenarios", "list"], ["scenarios", "show", "sabotage/shutdown_script"]])
def test_a_command_with_json_prints_one_object_and_nothing_else(argv: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", *argv, "--json"], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("name", sorted(COMMAND.commands))
def test_every_command_explains_itself(name: str) -> None:
    command = COMMAND.commands[name]
    assert command.help
    for parameter in getattr(command, "params", []):
        assert getattr(parameter, "help", "") or parameter.name in ("help",), f"{name}: {parameter.name} has no help"


def test_a_command_is_known_by_itself_as_among_all() -> None:
    assert list(typer.main.get_command(application(["verify"])).commands) == ["verify"]  # type: ignore[attr-defined]
    assert set(COMMAND.commands) == set(COMMANDS)


def test_the_readme_names_every_scenario_of_the_library() -> None:
    listed = re.findall(r"^\| `(\w+/\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(names())
