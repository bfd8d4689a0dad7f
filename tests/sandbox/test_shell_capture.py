"""Taking output apart that arrives in any pieces."""

from __future__ import annotations

import struct
import subprocess
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.hosts.capture import STDERR, STDOUT, Bounded, Frames, UntilMarker
from sandbox.hosts.shell import quoted

NONCE = b"0123456789abcdef0123456789abcdef"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks)]


places = st.lists(st.integers(0, 400), max_size=12)


@given(st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(max_size=60)), max_size=8), places)
def test_frames_are_the_same_however_they_are_cut(frames: list[tuple[int, bytes]], at: list[int]) -> None:
    raw = b"".join(struct.pack(">BxxxL", stream, len(data)) + data for stream, data in frames)
    decoder = Frames()
    pieces = [piece for chunk in cut(raw, at) for piece in decoder.feed(chunk)]
    for stream in (STDOUT, STDERR):
        expected = b"".join(data for s, data in frames if s == stream)
        assert b"".join(piece.data for piece in pieces if piece.stream == stream) == expected


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 64))
def test_bounded_keeps_head_and_tail_and_counts_all(chunks: list[bytes], limit: int) -> None:
    kept, whole = Bounded(limit), b"".join(chunks)
    for chunk in chunks:
        kept.feed(chunk)
    assert kept.size == len(whole)
    tail = whole[len(whole) - limit // 2 :] if limit // 2 else b""
    assert kept.value() == (whole if len(whole) <= limit else whole[: limit - limit // 2] + tail)


noise = st.lists(
    st.sampled_from([b"text\n", b"\0\xff", NONCE, NONCE[:-1], NONCE + b":", NONCE + b":x;\n", NONCE + b":3;", b"ff:1;\n"])
).map(b"".join)


@given(noise, st.integers(0, 255), st.binary(max_size=20), places)
def test_a_marker_is_found_however_it_is_cut(before: bytes, number: int, after: bytes, at: list[int]) -> None:
    until = UntilMarker(NONCE, 10_000)
    rest = b"".join(until.feed(chunk) for chunk in cut(before + b"|" + NONCE + b":%d;\n" % number + after, at))
    assert (until.number, until.kept.value(), rest) == (number, before + b"|", after)


@given(noise, places)
def test_what_only_resembles_a_marker_is_output(text: bytes, at: list[int]) -> None:
    until = UntilMarker(NONCE, 10_000)
    for chunk in cut(text, at):
        assert until.feed(chunk) == b""
    until.close()
    assert not until.found
    assert until.kept.value() == text


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=80)
    | st.sampled_from(["'", "\\", "\n", "\x01\x7f", "!$`\"'"])
)
def test_any_command_is_one_word_on_one_line(command: str) -> None:
    word = quoted(command)
    assert b"\n" not in word
    said = subprocess.run(["bash", "-c", b"printf %s " + word], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert said.stdout == command.encode()
