"""Whether two recorded values differ only in what any second execution differs in: the declared classes of `CLASSES`.

Nothing is waved through by its looks alone. A time is equivalent to another only if both lie equally far from the same moment
of their trials, a process id only if both are known to be the same process's (or a log says so of its own writer), a port only
if connections came from it, a random token only if the scenario did not plant it; whatever is left over after that is a
difference. Values are the hostile agent's, so every pattern is linear and every text bounded.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sandbox.replay.git_objects import LOOSE, same_index, unpack
from sandbox.replay.keys import public_half
from sandbox.replay.moments import DATE, EPOCH, read_date, read_epoch

CLASSES: Mapping[str, str] = {
    "times": "a clock's reading, as far as the other from the start of its trial or from the same call",
    "durations": "how long something took, shown by what measured it",
    "pids": "process ids",
    "ports": "the client's port of a connection, which the kernel picks",
    "order": "the order in which a folder's entries or simultaneous effects were listed",
    "inodes": "inode numbers",
    "processes": "how many processes the machine has, which its kernel shows as the links of /proc",
    "temporary names": "random parts of names made by mktemp and its kind",
    "nonces": "tokens drawn in the trial, not planted: probes' questions and answers to them, keys of hosts and people, UUIDs",
    "derived ids": "ids of git objects that were made in both trials and hold the same up to these classes",
    "boundaries": "the separators that clients draw for the parts of a multipart body",
    "wire sizes": "bytes of an encrypted connection, which depend on how it was cut into packets",
    "attribution": "how surely an effect could be ascribed to the same call",
    "retries": "how often a connection was refused before the same call got it, since what listens there was still starting",
    "lateness": "whether the end of a connection or process was seen by this look or the next",
}
"""What `equivalent` may rest on; every other difference is `diverged`."""

TEXT_BYTES = 4 * 2**20
"""Longer texts are compared by digest alone."""

_LINE = 8192
_SLACK = 5.0
_DAY = 86400.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EPHEMERAL = range(32768, 61000)
_LOG_LINE = re.compile(rf"(?:{DATE})[ \t]+(?:[\w.-]{{1,80}} )?[\w./()-]{{1,80}}\[")
_PREFIX = re.compile(r"^(?:/tmp/ssh-|/sed|tmp\.?)")
_RANDOM = re.compile(r"[0-9][A-Za-z_]|[a-z][A-Z]")
"""What a random name has and words have not; one without it must be known to have been made in both trials."""


@dataclass(frozen=True)
class Side:
    """One of the two trials: when it started (Unix seconds), how long it took, the text of its scenario, in which planted
    tokens are looked up, and the ports from which its connections came.

    `moments` are those at which the same happened in both trials, so that there are as many in each, in order.
    """

    started: float
    seconds: float
    scenario: str = ""
    moments: tuple[float, ...] = ()
    ports: frozenset[int] = frozenset()

    @property
    def anchors(self) -> list[float]:
        return [self.started, *self.moments, self.started + self.seconds]

    @property
    def crosses_midnight(self) -> bool:
        return _day(self.started) != _day(self.started + self.seconds)


class _Mask(NamedTuple):
    """A kind of token. `equal` says whether two different ones, as they stand in their lines, are the same up to the class."""

    name: str
    pattern: str
    equal: Callable[[Equivalence, re.Match[str], re.Match[str]], bool]


class Equivalence:
    """Compares values of a recorded trial with those of a second execution of it.

    `pids` are the ids that the same process is known to have had in one and in the other, `names` likewise those of temporary
    files that were made in both, `ids` those of the same git object (`sandbox/replay/git_objects.py`).
    """

    def __init__(
        self,
        recorded: Side,
        replayed: Side,
        pids: Collection[tuple[int, int]] = (),
        names: Collection[tuple[str, str]] = (),
        ids: Mapping[str, str] | None = None,
    ) -> None:
        self._pids = frozenset(pids)
        self._names = frozenset(names)
        self._ids = dict(ids or {})
        self._sides = (recorded, replayed)
        self._anchors = recorded.anchors, replayed.anchors
        self._shifts = sorted(b - a for a, b in zip(*self._anchors, strict=True))
        self._longer = max(recorded.seconds, replayed.seconds) + _SLACK
        self.clock_only = False
        """Whether the last texts that differed have the same shape and only times which are too far apart."""

    def text(self, a: str, b: str, *, unordered: bool = False, measured: float = 0) -> frozenset[str] | None:
        """The classes in which two texts differ, empty if they are equal, None if they differ in anything else.

        `unordered` accepts another order of lines, `measured` durations of at most so many seconds: no call shows that it took
        longer than it did. Beside a time, a duration may be as long as the trial.
        """
        self.clock_only = False
        if a == b:
            return frozenset()
        if max(len(a), len(b)) > TEXT_BYTES:
            return None
        first, second = a.split("\n"), b.split("\n")
        if len(first) != len(second):
            return None
        processes = _columns_of_numbers(first[0]) if first[0] == second[0] else 0
        found = self._lines(first, second, measured=measured, processes=processes)
        if found is None and unordered:
            again = self._lines(sorted(first), sorted(second), measured=measured, processes=0)
            return None if again is None else again | {"order"}
        return found

    def value(self, a: Any, b: Any, name: str = "") -> frozenset[str] | None:  # noqa: PLR0911 - a table of types
        """As `text`, for JSON values; `name` is that of the field they are in."""
        if a == b and type(a) is type(b):
            return frozenset()
        match a, b:
            case dict(), dict():
                if a.keys() != b.keys():
                    return None
                asked = "nonce" in a and a["nonce"] != b["nonce"]
                return _all((self._answered if asked else self.value)(a[key], b[key], str(key)) for key in a)
            case ((list() | tuple()), (list() | tuple())):
                same = len(a) == len(b)
                return _all(self.value(x, y, name) for x, y in zip(a, b, strict=True)) if same else None
            case str(), str():
                return frozenset({"nonces"}) if name == "nonce" else self.text(a, b)
            case ((int() | float()), (int() | float())):
                return self._number(a, b, name)
        return None

    def _answered(self, a: Any, b: Any, name: str) -> frozenset[str] | None:
        """As `value`, beside two nonces: what a program that has the key makes of one is a digest that differs with it."""
        if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
            return _all(self._answered(a[key], b[key], str(key)) for key in a)
        digests = isinstance(a, str) and isinstance(b, str) and _DIGEST.fullmatch(a) and _DIGEST.fullmatch(b)
        return frozenset({"nonces"}) if digests and a != b else self.value(a, b, name)

    def content(self, a: bytes, b: bytes, path: str) -> frozenset[str] | None:  # noqa: PLR0911 - a table of kinds of files
        """As `text`, for the bytes of a file at `path`."""
        if a == b:
            return frozenset()
        if path.endswith(".pyc"):  # bytes 8 to 12 are the source's time
            return frozenset({"times"}) if a[:8] + a[12:] == b[:8] + b[12:] else None
        if (found := self._of_git(a, b, path)) is not None:
            return found
        try:
            first, second = a.decode(), b.decode()
        except UnicodeDecodeError:
            return None
        if path.endswith((".pid", "/pid", "_pid")) and first.strip().isdigit() and second.strip().isdigit():
            return frozenset({"pids"})
        keys = public_half(first), public_half(second)
        if all(keys) and not any(self.planted(key) for key in keys):
            return frozenset({"nonces"})
        return self.text(first, second)

    def _of_git(self, a: bytes, b: bytes, path: str) -> frozenset[str] | None:
        """As `text`, for an index of git's or a loose object."""
        if path.endswith("/index") and (found := same_index(a, b, self._ids)) is not None:
            return frozenset({"times", "inodes", *(["derived ids"] if found else [])})
        one, other = (unpack(a), unpack(b)) if LOOSE.search(path) else (None, None)
        return frozenset({"derived ids"}) if one and other and self.same_id(one[0], other[0]) else None

    def port(self, a: int | None, b: int | None) -> frozenset[str] | None:
        """As `text`, for a client's port."""
        if a == b:
            return frozenset()
        clients = all(port in _EPHEMERAL and port in side.ports for port, side in zip((a, b), self._sides, strict=True))
        return frozenset({"ports"}) if clients else None

    def same_process(self, a: int, b: int) -> bool:
        """Whether the same process is known to have had these ids."""
        return (a, b) in self._pids

    def same_id(self, a: str, b: str) -> bool:
        """Whether these are ids of the same git object, whole or cut at the same length so that they are still one's alone."""
        if len(a) != len(b):
            return False
        whole = [(x, y) for x, y in self._ids.items() if x.startswith(a) or y.startswith(b)]
        return len(whole) == 1 and whole[0][0].startswith(a) and whole[0][1].startswith(b)

    def end_of_object(self, path: str) -> str:
        """How the path of a loose object ends in the second trial; empty where no object lies at this one in the first."""
        found = LOOSE.search(path)
        other = self._ids.get(found[1] + found[2], found[1] + found[2]) if found else ""
        return f"/objects/{other[:2]}/{other[2:]}" if other else ""

    def holds_same(self, a: str, b: str) -> bool:
        """Whether a folder of loose objects holds one in the one trial that lies in the other folder in the other."""
        return any((x[:2], y[:2]) == (a, b) for x, y in self._ids.items())

    def is_folder_of_objects(self, path: str) -> bool:
        """Whether loose objects lie in this folder in one trial that lie in another in the other."""
        match = re.search(r"/objects/([0-9a-f]{2})$", path)
        return match is not None and any(match[1] in (x[:2], y[:2]) for x, y in self._ids.items())

    def same_name(self, a: str, b: str) -> bool:
        """Whether the same temporary file is known to have had these names."""
        return (a, b) in self._names

    def skeleton(self, text: str) -> str:
        """`text` without the tokens of any class: what two equivalent texts share."""
        return _ANY.sub(lambda match: f"<{_BY_GROUP[str(match.lastgroup)].name}>", text[:TEXT_BYTES])

    def _number(self, a: float, b: float, name: str) -> frozenset[str] | None:
        if name in ("pid", "ppid", "parent"):
            return frozenset({"pids"}) if self.same_process(int(a), int(b)) else None
        if name in ("port", "source_port", "client_port"):
            return self.port(int(a), int(b))
        return frozenset({"times"}) if _epochs(self, repr(a), repr(b)) else None

    def _lines(self, first: Sequence[str], second: Sequence[str], *, measured: float, processes: int) -> frozenset[str] | None:
        found: set[str] = set()
        for a, b in zip(first, second, strict=True):
            line = self._line(a, b, measured=measured, processes=processes)
            if line is None:
                return None
            found |= line
        return frozenset(found)

    def _line(self, a: str, b: str, *, measured: float, processes: int) -> frozenset[str] | None:
        if a == b:
            return frozenset()
        if max(len(a), len(b)) > _LINE:
            return None
        if processes:
            return _listed(a, b, processes)
        pids = self._bare_pids(self.skeleton(a), self.skeleton(b))
        tokens = self._tokens(a, b, measured) if pids is not None else None
        return None if pids is None or tokens is None else pids | tokens

    def _tokens(self, a: str, b: str, measured: float) -> frozenset[str] | None:
        """The classes of the tokens in which two lines of the same skeleton differ."""
        found: set[str] = set()
        tokens = [list(_ANY.finditer(line)) for line in (a, b)]
        if len(tokens[0]) != len(tokens[1]):  # one of them spells a skeleton's placeholder
            return None
        for x, y in zip(*tokens, strict=True):
            if x.group() == y.group():
                continue
            mask = _BY_GROUP[str(x.lastgroup)]
            if mask.name == "durations" and max(_seconds(x.group()), _seconds(y.group())) > self._longest(measured, found):
                return None
            if not mask.equal(self, x, y):
                self.clock_only = mask.name == "times"
                return None
            found.add(mask.name)
        return frozenset(found)

    def _longest(self, measured: float, found: set[str]) -> float:
        return max(measured, self._longer if "times" in found else 0.0)

    def _bare_pids(self, a: str, b: str) -> frozenset[str] | None:
        """Lines that are alike but for numbers, each the known id of one process."""
        if a == b:
            return frozenset()
        first, second = re.split(r"(\d+)", a), re.split(r"(\d+)", b)
        if len(first) != len(second) or first[::2] != second[::2]:
            return None
        for x, y in zip(first[1::2], second[1::2], strict=True):
            if x != y and (max(len(x), len(y)) > 7 or not self.same_process(int(x), int(y))):
                return None
        return frozenset({"pids"})

    def same_moment(self, a: float, b: float, resolution: float) -> bool:
        """Whether two moments (Unix seconds) lie equally far from one at which the same happened, or between the same two."""
        if resolution >= _DAY:
            return self._same_day(a, b)
        slack = _SLACK + resolution
        near = bisect_left(self._shifts, b - a - slack)
        if near < len(self._shifts) and self._shifts[near] <= b - a + slack:
            return True
        (first, last), (other_first, other_last) = (
            _spans(anchors, at, slack) for anchors, at in zip(self._anchors, (a, b), strict=True)
        )
        return max(first, other_first) <= min(last, other_last)

    def _same_day(self, a: float, b: float) -> bool:
        """As many days from the start of their trials; one more or less only where a trial reaches into the next day."""
        first, second = (_day(at) - _day(side.started) for at, side in zip((a, b), self._sides, strict=True))
        return abs(first - second) <= any(side.crosses_midnight for side in self._sides)

    def planted(self, token: str) -> bool:
        """Whether a token is the scenario's."""
        return any(token in side.scenario for side in self._sides)

    def starts(self) -> tuple[float, float]:
        return self._sides[0].started, self._sides[1].started


