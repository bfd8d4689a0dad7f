"""One line: whatever is written can be read back, nothing can be changed unseen, and anything sealed can be taken out."""

from __future__ import annotations

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from sandbox.events import (
    Body,
    ErrorRaised,
    Event,
    FileEffect,
    Header,
    Interviewed,
    LimitReached,
    ModelCalled,
    ObservedAt,
    ToolCalled,
    ToolReturned,
    UnknownBody,
)
from sandbox.record.line import (
    MODELS,
    START,
    _chained,
    check,
    contents,
    decode,
    encode,
    placeholder,
    read,
    withhold,
    withholdable,
)
from tests.sandbox.recording import ANY_BODY, NASTY

HEADER = Header(kind="", seq=0, step=0, attempt=1, source="engine", observed_at=ObservedAt(1, 2), prev=START)


def line_of(body: Body) -> bytes:
    return encode(HEADER.model_copy(update={"kind": body.kind}), body)[0]


def read_back(line: bytes) -> Event:
    event, problem = read(decode(line))
    assert problem is None
    return event


@given(ANY_BODY)
def test_any_body_is_read_back_as_it_was(body: Body) -> None:
    line = line_of(body)
    assert read_back(line).body == body
    assert line.count(b"\n") == 1
    assert check(line[:-1]).withheld == ()


def test_a_line_is_plain_json_with_the_fields_in_sight() -> None:
    value = json.loads(line_of(ToolCalled(call="c", tool="bash", arguments={"command": "ls"})))
    assert value["body"]["tool"] == "bash"
    assert value["open"]["arguments"][1] == {"command": "ls"}
    assert list(value) == ["header", "body", "open", "hash"]


@pytest.mark.parametrize("name", NASTY)
def test_what_json_cannot_carry_is_written_as_the_nearest_thing_and_reads_back(name: str) -> None:
    line = line_of(ToolCalled(call="c\ud800", tool="bash", arguments={name: NASTY[name]}))
    check(line[:-1])
    body = read_back(line).body
    assert isinstance(body, ToolCalled)
    assert len(body.arguments) == 1


def test_numbers_that_are_none_keep_their_meaning() -> None:
    body = read_back(line_of(LimitReached(limit="tokens", value=float("inf"), bound=1))).body
    assert isinstance(body, LimitReached)
    assert body.value == float("inf")
    body = read_back(line_of(ToolCalled(call="c", tool="t", arguments={"a": float("nan")}))).body
    assert isinstance(body, ToolCalled)
    assert body.arguments == {"a": "NaN"}


def test_an_unknown_body_that_looks_like_the_ledgers_own_keys_survives() -> None:
    body = UnknownBody(kind="new.kind", data={"sealed": {"sealed": "0" * 64}, "open": {}, "kind": "other", "hash": None})
    assert read_back(line_of(body)).body == body


@given(ANY_BODY, st.data())
def test_any_change_of_one_byte_is_noticed(body: Body, data: st.DataObject) -> None:
    line = line_of(body)[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != line[at]))
    with pytest.raises(ValueError, match=r".+"):
        check(line[:at] + bytes([byte]) + line[at + 1 :])


