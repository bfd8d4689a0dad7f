"""Only the declared classes are waved through, and only where their condition holds; every other byte is a difference."""

from __future__ import annotations

import hashlib
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.content import content
from sandbox.library.ssh_key import ssh_key
from sandbox.replay.equivalence import CLASSES, Equivalence, Side
from sandbox.replay.keys import public_half
from sandbox.replay.moments import read_date, read_epoch, without_moments

THEN = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
NOW = THEN + 5 * 86400 + 3601
PLANTED = "planted tmpabcd3fgh"
SAME = Equivalence(
    Side(THEN, 10, PLANTED, ports=frozenset({40000})),
    Side(NOW, 12, PLANTED, ports=frozenset({40001, 40022})),
    pids=[(14, 13)],
    names=[("tmpqwertyui", "tmpasdf_ghj")],
)
TODAY = Equivalence(Side(THEN, 100), Side(THEN + 600, 100))
"""Two trials of one day, ten minutes apart."""

EQUAL = {
    ("at 2026-11-18 11:06:42", "at 2026-11-23 12:06:44"): {"times"},
    ("Wed Nov 18 11:06:42 UTC 2026", "Mon Nov 23 12:06:43 UTC 2026"): {"times"},
    ("Date: Wed, 18 Nov 2026 11:06:42 GMT", "Date: Mon, 23 Nov 2026 12:06:45 GMT"): {"times"},
    ("-rw-r--r-- 1 a a 5 Nov 18 11:06 x", "-rw-r--r-- 1 a a 5 Nov 23 12:06 x"): {"times"},
    ("11:06:42 job done", "12:06:43 job done"): {"times"},
    ("11-18 11:06 pushed", "11-23 12:06 pushed"): {"times"},
    ("Wed 11:06:42 done", "Mon 12:06:43 done"): {"times"},
    (f"{THEN + 3:.0f}", f"{NOW + 4:.0f}"): {"times"},
    ("worker 14 stopped", "worker 13 stopped"): {"pids"},
    ("11:06:42 worker 14 stopped", "12:06:43 worker 13 stopped"): {"times", "pids"},
    ("[1] 14", "[1] 13"): {"pids"},
    ("pid=14 is up", "pid=13 is up"): {"pids"},
    ("cron[14]: up", "cron[13]: up"): {"pids"},
    ("Nov 18 11:06:42 amber-07 cron[22]: up", "Nov 23 12:06:44 amber-07 cron[25]: up"): {"times", "pids"},
    ("2026-11-18T11:06:42Z sshd-session[22]: up", "2026-11-23T12:06:44Z sshd-session[25]: up"): {"times", "pids"},
    ("from 10.0.0.1:40000", "from 10.0.0.1:40022"): {"ports"},
    ("/tmp/tmp.gaywMZpYqy", "/tmp/tmp.Uh4qe12345"): {"temporary names"},
    ("/tmp/tmpa8b_cd0z", "/tmp/tmpq_2wertz"): {"temporary names"},
    ("rm /tmp/tmpqwertyui", "rm /tmp/tmpasdf_ghj"): {"temporary names"},
    ("valid to 2026-12-18", "valid to 2026-12-23"): {"times"},
    (
        "dr-xr-xr-x 193 root root    0 Nov 18 11:06 proc",
        "dr-xr-xr-x 201 root root    0 Nov 23 12:06 proc",
    ): {"times", "processes"},
    ("key SHA256:" + "a" * 43, "key SHA256:" + "b" * 43): {"nonces"},
    (f"boundary={'-' * 24}AbCdEf0123456789012345", f"boundary={'-' * 24}ZbCdEf0123456789012345"): {"boundaries"},
    (f"--{'a1' * 16}--\r", f"--{'b2' * 16}--\r"): {"boundaries"},
    ("  PID TTY TIME CMD\n   14 ? 00:00:00 sleep", "  PID TTY TIME CMD\n   99 ? 00:00:01 sleep"): {"pids"},
}

CLOCKS = sorted(
    {
        match[1].replace("%%", "%")
        for path in content("scenarios").glob("*/*/files/**/*")
        if path.is_file()
        for match in re.finditer(r"(?:strftime\(|date )['\"]\+?([^'\"]+)['\"]", path.read_text(errors="replace"))
    }
)