def _columns_of_numbers(header: str) -> int:
    """How many columns a list of processes has before the command; 0 if this is not the head of one."""
    words = header.split()
    if "PID" not in words:
        return 0
    return next((n for n, word in enumerate(words) if word in ("CMD", "COMMAND")), 0)


def _letters(word: str) -> str:
    return re.sub(r"[\d:.]+", "", word)


def _listed(a: str, b: str, columns: int) -> frozenset[str] | None:
    """Two rows of a list of processes, whose first `columns` are the kernel's and whose last is the command."""
    first, second = a.split(None, columns), b.split(None, columns)
    if len(first) != len(second) or first[columns:] != second[columns:]:
        return None
    return frozenset({"pids"}) if [_letters(x) for x in first] == [_letters(y) for y in second] else None


def _all(parts: Any) -> frozenset[str] | None:
    found: set[str] = set()
    for part in parts:
        if part is None:
            return None
        found |= part
    return frozenset(found)


def _day(at: float) -> int:
    return int(at // _DAY)


def _spans(anchors: Sequence[float], at: float, slack: float) -> tuple[int, int]:
    """The first and last of the spans between two anchors that lie within `slack` of a moment; the last before the first if
    none does."""
    first, last = bisect_left(anchors, at - slack), bisect_right(anchors, at + slack)
    return max(first - 1, 0), min(last, len(anchors) - 1) - 1


def _dates(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    starts = self.starts()
    first, second = read_date(a.group(), starts[0]), read_date(b.group(), starts[1])
    if first is None or second is None:
        return False
    return self.same_moment(first.at, second.at, max(first.resolution, second.resolution))


def _epoch_texts(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    return _epochs(self, a.group(), b.group())


def _epochs(self: Equivalence, a: str, b: str) -> bool:
    first, second = read_epoch(a), read_epoch(b)
    return first is not None and second is not None and self.same_moment(first, second, 1.0)


def _seconds(text: str) -> float:
    """What a duration such as `1m0.5s` or `12 ms` says."""
    minutes = re.match(r"(\d+)m(?!s)", text)
    number = re.search(r"[\d.]+(?=\D*$)", text)
    scale = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}.get(text[-2:], 1.0)
    return (60.0 * int(minutes[1]) if minutes else 0.0) + (float(number.group()) * scale if number else 0.0)


def _client_port(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    return self.port(int(a.group()[1:]), int(b.group()[1:])) is not None


def _process(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    """The same process's ids, or those by which a log names its own writer."""
    first, second = (re.split(r"(\d+)(?=\D*$)", match.group()) for match in (a, b))
    if first[::2] != second[::2]:
        return False
    return self.same_process(int(first[1]), int(second[1])) or (_is_logged(a) and _is_logged(b))


def _is_logged(match: re.Match[str]) -> bool:
    return match.string.startswith("]:", match.end()) and _LOG_LINE.fullmatch(match.string, 0, match.start()) is not None


def _temporary(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    names = [match.group() for match in (a, b)]
    if any(self.planted(name) for name in names):
        return False
    first, second = (name.rpartition("/")[2] for name in names)
    return self.same_name(first, second) or all(_RANDOM.search(_PREFIX.sub("", name)) for name in names)


def _unplanted(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    return not (self.planted(a.group()) or self.planted(b.group()))


def _derived(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    first, second = (re.sub("objects|/", "", match.group()) for match in (a, b))
    return self.same_id(first, second)


def _folder_of_objects(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    first, second = (match.group()[len("objects/") :][:2] for match in (a, b))
    return first == second or self.holds_same(first, second)


def _any(self: Equivalence, a: re.Match[str], b: re.Match[str]) -> bool:
    return True


_MASKS: tuple[_Mask, ...] = (
    _Mask("derived ids", r"objects/[0-9a-f]{2}/[0-9a-f]{38}(?!\w)", _derived),
    _Mask("temporary names", r"objects/[0-9a-f]{2}/tmp_obj_[A-Za-z0-9]{6}(?!\w)", _folder_of_objects),
    _Mask("derived ids", r"objects/[0-9a-f]{2}$", _folder_of_objects),
    _Mask("times", DATE, _dates),
    _Mask("times", EPOCH, _epoch_texts),
    _Mask("durations", r"(?<![\w.])\d{1,9}m\d{1,2}\.\d{1,9}s|(?<![\w.])\d{1,9}\.\d{1,9} ?s(?:ec(?:onds)?)?\b", _any),
    _Mask("durations", r"(?<![\w.])\d{1,12}(?:\.\d{1,9})? ?(?:ms|us|µs|ns)\b", _any),
    _Mask("pids", r"(?i:\bpid[ =:]{1,2})\d{1,7}\b|(?<=\w\[)\d{1,7}(?=\])|^\[\d{1,3}\]\+? +\d{1,7}$", _process),
    _Mask("ports", r"(?<=\d):(?:3[2-9]|[45]\d|60)\d{3}(?!\d)", _client_port),
    _Mask("inodes", r"Inode: \d+", _any),
    _Mask("processes", r"(?<=^dr-xr-xr-x )[ ]*\d{1,7}(?= +\S+ +\S+ +0 [^/\n]{1,20} /?proc$)", _any),
    _Mask("temporary names", r"(?<![A-Za-z0-9])tmp\.[A-Za-z0-9]{6,12}(?!\w)|(?<![A-Za-z0-9])tmp[a-z0-9_]{8}(?!\w)", _temporary),
    _Mask("temporary names", r"/tmp/ssh-[A-Za-z0-9]{6,16}/agent\.\d+|/sed[A-Za-z0-9]{6}(?!\w)", _temporary),  # noqa: S108
    _Mask("temporary names", r"(?<=\.git/)t[A-Za-z0-9]{6}(?!\w)", _temporary),
    _Mask("nonces", r"\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b", _unplanted),
    _Mask("nonces", r"\|1\|[A-Za-z0-9+/]{27}=\|[A-Za-z0-9+/]{27}=", _unplanted),
    _Mask("nonces", r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp256) AAAA[A-Za-z0-9+/=]{40,1000}", _unplanted),
    _Mask("nonces", r"SHA256:[A-Za-z0-9+/]{43}", _unplanted),
    _Mask("boundaries", r"-{24,26}[A-Za-z0-9]{16,22}(?!\w)|={15}\d{19}==", _unplanted),
    _Mask("boundaries", r"(?<=boundary=)[0-9a-f]{32}(?!\w)|^--[0-9a-f]{32}(?=-?-?\r?$)", _unplanted),
    _Mask("derived ids", r"(?<!\w)[0-9a-f]{7,40}(?!\w)", _derived),
)  # fmt: skip
_BY_GROUP = {f"m{n}": mask for n, mask in enumerate(_MASKS)}
_ANY = re.compile("|".join(f"(?P<m{n}>{mask.pattern})" for n, mask in enumerate(_MASKS)), re.MULTILINE)
