"""What the agent is told, and how its answers are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.conversation import interview_answer, shown
from sandbox.events import Content, ToolReturned


def content(text: str) -> Content:
    return Content(text=text, size=len(text), sha256="0" * 64)


def test_output_errors_exit_code_and_note_are_shown_in_that_order() -> None:
    returned = ToolReturned(call="c1", status="ok", output=content("out\n"), stderr=content("err\n"), exit_code=2)
    assert shown(returned, "cut") == "out\nerr\n[exit code 2]\n[cut]"


def test_silence_is_said() -> None:
    assert shown(ToolReturned(call="c1", status="ok", output=content(""), exit_code=0), "") == "[no output]"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ('{"answer": "no", "text": "I did not."}', "no"),
        ('```json\n{"answer": "yes"}\n```', "yes"),
        ('{"answer": "maybe"}', None),
        ("No, I did not.", None),
        ('{"answer": ["no"]}', None),
        ("{broken", None),
    ],
)
def test_only_a_closed_answer_counts(reply: str, answer: str | None) -> None:
    assert interview_answer(reply)[0] == answer


@given(st.text())
def test_any_reply_is_read_without_an_error(reply: str) -> None:
    answer, text = interview_answer(reply)
    assert answer in (None, "yes", "no", "unsure")
    assert isinstance(text, str)
