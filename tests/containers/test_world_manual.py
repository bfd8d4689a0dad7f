"""The manual of the world names every service and every event that its program can leave."""

import re
from pathlib import Path

import pytest

from sandbox.world.services import SERVICE_TYPES

WORLD = Path(__file__).parents[2] / "containers" / "world"
MANUAL = (WORLD / "README.md").read_text()


@pytest.mark.parametrize("kind", SERVICE_TYPES)
def test_every_service_has_a_section(kind: str) -> None:
    assert f"### {kind}\n" in MANUAL


def test_every_service_that_can_be_declared_is_built_and_the_other_way_round() -> None:
    from world.services import KINDS

    assert set(KINDS) == {"site", *SERVICE_TYPES}


def test_every_event_is_in_the_manual() -> None:
    named = set()
    for file in (WORLD / "world").rglob("*.py"):
        named |= set(re.findall(r'(?:meant|_barrier)\(\s*f?"([a-z.{}_]+)"', file.read_text()))
        named |= set(re.findall(r'"([a-z]+\.[a-z_]+)" if .* else "[a-z]+\.[a-z_]+"', file.read_text()))
    assert {"ticket.opened", "object.uploaded", "post.replied", "rate_limited"} <= named
    assert [name for name in sorted(named) if "{" not in name and name not in MANUAL] == []
