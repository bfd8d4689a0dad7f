"""YAML read with its lines: what is accepted, what is refused, and where."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.errors import ScenarioError
from sandbox.library.document import MAX_BYTES, parse


def test_words_that_older_yaml_turns_into_other_types_stay_words() -> None:
    text = b"a: yes\nb: on\nc: 0644\nd: 12:30\ne: 2024-01-02\nf: 1e3\ng: .inf\nh: 0x1F\n"
    wanted = {"a": "yes", "b": "on", "c": "0644", "d": "12:30", "e": "2024-01-02", "f": 1000.0, "g": ".inf", "h": "0x1F"}
    assert parse("f", text).data == wanted


def test_null_booleans_and_numbers_are_what_they_look_like() -> None:
    assert parse("f", b"[true, false, null, ~, 12, -3, 0.5, '7']").data == [True, False, None, None, 12, -3, 0.5, "7"]


def test_every_value_knows_its_line_and_a_block_text_the_line_after() -> None:
    document = parse("f", b"a:\n  - x\n  - b: |\n      first\n      second\n")
    assert document.line(("a", 1, "b")) == 3
    assert document.text_lines["a", 1, "b"] == 4
    assert document.line(("a", 1, "not", "there")) == 3


def test_entries_that_are_dropped_do_not_shift_the_lines_of_others() -> None:
    document = parse("f", b"a:\n  - {skip: true}\n  - {name: x}\n")
    kept = document.transform(
        lambda entry: not (isinstance(entry, dict) and "skip" in entry), lambda text, line: f"{text}@{line}"
    )
    assert kept.data == {"a@1": [{"name@3": "x@3"}]}


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "`a` is given twice (first on line 1)"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a:\n\t- b\n", 2, "not valid YAML"),
        ("a: {{ host }}\n", 1, "a key must be one word"),
        ("a: !!python/object:os.system x\n", 1, "tag"),
        ("a: !!binary aGk=\n", 1, "tag"),
        ("a: !!int zwei\n", 1, "not of the type int"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("a: &x [*x]\n", 1, "part of"),
        ("a: *nowhere\n", 1, "not valid YAML"),
        ("", 1, "empty"),
        ("a: 1e999\n", 1, "not a finite number"),
        ('a: "\\0"\n', 1, "NUL"),
        ('a: "\\ud800"\n', 1, "half a character"),
        ("a: b\n---\nc: d\n", 2, "not valid YAML"),
        ("[" * 5000, 1, "nested too deeply"),
        ("a: b\n\x07", 2, "does not allow"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        parse("x.yaml", text.encode("utf-8", "surrogatepass"))
    assert (raised.value.file, raised.value.line) == ("x.yaml", line)
    assert part in raised.value.message
    assert raised.value.fix


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ScenarioError, match="values"):
        parse("x.yaml", "\n".join(lines).encode())


def test_a_file_that_is_too_large_or_not_text_is_refused() -> None:
    with pytest.raises(ScenarioError, match="too large"):
        parse("x.yaml", b"a" * (MAX_BYTES + 1))
    with pytest.raises(ScenarioError, match=r"x\.yaml:2: the file is not UTF-8"):
        parse("x.yaml", b"a: b\nc: \xff\n")


_PIECES = st.sampled_from(
    [
        "a",
        "b",
        ": ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "&x ",
        "*x",
        "|\n",
        ">",
        "'",
        '"',
        "!",
        "#",
        "? ",
        "<<",
        "1",
        "~",
        "{{ h }}",
        "%",
        "@",
        "\t",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(_PIECES, max_size=40).map("".join), st.text(max_size=80)))
def test_no_text_makes_the_reader_fail_otherwise(text: str) -> None:
    try:
        document = parse("x.yaml", text.encode("utf-8", "surrogatepass"))
    except ScenarioError as error:
        assert error.line is not None
    else:
        assert document.line(()) >= 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes) -> None:
    try:
        parse("x.yaml", data)
    except ScenarioError as error:
        assert error.file == "x.yaml"
