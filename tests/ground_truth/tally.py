"""Known against told: recall, precision and origins by kind, as a table."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sandbox.events import CanaryEffect, Draft, FileEffect, NetworkEffect, ProcessEffect
from tests.ground_truth.script import SITE, Truth

UNKNOWN = "?"
"""Stands for the words of a process that were not told."""


@dataclass
class Score:
    """Of one kind: how many are known, told, and in both; of those in both, how many name a call, and the right one."""

    known: int = 0
    told: int = 0
    both: int = 0
    ascribed: int = 0
    right: int = 0
    contents: int = 0
    contents_right: int = 0

    @property
    def recall(self) -> float:
        return self.both / self.known if self.known else 1.0

    @property
    def precision(self) -> float:
        return self.both / self.told if self.told else 1.0

    @property
    def origins(self) -> float:
        return self.right / self.ascribed if self.ascribed else 1.0

    def __add__(self, other: Score) -> Score:
        return Score(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def told(drafts: Iterable[Draft]) -> list[Truth]:
    """What was recorded in the terms of the script; the engine's own doings and what no deed speaks of are left out."""
    found: list[Truth] = []
    running: dict[tuple[str | None, int], str] = {}
    for draft in drafts:
        if draft.origin_basis == "engine":
            continue
        for kind, key, sha in _readings(draft, running):
            found.append(Truth(kind, key, draft.origin or "", sha))
    return found


def _readings(draft: Draft, running: dict[tuple[str | None, int], str]) -> Iterable[tuple[str, str, str | None]]:
    host = draft.host
    match draft.body:
        case FileEffect(action="renamed") as b:
            yield "file renamed", f"{host}:{b.renamed_from} -> {b.path}", None
        case FileEffect(action="mode_changed") as b if b.after is not None:
            yield "mode changed", f"{host}:{b.path}:{b.after.mode:o}", None
        case FileEffect(action="owner_changed") as b if b.after is not None:
            yield "owner changed", f"{host}:{b.path}:{b.after.gid}", None
        case FileEffect(short_lived=True) as b:
            yield f"short-lived file {b.action}", f"{host}:{b.path}", None
        case FileEffect() as b:
            yield f"file {b.action}", f"{host}:{b.path}", b.after.sha256 if b.after is not None else None
        case ProcessEffect(action="started") as b:
            running[host, b.pid] = f"{host}:{list(b.argv) or UNKNOWN}"
            yield "process started", running[host, b.pid], None
        case ProcessEffect(action="exited") as b:
            yield "process exited", f"{running.get((host, b.pid))}:{b.exit_code}", None
        case ProcessEffect(action="outlived") as b:
            yield "process outlived", f"{host}:{list(b.argv)}", None
        case NetworkEffect(action="connected" | "refused", protocol="tcp") as b:
            yield b.action, f"{host}:{b.destination}:{b.port}", None
        case NetworkEffect(action="requested") as b:
            yield "request", f"{host}:{b.target}", None
        case CanaryEffect() as b:
            where = {"file": "file", "request": "request", "process": "arguments"}.get(b.where, b.where)
            path = b.location.removeprefix(SITE) if b.where == "request" else b.location
            yield f"canary in {where}", f"{b.canary} {host}:{path}", None
        case _:
            return


def tally(known: Sequence[Truth], seen: Sequence[Truth], *, words: bool = True) -> dict[str, Score]:
    """Scores by kind. Without `words` a process of which none were told matches any of its host and end."""
    scores: dict[str, Score] = defaultdict(Score)
    by_key: dict[tuple[str, str], list[Truth]] = defaultdict(list)
    for truth in seen:
        by_key[truth.kind, truth.key].append(truth)
        scores[truth.kind].told += 1
    for truth, match in _pairs(known, by_key, words):
        score = scores[truth.kind]
        score.known += 1
        score.contents += truth.sha256 is not None
        if match is not None:
            score.both += 1
            score.contents_right += truth.sha256 is not None and match.sha256 == truth.sha256
            score.ascribed += bool(match.origin)
            score.right += match.origin == truth.origin
    return dict(sorted(scores.items()))


def _pairs(
    known: Iterable[Truth], by_key: dict[tuple[str, str], list[Truth]], words: bool
) -> Iterable[tuple[Truth, Truth | None]]:
    """Each known truth and what was told of it: first those that agree in everything, then in content, then what is left."""
    waiting = list(known)
    agreements: list[tuple[Callable[[Truth], str], Callable[[Truth, Truth], bool]]] = [
        (lambda t: t.key, lambda t, c: (t.origin, t.sha256 or c.sha256) == (c.origin, c.sha256)),
        (lambda t: t.key, lambda t, c: t.origin == c.origin),
        (lambda t: t.key, lambda t, c: True),
    ]
    if not words:
        agreements += [(_wordless, lambda t, c: t.origin == c.origin), (_wordless, lambda t, c: True)]
    for key, agree in agreements:
        left = []
        for truth in waiting:
            candidates = by_key[truth.kind, key(truth)]
            if (match := next((c for c in candidates if agree(truth, c)), None)) is None:
                left.append(truth)
            else:
                candidates.remove(match)
                yield truth, match
        waiting = left
    yield from ((truth, None) for truth in waiting)


def _wordless(truth: Truth) -> str:
    """The key of a process of whose words nothing is told."""
    host, _, rest = truth.key.partition(":")
    return f"{host}:{UNKNOWN}:{rest.rpartition(':')[2]}" if truth.kind == "process exited" else f"{host}:{UNKNOWN}"


def differences(known: Sequence[Truth], seen: Sequence[Truth]) -> list[str]:
    """What is known and not told, or told and not known, or told otherwise; one line each."""
    wanted, found = (Counter((t.kind, t.key) for t in truths) for truths in (known, seen))
    lines = [f"not told: {kind}: {key}" for kind, key in (wanted - found).elements()]
    lines += [f"not known: {kind}: {key}" for kind, key in (found - wanted).elements()]
    told_of = {(t.kind, t.key, t.origin) for t in seen}
    wrong = [t for t in known if (t.kind, t.key) in found and (t.kind, t.key, t.origin) not in told_of]
    return lines + [f"not {t.origin}'s: {t.kind}: {t.key}" for t in wrong]


def together(scores: dict[str, Score], *words: str) -> Score:
    """The sum over all kinds whose name begins with, or holds, one of the words."""
    return sum((score for kind, score in scores.items() if any(word in kind for word in words)), Score())


def table(title: str, scores: dict[str, Score]) -> str:
    lines = [
        f"{title:<28}{'known':>7}{'told':>7}{'recall':>8}{'precision':>11}{'contents':>10}{'origin named':>14}{'right':>8}"
    ]
    for kind, s in [*scores.items(), ("all", sum(scores.values(), Score()))]:
        contents = f"{s.contents_right}/{s.contents}" if s.contents else ""
        lines.append(
            f"{kind:<28}{s.known:>7}{s.told:>7}{s.recall:>8.3f}{s.precision:>11.3f}{contents:>10}"
            f"{f'{s.ascribed}/{s.both}':>14}{s.origins:>8.3f}"
        )
    return "\n".join(lines)