DIFFERENT = {
    "links of a folder": ("drwxr-xr-x 193 root root 4096 Nov 18 11:06 srv", "drwxr-xr-x 201 root root 4096 Nov 23 12:06 srv"),
    "another time than the trial's": ("at 2026-11-18 11:06:42", "at 2026-11-23 13:06:44"),
    "another day without a year": ("11-18 11:06:42", "11-24 12:06:44"),
    "a range of numbers": ("11-18 of 20", "11-19 of 20"),
    "another weekday": ("Wed 11:06:42", "Tue 12:06:43"),
    "a planted date": ("due 2026-12-24", "due 2026-12-25"),
    "a number that is no process": ("worker 15 stopped", "worker 13 stopped"),
    "a number of the wrong process": ("worker 13 stopped", "worker 14 stopped"),
    "a count": ("14 files", "15 files"),
    "a measured value in data": ("650 ms", "651 ms"),
    "a well-known port": ("10.0.0.1:80", "10.0.0.1:81"),
    "another port than connections came from": ("from 10.0.0.1:40000", "from 10.0.0.1:40023"),
    "a planted token": ("tmpabcd3fgh", "tmpabcd3fgx"),
    "words behind tmp": ("rm -rf tmp_backups", "rm -rf tmp_uploads"),
    "numbered words behind tmp": ("rm -rf tmp_upload1", "rm -rf tmp_upload2"),
    "words behind sed": ("/srv/sediments", "/srv/sedatives"),
    "an index in code": ("take(queue[0])", "take(queue[7])"),
    "an index at the start of a line": ("queue[0]: late", "queue[7]: late"),
    "an index behind a time": ("11:06:42 lost queue[0]: late", "12:06:43 kept queue[7]: late"),
    "a process id that is another's": ("PID: 5", "PID: 9"),
    "an element of a printed vector": ("[1] 22", "[1] 25"),
    "one more line": ("a\nb", "a\nb\n"),
    "another order": ("a\nb", "b\na"),
    "the command of a listed process": ("  PID CMD\n   14 sleep 5", "  PID CMD\n   14 sleep 6"),
    "a digest behind dashes in a line": (f"see --{'a1' * 16} here", f"see --{'b2' * 16} here"),
    "a spelt placeholder": ("<times> x", "11:06:42 x"),
    "letters": ("stop order received", "stop Order received"),
}


@pytest.mark.parametrize("texts", EQUAL, ids=lambda texts: texts[0][:30])
def test_what_differs_only_in_declared_classes_is_equivalent_and_the_classes_are_named(texts: tuple[str, str]) -> None:
    assert SAME.text(*texts) == EQUAL[texts]
    assert EQUAL[texts] <= set(CLASSES)


@pytest.mark.parametrize("clock", CLOCKS)
def test_every_clock_that_the_library_writes_into_logs_may_show_another_day(clock: str) -> None:
    texts = [time.strftime(clock, time.gmtime(moment)) for moment in (THEN + 3, NOW + 4)]
    assert texts[0] != texts[1]
    assert SAME.text(*texts) == {"times"}
    marked = [without_moments(text.encode(), start, start + 9) for text, start in zip(texts, (THEN, NOW), strict=True)]
    assert marked[0] == marked[1]


def test_on_one_day_dates_are_exact_and_a_time_lies_where_its_trial_was() -> None:
    assert TODAY.text("due 2026-12-24", "due 2026-12-25") is None
    assert TODAY.text("due 2026-11-18 a", "due 2026-11-17 a") is None
    assert TODAY.text("at 11:06:42", "at 11:16:42") == {"times"}
    night = THEN - THEN % 86400 + 86400 - 50
    over_midnight = Equivalence(Side(night, 100), Side(night + 600, 100))
    assert over_midnight.text("on 2026-11-18", "on 2026-11-19") == {"times"}
    assert over_midnight.text("on 2026-11-18", "on 2026-11-21") is None


def test_a_time_keeps_its_distance_from_a_moment_that_both_trials_share_or_lies_between_the_same_two() -> None:
    def between(*moments: float) -> Equivalence:
        other = tuple(NOW + 2 * at for at in moments)
        return Equivalence(Side(THEN, 600, moments=tuple(THEN + at for at in moments)), Side(NOW, 1200, moments=other))

    def shown(equivalence: Equivalence, then: float, now: float) -> frozenset[str] | None:
        return equivalence.text(f"at {THEN + then:.0f}", f"at {NOW + now:.0f}")

    calls = between(100, 200, 300)
    assert shown(calls, 150, 250) == {"times"}, "between the same two"
    assert shown(calls, 350, 450) == {"times"}, "150 s behind the second in both"
    assert shown(calls, 150, 150) == {"times"}, "as far from the start in both"
    assert shown(calls, 3800, 4000) == {"times"}, "an hour behind the second"
    assert shown(calls, 150, 500) is None
    assert shown(calls, 3800, 3850) is None
    assert shown(calls, -50, 20) is None


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_differs_in_anything_else_is_not(what: str) -> None:
    assert SAME.text(*DIFFERENT[what]) is None


def test_durations_pass_only_if_the_call_was_long_enough_and_order_only_if_it_is_a_folders() -> None:
    assert SAME.text("real 0m0.012s", "real 0m0.030s", measured=0.05) == {"durations"}
    assert SAME.text("real 0m0.012s", "real 0m0.300s", measured=0.05) is None
    assert SAME.text("a\nb", "b\na", unordered=True) == {"order"}
    assert SAME.text("a\nb", "b\nc", unordered=True) is None


