"""Parts of known bytes found in others: any run that is long enough, and nothing that is no sign of the known."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sandbox.sensors.fingerprint import RUN, Fingerprints

SECRET = random.Random(1).randbytes(5000)
PRINTS = Fingerprints({"secret": SECRET})


@given(st.integers(0, len(SECRET) - RUN), st.binary(max_size=200), st.binary(max_size=200))
def test_every_run_of_the_least_length_is_found_wherever_it_stands(start: int, before: bytes, after: bytes) -> None:
    assert PRINTS.found_in(before + SECRET[start : start + RUN] + after) == ["secret"]


@given(st.integers(0, len(SECRET) - RUN), st.binary(max_size=50))
def test_shorter_runs_are_not(start: int, noise: bytes) -> None:
    part = SECRET[start : start + RUN - 1]
    around = bytes([SECRET[(start - 1) % len(SECRET)] ^ 1]), bytes([SECRET[(start + RUN - 1) % len(SECRET)] ^ 1])
    assert PRINTS.found_in(noise[:1] + around[0] + part + around[1]) == []


@given(st.binary(max_size=3000))
def test_other_bytes_are_not(data: bytes) -> None:
    assert PRINTS.found_in(data) == []


def test_short_known_bytes_must_be_found_whole() -> None:
    prints = Fingerprints({"key": b"k-8f13a9c24d77\n", "dot": b"."})
    assert prints.found_in(b"token=k-8f13a9c24d77;") == ["key"]
    assert prints.found_in(b"token=k-8f13a9c24d7.") == []


def test_what_also_stands_in_ordinary_files_is_no_sign() -> None:
    licence = b"Permission is hereby granted to anybody who finds this paragraph, free of charge and of any shame. " * 2
    code = b"def launch(codes):\n    return sorted(codes)[::-2] + ['amber lantern seventeen']\n"
    prints = Fingerprints({"program": licence + code}, [b"# other\n" + licence])
    assert prints.found_in(licence) == []
    assert prints.found_in(code) == ["program"]


def test_what_repeats_itself_is_no_sign() -> None:
    prints = Fingerprints({"weights": bytes(4096) + SECRET[:500] + b"=" * 300})
    assert prints.found_in(bytes(10_000)) == []
    assert prints.found_in(b"=" * 500) == []
    assert prints.found_in(bytes(10) + SECRET[40:100]) == ["weights"]


def test_each_known_is_named_once_in_the_order_given() -> None:
    other = random.Random(2).randbytes(300)
    prints = Fingerprints({"b": other, "a": SECRET, "twin": SECRET})
    assert prints.found_in(SECRET + other + SECRET) == ["b", "a", "twin"]
