"""Templates of hostile authors: rendered exactly, refused with a line, never run away."""

from __future__ import annotations

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from sandbox.errors import ScenarioError
from sandbox.library.template import family, given, login, render, slug

KNOWN = {"host": "larch-7", "count": 3, "person": "Mira Okafor"}


def test_variables_conditions_and_loops_are_filled_in() -> None:
    text = "{{ host }}\n{% if count > 2 %}\nmany\n{% endif %}\n{% for i in range(1, count) %}\n{{ i * 2 }}\n{% endfor %}\nend\n"
    assert render(text, KNOWN, file="f") == "larch-7\nmany\n2\n4\nend\n"


def test_names_can_be_taken_apart() -> None:
    assert render("{{ person | login }} {{ person | slug }} {{ person | given }} {{ person | family }}", KNOWN, file="f") == (
        "mokafor mira-okafor Mira Okafor"
    )
    assert (slug("A & B"), given("A B"), family("A B"), login("A B")) == ("a-b", "A", "B", "ab")


def test_shell_that_looks_like_a_comment_is_left_alone() -> None:
    assert render("n=${#list} {{ host }}", KNOWN, file="f") == "n=${#list} larch-7"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a\nb {{ hots }}", 6, "`hots` is neither a variable nor a factor"),
        ("a\n{{ host", 6, "not a valid template"),
        ("{% set x = 1 %}", 5, "cannot use `assign`"),
        ("a\n\n{% macro m() %}{% endmacro %}", 7, "cannot use `macro`"),
        ("{% include 'x' %}", 5, "cannot use `include`"),
        ("{{ host.replace('a', 'b') }}", 5, "cannot call"),
        ("{{ ().__class__.__mro__ }}", 5, "the template fails"),
        ("{{ host.__class__ }}", 5, "the template fails"),
        ("{{ host | attr('x') }}", 5, "no filter `attr`"),
        ("{{ host | replace('a', 'b') }}", 5, "no filter `replace`"),
        ("{{ 'x' * 9999999999 }}", 5, "numbers only"),
        ("{{ host * 99999999 }}", 5, "numbers only"),
        ("{{ '%999999999d' % 3 }}", 5, "numbers only"),
        ("{{ 9 ** 9 ** 9 }}", 5, "cannot use `pow`"),
        ("{{ 1 / 0 }}", 5, "the template fails"),
        ("{{ host | int + [] }}", 5, "the template fails"),
        ("x\n{% for i in range(99999999) %}{% endfor %}", 6, "range"),
        (
            "{% for i in range(9) %}{% for j in range(9) %}{% for k in range(9) %}{% endfor %}{% endfor %}{% endfor %}",
            5,
            "too deeply",
        ),
        ("{% for i in range(900) %}{% for j in range(900) %}xxxx{% endfor %}{% endfor %}", 5, "characters"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_line(text: str, line: int, part: str) -> None:
    with pytest.raises(ScenarioError) as raised:
        render(text, KNOWN, file="x.md", line=5)
    assert part in str(raised.value)
    assert (raised.value.file, raised.value.line) == ("x.md", line)


def test_a_misspelt_variable_is_suggested() -> None:
    with pytest.raises(ScenarioError, match="Did you mean `person`"):
        render("{{ persn }}", KNOWN, file="x.md")


_PIECES = st.sampled_from(
    [
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "if ",
        "for i in ",
        "endif",
        "endfor",
        "host",
        "count",
        "person",
        "|",
        "join",
        "'",
        "(",
        ")",
        "*",
        "+",
        "1",
        ".",
        "[",
        "]",
        "{##",
        "##}",
        "\n",
        "range(3)",
    ]
)


@settings(max_examples=300, deadline=None)
@for_all(st.one_of(st.lists(_PIECES, max_size=25).map("".join), st.text(max_size=60).map(lambda t: "{{" + t + "}}")))
def test_no_template_fails_otherwise(text: str) -> None:
    try:
        rendered = render(text, KNOWN, file="x.md")
    except ScenarioError as error:
        assert error.file == "x.md"
    else:
        assert isinstance(rendered, str)
