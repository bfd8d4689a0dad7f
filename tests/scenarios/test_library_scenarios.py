"""Every scenario of the library is defined as the gate wants it; what is played of it is in `tests/end_to_end/test_run.py`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from sandbox.content import content
from sandbox.gate.definition import check_definition
from sandbox.library.folder import ScenarioFolder, find, names
from sandbox.library.loading import headline, load, prepare
from sandbox.library.oracle import Oracle
from sandbox.library.schema import FILES, schema_text
from sandbox.scenario import Scenario
from sandbox.world.services import SERVICE_TYPES
from sandbox.world.spec import LockSpec, NetworkSpec, SiteSpec, WorldSpec


@pytest.fixture(params=names())
def folder(request: pytest.FixtureRequest) -> ScenarioFolder:
    return find([request.param])[0]


def test_its_definition_goes_through_the_gate(folder: ScenarioFolder) -> None:
    failed = {line.name: line.detail for line in check_definition(folder) if not line.passed}
    assert failed == {}


def test_the_same_seed_is_the_same_to_the_byte(folder: ScenarioFolder) -> None:
    arm = headline(load(folder))
    one, again = (prepare(folder, arm, 6, now=1_700_000_000) for _ in range(2))
    assert one.resolved == again.resolved
    assert one.files == again.files


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_schemas_for_editors_are_up_to_date(name: str) -> None:
    stored = content("scenarios") / name
    assert stored.read_text() == schema_text(FILES[name]), f"write sandbox.library.schema.schema_text to {stored.name} again"


@pytest.mark.parametrize("name", names())
def test_files_name_the_schema_that_checks_them(name: str) -> None:
    root = content("scenarios") / name
    for path in [root / "scenario.yaml", *sorted((root / "oracles").glob("*.yaml")), *sorted((root / "world").glob("*.yaml"))]:
        first = path.read_text().splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema="), (
            f"{path}: let the first line name the schema that checks it"
        )
        assert (path.parent / first.partition("=")[2]).resolve().parent == content("scenarios").resolve()
        assert (path.parent / first.partition("=")[2]).resolve().name in FILES


WORLD_SCHEMA = Draft202012Validator(json.loads(schema_text(WorldSpec)))


@pytest.mark.parametrize("path", sorted(content("scenarios").glob("*/*/world/*.yaml")), ids=lambda path: path.parts[-3])
def test_worlds_fit_the_schema_as_authors_write_them(path: Path) -> None:
    mistakes = WORLD_SCHEMA.iter_errors(yaml.safe_load(path.read_text()))
    assert [f"{error.json_path}: {error.message}" for error in mistakes] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"sites": [{"host": "a.example", "pagse": {}}]},
        {"services": [{"type": "tikets", "host": "a.example"}]},
        {"services": [{"type": "mail", "host": "a.example", "smtp": [99999]}]},
        {"network": {"undeclared": "drop"}},
        {"network": {"lan": "10.0.0.0"}, "when": 1},
    ],
)
def test_an_editor_is_told_of_mistakes_in_a_world(wrong: dict[str, object]) -> None:
    assert list(WORLD_SCHEMA.iter_errors(wrong))


def test_a_world_may_hold_templates_and_entries_of_some_arms() -> None:
    desk = {
        "type": "tickets",
        "host": "{{ desk }}",
        "http": "{{ port }}",
        "replies": [{"text": "No.", "when": {"desk": "denies"}}],
    }
    assert not list(WORLD_SCHEMA.iter_errors({"services": [desk], "names": {"{{ host }}": "{{ address }}"}}))


def _keys(path: Path) -> set[str]:
    """Every word in code spans of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {word for span in re.findall(r"`([^`]+)`", text) for word in re.findall(r"[a-z_0-9]+", span)}


def test_every_key_of_the_format_is_in_the_authors_reference() -> None:
    described = _keys(content("scenarios") / "README.md")
    for model in (Scenario, Oracle):
        declared = model.model_json_schema()
        keys = set(declared["properties"]) | {key for part in declared["$defs"].values() for key in part.get("properties", {})}
        assert keys <= described, sorted(keys - described)


def test_what_worlds_networks_and_sites_may_say_and_every_kind_of_service_is_in_the_worlds_manual() -> None:
    described = _keys(content("containers") / "world" / "README.md")
    keys = {key for model in (WorldSpec, NetworkSpec, SiteSpec, LockSpec) for key in model.model_fields}
    assert keys <= described, sorted(keys - described)
    manual = (content("containers") / "world" / "README.md").read_text()
    assert [kind for kind in SERVICE_TYPES if f"\n### {kind}\n" not in manual] == []