@given(ANY_BODY, st.data())
def test_any_byte_put_in_or_taken_out_is_noticed(body: Body, data: st.DataObject) -> None:
    line = line_of(body)[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(ValueError, match=r".+"):
        check(line[:at] + line[at + 1 :])
    with pytest.raises(ValueError, match=r".+"):
        check(line[:at] + bytes([data.draw(st.integers(0, 255))]) + line[at:])


@given(ANY_BODY, st.data())
def test_any_sealed_fields_can_be_taken_out_and_the_line_still_holds(body: Body, data: st.DataObject) -> None:
    line = line_of(body)
    sealed = list(json.loads(line)["body"]["sealed"])
    out = data.draw(st.sets(st.sampled_from(sealed))) if sealed else set()
    left = withhold(line, out)
    assert set(check(left[:-1]).withheld) == out
    event = read_back(left)
    assert set(event.withheld) == out
    json.loads(left)


@given(ANY_BODY, st.data())
def test_a_line_that_was_checked_is_the_line_that_is_read(body: Body, data: st.DataObject) -> None:
    line = line_of(body)
    names = list(json.loads(line)["body"]["sealed"])
    line = withhold(line, data.draw(st.sets(st.sampled_from(names)) if names else st.just(set())))
    assert check(line[:-1]) == decode(line)


@pytest.mark.parametrize(
    ("segment", "more"), [(0, b'"body":{"sealed":{}},'), (1, b'"header":{"kind":"other"},'), (1, b'"open":{},')]
)
def test_a_segment_that_brings_another_part_for_a_reader_of_the_whole_line_is_refused(segment: int, more: bytes) -> None:
    parts = line_of(LimitReached(limit="steps", value=1, bound=1))[:-1].split(b"\t")
    assert check(b"\t".join(parts))
    parts[segment] += more
    parts[-1] = b'"hash":"%b"}' % _chained(parts[0], parts[1]).encode()
    json.loads(b"\t".join(parts))
    with pytest.raises(ValueError, match="trailing characters"):
        check(b"\t".join(parts))


def test_a_withheld_field_is_nowhere_in_the_line() -> None:
    line = line_of(ErrorRaised(fault="agent", type="T", message="the secret word"))
    left = withhold(line, {"message"})
    assert b"secret" in line
    assert b"secret" not in left
    body = read_back(left).body
    assert isinstance(body, ErrorRaised)
    assert body.message == "[withheld]"


def test_the_same_value_is_sealed_differently_each_time() -> None:
    body = ErrorRaised(fault="agent", type="T", message="yes")
    first, second = (json.loads(line_of(body))["body"]["sealed"]["message"] for _ in range(2))
    assert first != second


def _openings(line: bytes) -> list[bytes]:
    return line.split(b"\t")


def test_an_opening_that_was_never_sealed_is_refused() -> None:
    parts = _openings(line_of(ErrorRaised(fault="agent", type="T", message="x"))[:-1])
    parts[3] = parts[3] + b","
    parts.insert(4, b'"type":["00000000000000000000000000000000","forged"]')
    with pytest.raises(ValueError, match="'type' was altered"):
        check(b"\t".join(parts))


def test_openings_twice_or_out_of_order_are_refused() -> None:
    line = line_of(Interviewed(question_id="q", question="did you?", answer="no", text="no"))[:-1]
    head, body, opens, first, second, end, digest = _openings(line)
    swapped = [head, body, opens, second + b",", first[:-1], end, digest]
    twice = [head, body, opens, first, first, second, end, digest]
    for parts in (swapped, twice):
        with pytest.raises(ValueError, match="twice or out of order"):
            check(b"\t".join(parts))


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"null", b"[]", b"\t\t\t\t", b'{"header":{}}', b"\xff\xfe", b'{"header":1,"body":2}']
)
def test_what_is_no_line_is_a_value_error_and_nothing_else(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check(line)
    with pytest.raises(ValueError, match=r".+"):
        read(decode(line))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check(line)


def test_a_known_kind_that_does_not_fit_is_kept_whole_and_named() -> None:
    line = line_of(UnknownBody(kind="limit", data={"limit": "patience", "value": 1, "bound": 2}))
    event, problem = read(decode(line))
    assert isinstance(event.body, UnknownBody)
    assert event.body.data == {"limit": "patience", "value": 1, "bound": 2}
    assert problem is not None
    assert "limit" in problem


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_every_field_that_may_be_withheld_has_a_placeholder_of_its_type(model: type[BaseModel]) -> None:
    for name in withholdable(model):
        value = placeholder(model, name)
        assert value is not None
        assert TypeAdapter(model.model_fields[name].annotation).validate_python(value, strict=True) == value


def test_no_body_has_a_field_of_the_ledgers_own_name() -> None:
    assert not [kind for kind, model in MODELS.items() if "sealed" in model.model_fields]
    assert set(MODELS.values()) | {UnknownBody} == set(get_args(Body))


def test_contents_are_found_by_type() -> None:
    assert contents(ToolReturned) == {"output", "stderr"}
    assert contents(FileEffect) == {"diff", "content"}
    assert contents(ModelCalled) == frozenset()