def test_values_are_compared_by_what_their_fields_mean() -> None:
    assert SAME.value({"port": 40000, "n": 1}, {"port": 40001, "n": 1}) == {"ports"}
    assert SAME.value({"nonce": "aa"}, {"nonce": "bb"}) == {"nonces"}
    looked = [{"nonce": nonce, "looked": {"spare": {"7598": answer * 64}}} for nonce, answer in (("aa", "c"), ("bb", "d"))]
    assert SAME.value(*looked) == {"nonces"}
    assert SAME.value(looked[0], {**looked[1], "nonce": "aa"}) is None
    assert SAME.value(looked[0], {"nonce": "bb", "looked": {"spare": {"7598": "no"}}}) is None
    assert SAME.value({"n": 1}, {"n": 2}) is None
    assert SAME.value({"port": 40000}, {"port": 40002}) is None
    assert SAME.value({"pid": 14}, {"pid": 13}) == {"pids"}
    assert SAME.value({"parent": 5}, {"parent": 9}) is None
    assert SAME.value({"elapsed": 1}, {"elapsed": 2}) is None
    assert SAME.value({"retry_ms": 100}, {"retry_ms": 200}) is None
    assert SAME.value({"n": 1}, {"m": 1}) is None
    assert SAME.value([1], [1, 2]) is None
    assert SAME.value(1, True) is None
    assert SAME.value(None, "") is None


def test_contents_are_compared_by_what_their_files_are() -> None:
    assert SAME.content(b"14\n", b"77\n", "/run/x.pid") == {"pids"}
    assert SAME.content(b"14\n", b"77\n", "/srv/count") is None
    head, tail = b"\xa7\r\r\n\0\0\0\0", b"code\xff"
    assert SAME.content(head + b"1111" + tail, head + b"2222" + tail, "/x/a.pyc") == {"times"}
    assert SAME.content(head + b"1111" + tail, head + b"2222" + tail + b"!", "/x/a.pyc") is None
    assert SAME.content(b"\xff\x00", b"\xff\x01", "/x/data") is None


def key(seed: bytes) -> tuple[str, str]:
    """A private key as ssh-keygen writes it, and its public half in base64."""
    found = ssh_key(hashlib.sha256(seed).digest(), "a@b")
    return found.private, found.public.split()[1]


def test_a_key_made_in_the_trial_may_differ_and_a_planted_or_damaged_one_may_not() -> None:
    (one, public), (other, _) = key(b"1"), key(b"2")
    assert public_half(one) == public
    assert SAME.content(one.encode(), other.encode(), "/home/agent/.ssh/spare") == {"nonces"}
    planted = Equivalence(Side(THEN, 10, f"known {public}"), Side(NOW, 12, f"known {public}"))
    assert planted.content(one.encode(), other.encode(), "/home/agent/.ssh/spare") is None
    lines = one.split("\n")
    damaged = "\n".join([*lines[:3], lines[3][:9] + ("A" if lines[3][9] != "A" else "B") + lines[3][10:], *lines[4:]])
    assert planted.content(one.encode(), damaged.encode(), "/home/agent/.ssh/spare") is None
    assert SAME.content(one.encode(), other.encode() + b"x", "/home/agent/.ssh/spare") is None


@given(st.integers(0, 400), st.text("A/=+\n", max_size=5))
def test_no_text_makes_reading_a_key_fail(cut: int, more: str) -> None:
    text, public = key(b"1")
    assert public_half(text[:cut] + more + text[cut:]) in ("", public)


TEXTS = st.text(st.sampled_from("ab 0123456789:-.[]{}<>TZ/\n" + "times"), max_size=60)


@given(TEXTS, TEXTS)
@settings(max_examples=400, deadline=None)
def test_texts_are_equivalent_both_ways_or_neither_and_only_if_their_letters_are(a: str, b: str) -> None:
    found = SAME.text(a, b)
    back = Equivalence(Side(NOW, 12), Side(THEN, 10), pids=[(13, 14)]).text(b, a)
    assert (found is None) == (back is None)
    assert SAME.text(a, a) == frozenset()
    if found == frozenset():
        assert a == b
    if found is not None and not found & {"temporary names", "nonces"}:
        assert re.sub(r"[^ab]", "", a) == re.sub(r"[^ab]", "", b)


@given(st.text(max_size=80))
def test_no_text_makes_a_moment_fail(text: str) -> None:
    read_date(text, THEN)
    read_epoch(text)
    without_moments(text.encode("utf-8", "replace"), THEN, NOW)


def test_moments_of_the_trial_are_taken_out_and_others_stay() -> None:
    data = b"2026-11-18 11:06:45 a\n2020-01-01 00:00:00 b\n11:06:45 c\n1795000005 d\n1700000000 e\n2026-02-30 f\n"
    marked = without_moments(data, THEN, THEN + 60)
    assert marked == b"<clock> a\n2020-01-01 00:00:00 b\n<clock> c\n<clock> d\n1700000000 e\n2026-02-30 f\n"
    assert without_moments(b"no clock here", THEN, NOW) == b"no clock here"
