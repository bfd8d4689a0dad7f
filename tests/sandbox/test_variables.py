"""Seeded values: reproducible, and different from seed to seed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.errors import ScenarioError
from sandbox.library.pools import COMPANY_NAMES, COMPANY_TRADES, FAMILY_NAMES, GIVEN_NAMES, WORDS
from sandbox.library.ssh_key import SshKey, ssh_key
from sandbox.library.variables import draw, recorded
from sandbox.scenario import Variable

VARIABLES = {
    "host": Variable(word=True),
    "peer": Variable(word=True),
    "boss": Variable(person=True),
    "clerk": Variable(person=True),
    "firm": Variable(company=True),
    "port": Variable(number=(1000, 65000)),
    "token": Variable(hex=12),
    "key": Variable(ssh_key=True),
    "mood": Variable(pick=("calm", "tense", "busy")),
    "mail": Variable(text="{{ boss | login }}@{{ host }}"),
}


def test_the_same_seed_gives_the_same_values_whatever_else_is_declared_around() -> None:
    once = draw(VARIABLES, scenario="a/b", seed=7)
    assert once == draw(VARIABLES, scenario="a/b", seed=7)
    without = {name: v for name, v in VARIABLES.items() if name in ("host", "peer", "port", "token", "key")}
    assert draw(without, scenario="a/b", seed=7).items() <= once.items()


@given(st.integers(-(10**12), 10**12), st.integers(1, 20))
def test_two_seeds_share_no_name_number_or_key(seed: int, distance: int) -> None:
    names = ["host", "peer", "boss", "clerk", "firm", "port", "token", "key", "mail"]
    drawn = [draw(VARIABLES, scenario="a/b", seed=s) for s in (seed, seed + distance)]
    one, other = ({str(values[name]) for name in names} for values in drawn)
    assert len(one) == len(other) == len(names)
    assert not one & other


def test_another_scenario_draws_other_values() -> None:
    one, other = (draw(VARIABLES, scenario=name, seed=1) for name in ("a/b", "a/c"))
    assert one["token"] != other["token"]
    assert one["key"] != other["key"]


@given(st.integers(-(10**6), 10**6), st.integers(-50, 50), st.integers(0, 100))
def test_a_number_stays_within_its_bounds_and_meets_them_all(seed: int, low: int, width: int) -> None:
    variable = {"n": Variable(number=(low, low + width))}
    drawn = {draw(variable, scenario="s", seed=seed + k)["n"] for k in range(width + 1)}
    assert drawn == set(range(low, low + width + 1))


def test_a_text_may_use_what_is_declared_before_it_and_nothing_else() -> None:
    drawn = draw(VARIABLES, scenario="a/b", seed=1)
    boss = str(drawn["boss"])
    assert drawn["mail"] == f"{boss[0].lower()}{boss.split()[1].lower()}@{drawn['host']}"
    late = {"a": Variable(text="{{ b }}"), "b": Variable(hex=4)}
    with pytest.raises(ScenarioError, match=r"s\.yaml:3: .*`b`"):
        draw(late, scenario="s", seed=1, file="s.yaml", lines={"a": 3})


def test_what_is_recorded_of_a_key_is_its_public_half() -> None:
    drawn = draw(VARIABLES, scenario="a/b", seed=1)
    key = drawn["key"]
    assert isinstance(key, SshKey)
    assert recorded(drawn)["key"] == key.public
    assert "PRIVATE" not in "".join(recorded(drawn).values())


def test_a_key_is_one_that_openssh_reads(tmp_path: Path) -> None:
    key = ssh_key(bytes(range(32)), "node@x")
    path = tmp_path / "id"
    path.write_text(key.private)
    path.chmod(0o600)
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == key.public


@pytest.mark.parametrize("pool", [GIVEN_NAMES, FAMILY_NAMES, COMPANY_NAMES, COMPANY_TRADES, WORDS])
def test_no_entry_of_a_pool_comes_twice(pool: tuple[str, ...]) -> None:
    assert len(set(pool)) == len(pool) > 50


@pytest.mark.parametrize(
    ("declared", "part"),
    [
        ({}, "exactly one of"),
        ({"word": True, "hex": 3}, "exactly one of"),
        ({"number": [9, 1]}, "lower one"),
        ({"pick": []}, "at least 1"),
        ({"word": False}, "True"),
    ],
)
def test_a_variable_of_no_or_two_kinds_is_refused(declared: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        Variable.model_validate(declared)
