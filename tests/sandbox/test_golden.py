"""Trajectories recorded by earlier versions load for ever, with every word as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.events import Interviewed, TrialStarted, UnknownBody
from sandbox.record.line import MODELS
from sandbox.record.verify import Withheld, verify
from sandbox.trajectory import Trajectory

V1 = Path(__file__).parent.parent / "golden" / "v1"
V1_HEAD = "ab20aa9f4b4de02ef73a8563c4b0c2b4b41d4eb83300bb8f14eef81040acfe3d"
V1_KINDS = 21


@pytest.fixture(scope="module")
def v1() -> Trajectory:
    return Trajectory.load(V1)


def test_version_1_verifies_with_the_head_it_was_recorded_with() -> None:
    report = verify(V1)
    assert (report.status, report.events, report.head) == ("unanchored", 23, V1_HEAD)
    assert report.withheld == (Withheld(seq=19, field="question"), Withheld(seq=19, field="text"))


def test_version_1_holds_every_kind_there_was_and_one_that_nobody_knows(v1: Trajectory) -> None:
    kinds = v1.kinds()
    assert len(kinds) == V1_KINDS
    assert kinds.keys() - MODELS.keys() == {"effect.weather"}
    assert v1.problems == []
    assert v1.complete


def test_version_1_loads_with_every_word_as_it_was_written(v1: Trajectory) -> None:
    expected = [json.loads(line) for line in (V1 / "expected.jsonl").read_text().splitlines()]
    assert len(expected) == len(v1.events)
    for wanted, event in zip(expected, v1.events, strict=True):
        body = event.body.data if isinstance(event.body, UnknownBody) else event.body.model_dump(mode="json")
        shown = {name: value for name, value in wanted["body"].items() if name not in event.withheld}
        assert wanted["header"].items() <= event.header.model_dump(mode="json").items()
        assert shown.items() <= body.items()
        assert event.hash == wanted["hash"]


def test_version_1_blobs_are_readable(v1: Trajectory) -> None:
    sizes = [len(v1.blob(digest) or b"") for digest in v1.blobs]
    assert sorted(sizes) == [1024, 39_200]
    assert v1.problems == []


def test_what_version_1_withheld_reads_as_withheld(v1: Trajectory) -> None:
    ((event, interview),) = v1.of(Interviewed)
    assert event.withheld == ("question", "text")
    assert (interview.question, interview.answer) == ("[withheld]", "no")


def test_version_1_manifest_says_its_format(v1: Trajectory) -> None:
    ((_, started),) = v1.of(TrialStarted)
    assert started.format == 1
