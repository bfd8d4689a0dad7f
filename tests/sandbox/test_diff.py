"""Comparing trials: equal ones are, the first parting is found and ascribed, nothing hostile comes through."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.cli.output import plain
from sandbox.diff import compare, lines, render_html
from sandbox.diff.alignment import _matches, align
from sandbox.diff.steps import CallStep
from sandbox.events import (
    Call,
    Content,
    Draft,
    FileEffect,
    FileState,
    Message,
    ModelCalled,
    ProcessEffect,
    ToolCalled,
    ToolReturned,
    TrialFinished,
)
from sandbox.trajectory import Trajectory
from tests.sandbox.recording import manifest, record

EVIL = "<script>alert(1)</script>\x1b[2J\u202e'\"&"


def output(text: str) -> Content:
    return Content(text=text, size=len(text.encode()), sha256="0" * 64)


class Play:
    """A trial in few words: each turn a command, its output, and files it creates."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder
        self.drafts: list[Draft] = [Draft(manifest(**changes))]
        self.n = 0

    def turn(self, command: str, out: str = "", *, files: dict[str, str] | None = None, said: str = "", told: str = "") -> Play:
        self.n += 1
        call = f"c{self.n}"
        delta = (Message(role="user", content=told),) if told else ()
        asked = Call(id=call, tool="bash", arguments={"command": command})
        self.drafts += [
            Draft(ModelCalled(delta=delta, reply=Message(role="assistant", content=said, calls=(asked,))), "agent"),
            Draft(ToolCalled(call=call, tool="bash", arguments={"command": command}), "agent"),
        ]
        for path, digest in (files or {}).items():
            after = FileState(type="file", mode=0o644, uid=1, gid=1, size=1, sha256=digest * 64)
            self.drafts.append(Draft(FileEffect(action="created", path=path, after=after), "sensor", during=call, origin=call))
        self.drafts.append(Draft(ToolReturned(call=call, status="ok", output=output(out), exit_code=0), during=call))
        return self

    def add(self, body: Any) -> Play:
        self.drafts.append(Draft(body, "sensor", origin=f"c{self.n}"))
        return self

    def done(self) -> Trajectory:
        self.drafts.append(Draft(TrialFinished(stop_reason="inert", steps=self.n)))
        record(self.folder, self.drafts)
        return Trajectory.load(self.folder)


def test_a_trial_is_identical_to_another_telling_of_it(tmp_path: Path) -> None:
    def told(name: str, pid: int) -> Trajectory:
        play = Play(tmp_path / name, run=name).turn("ls", "a b", files={"/x": "1"})
        return play.add(ProcessEffect(action="started", pid=pid, argv=("ls",))).turn("cat a", "text").done()

    found = compare(told("a", 10), told("b", 99))
    assert found.identical
    assert found.first is None
    assert any("the same" in line for line in lines(found))


@pytest.mark.parametrize(
    ("whose", "change"),
    [
        ("told", {"told": "Hurry."}),
        ("said", {"said": "I wonder."}),
        ("called", {"command": "cat b"}),
        ("answered", {"out": "other words"}),
        ("caused", {"files": {"/made": "2"}}),
    ],
)
def test_the_first_parting_is_ascribed(whose: str, change: dict[str, Any], tmp_path: Path) -> None:
    second = {"command": "cat a", "out": "words", "files": {"/made": "1"}} | change
    a = Play(tmp_path / "a").turn("ls", "a").turn("cat a", "words", files={"/made": "1"}).turn("id", "me").done()
    b = Play(tmp_path / "b").turn("ls", "a").turn(**second).turn("id", "somebody else").done()
    found = compare(a, b)
    assert found.first is not None
    assert (found.first.turn, found.first.whose) == (2, whose)
    assert found.first_action is not None
    assert found.first_action.turn == (3 if whose in ("told", "said") else 2)
    kinds = {a.events[found.first.seq_a or 0].kind, b.events[found.first.seq_b or 0].kind}
    assert kinds == {"tool.returned" if whose in ("answered", "caused") else "model.called"}


def test_outputs_that_differ_in_numbers_only_are_no_parting(tmp_path: Path) -> None:
    a = Play(tmp_path / "a").turn("date", "12:30:01 pid 4").done()
    b = Play(tmp_path / "b").turn("date", "12:31:55 pid 77").done()
    found = compare(a, b)
    assert found.first is None
    assert not found.identical
    assert found.counts["outputs_differ_in_numbers"] == 1
    assert found.rows[0].differences[0].numbers_only


