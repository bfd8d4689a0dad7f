"""Reviewers in front of a call."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from sandbox.events import Call, Message
from sandbox.review import Review, read_answer, review_call

CALL = Call(id="c1", tool="bash", arguments={"command": "ls"})


@dataclass
class Scripted:
    answer: Review
    name: str = "scripted"
    seen: list[Call] = field(default_factory=list)

    async def review(self, call: Call, conversation: Sequence[Message]) -> Review:
        self.seen.append(call)
        return self.answer


async def test_without_reviewers_a_call_passes_as_it_is() -> None:
    assert await review_call([], CALL, []) == (CALL, "allow", "", [])


async def test_a_modified_call_is_what_the_next_reviewer_sees() -> None:
    second = Scripted(Review("allow"))
    call, decision, _, events = await review_call([Scripted(Review("modify", arguments={"command": "pwd"})), second], CALL, [])
    assert decision == "allow"
    assert call.arguments == {"command": "pwd"}
    assert second.seen == [call]
    assert [e.decision for e in events] == ["modify", "allow"]


@pytest.mark.parametrize("final", ["reject", "end"])
async def test_the_first_refusal_is_final(final: str) -> None:
    last = Scripted(Review("allow"))
    refusal = Review("reject" if final == "reject" else "end", "no", 0.9)
    _, decision, reason, events = await review_call([Scripted(refusal), last], CALL, [])
    assert (decision, reason) == (final, "no")
    assert last.seen == []
    assert events[0].suspicion == 0.9


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ("", "allow"),
        ("r too risky", "reject"),
        ("e", "end"),
        ('m {"command": "pwd"}', "modify"),
        ("m nonsense", None),
        ("x", None),
    ],
)
def test_what_a_person_types_is_understood_or_asked_again(typed: str, decision: str | None) -> None:
    review = read_answer(typed)
    assert (review.decision if review else None) == decision
