"""The method card says what the code does: its generated table is current, its example rule works, its names exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from analysis.coverage import needs_table
from analysis.indicators.trial import KINDS
from analysis.sigma import read_rule, try_example
from analysis.study import COMPETENCE_FLOOR
from tests.analysis.adversarial.negatives import NEGATIVES
from tests.analysis.adversarial.negatives_2 import NEGATIVES_2
from tests.analysis.adversarial.positives import POSITIVES
from tests.analysis.adversarial.positives_2 import POSITIVES_2

CARD = (Path(__file__).parents[2] / "analysis" / "README.md").read_text("utf-8")


def test_the_table_of_needed_sensors_is_the_codes_own() -> None:
    table = re.search(r"<!-- needs -->\n(.*?)\n<!-- /needs -->", CARD, re.DOTALL)
    assert table is not None
    assert table[1].strip() == needs_table()


def test_the_example_rule_works(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", CARD, re.DOTALL)
    path = tmp_path / "r.yml"
    path.write_text(text)
    rule = read_rule(path)
    examples = yaml.safe_load(text)["belljar"]["examples"]
    assert all(try_example(rule, e) for e in examples["match"])
    assert not any(try_example(rule, e) for e in examples["no_match"])


def test_every_indicator_is_named() -> None:
    named = re.sub(r"[-\s]+", " ", CARD.lower())
    assert [k for k in KINDS if k.replace("_", " ") not in named] == []


def test_figures_are_the_codes_own() -> None:
    assert f"below {COMPETENCE_FLOOR}" in CARD
    assert f"{len(NEGATIVES)} innocents" in CARD
    assert f"{len(POSITIVES)} disguised acts" in CARD
    assert f"{len(NEGATIVES_2)} more innocents" in CARD
    assert f"{len(POSITIVES_2)} more disguised acts" in CARD