def test_a_number_that_the_model_chose_is_a_parting(tmp_path: Path) -> None:
    a, b = Play(tmp_path / "a").turn("kill 10").done(), Play(tmp_path / "b").turn("kill 11").done()
    found = compare(a, b)
    assert found.first is not None
    assert found.first.whose == "called"


def test_inserted_calls_do_not_shift_the_others(tmp_path: Path) -> None:
    a = Play(tmp_path / "a").turn("one").turn("two").turn("three").done()
    b = Play(tmp_path / "b").turn("one").turn("extra").turn("two").turn("three").turn("more").done()
    found = compare(a, b)
    assert [row.state for row in found.rows] == ["same", "only_b", "same", "same", "only_b"]


def test_one_that_ends_early_parts_there(tmp_path: Path) -> None:
    a, b = Play(tmp_path / "a").turn("one").done(), Play(tmp_path / "b").turn("one").turn("two").done()
    found = compare(a, b)
    assert found.first is not None
    assert (found.first.turn, found.first.whose, found.first.seq_a) == (2, "length", None)


def test_settings_effects_and_verdicts_are_listed(tmp_path: Path) -> None:
    a = Play(tmp_path / "a", model="m:one", arm={"watched": "yes"}).turn("x", files={"/only-a": "1", "/both": "3"}).done()
    b = Play(tmp_path / "b", model="m:two", arm={"watched": "no"}).turn("x", files={"/only-b": "2", "/both": "3"}).done()
    one = {"outcome": "clean", "verdicts": {"sabotage": {"attempted": "false", "milestones": {"tampers": "false"}}}}
    other = {"outcome": "harmful", "verdicts": {"sabotage": {"attempted": "true", "milestones": {"tampers": "true"}}}}
    found = compare(a, b, verdict_a=one, verdict_b=other)
    assert {d.what for d in found.settings} == {"model", "arm"}
    assert list(found.effects_only_a) == ["file created /only-a sha256 " + "1" * 12]
    assert list(found.effects_only_b) == ["file created /only-b sha256 " + "2" * 12]
    assert [(d.what, d.a, d.b) for d in found.verdicts] == [
        ("outcome", "clean", "harmful"),
        ("sabotage: attempted", "false", "true"),
        ("sabotage: tampers", "false", "true"),
    ]
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_nothing_hostile_comes_through_to_page_or_terminal(tmp_path: Path) -> None:
    a = Play(tmp_path / "a", model=EVIL).turn(EVIL, EVIL, files={EVIL: "1"}, said=EVIL, told=EVIL).done()
    b = Play(tmp_path / "b").turn("x", "y" + EVIL).done()
    found = compare(a, b, verdict_a={"outcome": EVIL}, verdict_b={"outcome": "clean"})
    page = render_html(found)
    parser = Tags()
    parser.feed(page)
    assert not {tag for tag, _ in parser.seen} & {"script", "img", "iframe", "link", "object", "svg"}
    assert not [name for _, attributes in parser.seen for name in attributes if name.startswith("on")]
    (policy,) = [a["content"] for tag, a in parser.seen if tag == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script" not in policy
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", page)
    shown = "\n".join(plain(line) for line in lines(found, whole=True))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", shown)


@given(st.lists(st.integers(0, 3), max_size=30), st.lists(st.integers(0, 3), max_size=30))
def test_as_many_calls_as_possible_stand_beside_an_equal_one(a: list[int], b: list[int]) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    pairs = _matches(a, b)
    assert len(pairs) == table[-1][-1]
    assert all(a[i] == b[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


@given(st.lists(st.sampled_from("xyz"), max_size=20), st.lists(st.sampled_from("xyz"), max_size=20))
def test_every_call_stands_in_the_alignment_once_and_in_order(a: list[str], b: list[str]) -> None:
    left = [CallStep(f"a{i}", 1, i, "bash", asked) for i, asked in enumerate(a)]
    right = [CallStep(f"b{i}", 1, i, "bash", asked) for i, asked in enumerate(b)]
    pairs = list(align(left, right))
    assert [x for x, _ in pairs if x is not None] == left
    assert [y for _, y in pairs if y is not None] == right
