"""Retells a recorded trial in the terminal, a step at a time: what was said, called, shown, and what it really did.

Everything shown is the agent's or the world's text and goes through `plain`. Without a terminal all steps are printed.
"""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from sandbox.cli.output import console, plain
from sandbox.events import (
    CanaryEffect,
    Event,
    FileEffect,
    Interviewed,
    LimitReached,
    ModelCalled,
    NetworkEffect,
    Probed,
    ProcessEffect,
    Reviewed,
    ScheduleFired,
    ServiceEffect,
    Submitted,
    ToolCalled,
    ToolReturned,
)
from sandbox.replay.grading import last_step
from sandbox.trajectory import Trajectory

_LINES = 30
_ARROWS = {b"[C": "n", b"[B": "n", b"[D": "p", b"[A": "p", b"OC": "n", b"OB": "n", b"OD": "p", b"OA": "p"}
_HELP = "[n]ext [p]revious [number]g jump [/]search [a]uto [+-]pace [q]uit"


@dataclass(frozen=True)
class Scene:
    """One step as it is retold; `text` is what a search looks in."""

    step: int
    body: RenderableType
    text: str


def scenes(recorded: Trajectory) -> list[Scene]:
    """Every step of a trial in order; step 0 is what came before the first turn."""
    last = last_step(recorded)
    by_step: dict[int, list[Event]] = {number: [] for number in range(last + 1)}
    for event in recorded.events:
        by_step[min(event.header.step, last)].append(event)
    return [_scene(number, last, events) for number, events in by_step.items()]


def _scene(number: int, last: int, events: list[Event]) -> Scene:
    parts = [part for event in events for part in _told(event)]
    text = "\n".join(part.plain for part in parts)
    return Scene(number, Group(Rule(f"step {number} of {last}", align="left"), *parts), text)


def _told(event: Event) -> Iterator[Text]:
    """What one event says to a reader; nothing for those that only machines need."""
    body = event.body
    match body:
        case ModelCalled() if body.purpose == "turn":
            yield from _said("", body.reply.reasoning or "", "dim italic")
            yield from _said("agent: ", body.reply.content, "bold")
        case ToolCalled():
            arguments = "\n".join(f"{key}: {value}" for key, value in body.arguments.items())
            yield from _said(f"{body.call} {body.tool} ", arguments, "cyan")
        case ToolReturned():
            code = f" [exit code {body.exit_code}]" if body.exit_code else ""
            yield from _said("", body.output.text + (body.stderr.text if body.stderr else ""), "")
            yield from _said("", f"{body.status}{code} in {body.duration_us / 1e6:.2f} s", "dim")
        case Reviewed():
            yield from _said(f"{body.reviewer}: ", f"{body.decision} {body.reason}", "yellow")
        case Submitted():
            yield from _said(f"submitted, {body.status}: ", body.report, "bold green")
        case Interviewed():
            yield from _said(f"asked: {body.question} ", f"{body.answer or 'no answer'} - {body.text}", "green")
        case _:
            yield from happened(event)


def happened(event: Event) -> Iterator[Text]:
    """What an effect, a schedule entry, a probe or a limit says to a reader; nothing for other events."""
    body, host = event.body, event.header.host or "world"
    match body:
        case FileEffect():
            what = f"{body.action} {body.path}" + (f" (was {body.renamed_from})" if body.renamed_from else "")
            yield from _said(f"  file on {host}: ", what, "magenta")
            if body.diff:
                yield from _said("", body.diff.text, "dim magenta")
        case ProcessEffect():
            yield from _said(f"  process on {host}: ", f"{body.action} {' '.join(body.argv)}", "magenta")
        case NetworkEffect():
            what = " ".join(p for p in (body.method, body.name or body.destination, body.target) if p)
            yield from _said(f"  network from {host}: ", f"{body.action} {body.protocol} {what} {body.status or ''}", "magenta")
        case ServiceEffect():
            yield from _said(f"  {body.name}: ", ", ".join(f"{k}={v}" for k, v in body.subject.items()), "magenta")
        case CanaryEffect():
            yield from _said("  canary ", f"{body.canary} in {body.where} {body.location}", "red")
        case ScheduleFired():
            yield from _said(f"  happened by itself: {body.id}, ", body.action, "blue")
        case Probed():
            yield from _said(f"  probe {body.probe}: ", body.passed, "blue")
        case LimitReached():
            yield from _said("  limit ", f"{body.limit} {body.value:g} of {body.bound:g}", "red")


def _said(head: str, text: str, style: str) -> Iterator[Text]:
    lines = plain(head + text).rstrip("\n").split("\n")
    if not any(line.strip() for line in lines):
        return
    cut = [*lines[:_LINES], f"... {len(lines) - _LINES} more lines"] if len(lines) > _LINES else lines
    yield Text("\n".join(line[:2000] for line in cut), style=style)


def watch_trial(recorded: Trajectory, *, pace: float, out: Console | None = None) -> None:
    """Retell `recorded`. `pace` seconds a step, 0 waits for keys; without a terminal everything is printed."""
    out = out or console()
    told = scenes(recorded)
    if not (sys.stdin.isatty() and out.is_terminal):
        for scene in told:
            out.print(scene.body)
        return
    with _keys():
        _Screen(told, out, pace).run()


class _Screen:
    """Which scene is shown, and what a key does to it."""

    def __init__(self, told: list[Scene], out: Console, pace: float) -> None:
        self.told, self.out = told, out
        self.pace = pace or 2.0
        self.auto = pace > 0
        self.place = 0
        self.typed = ""
        self.sought = ""
        self.said = ""

    def run(self) -> None:
        while True:
            self._draw()
            key = _key(self.pace if self.auto else None)
            if key in ("q", "\x03", "\x04"):
                return
            self.press(key)

    def press(self, key: str) -> None:
        """Do what `key` says; "" means that the pace's time is over."""
        self.said = ""
        match key:
            case "" | "n" | " " | "\r" | "\n":
                self.go(self.place + 1)
                self.auto = self.auto and self.place < len(self.told) - 1
            case "p":
                self.go(self.place - 1)
            case "g":
                self.go(int(self.typed or len(self.told) - 1))
            case "/":
                self.sought = self._asked() or self.sought
                self.search()
            case "a":
                self.auto = not self.auto
            case "+" | "-":
                self.pace = max(0.1, self.pace * (0.5 if key == "+" else 2))
                self.said = f"{self.pace:g} s a step"
        self.typed = self.typed + key if key.isdigit() else ""

    def go(self, place: int) -> None:
        """Show the scene at `place`, or the nearest there is."""
        self.place = min(max(place, 0), len(self.told) - 1)

    def search(self) -> None:
        """Go to the next scene that holds what is sought, whatever its case."""
        wanted = re.escape(self.sought)
        order = [*range(self.place + 1, len(self.told)), *range(self.place + 1)]
        found = next((n for n in order if self.sought and re.search(wanted, self.told[n].text, re.IGNORECASE)), None)
        if found is None:
            self.said = f"{self.sought!r} is nowhere"
        else:
            self.go(found)

    def _draw(self) -> None:
        self.out.clear()
        self.out.print(self.told[self.place].body)
        mode = f"auto, {self.pace:g} s" if self.auto else ""
        self.out.print(Panel(Text(plain("  ".join(part for part in (_HELP, mode, self.said) if part)))))

    def _asked(self) -> str:
        typed = ""
        while True:
            self.out.print(Text(plain(f"/{typed}")), end="\r")
            key = _key(None)
            if key in ("\r", "\n", ""):
                return typed
            if not key.isprintable() and key not in ("\x7f", "\b"):
                continue
            typed = typed[:-1] if key in ("\x7f", "\b") else typed + key


@contextmanager
def _keys() -> Iterator[None]:
    """Single keys from the terminal, which is left as it was found."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(seconds: float | None) -> str:
    """The next key, "" if none was pressed within `seconds`; the end of input quits. Arrows are the letters they stand for."""
    if not _ready(seconds):
        return ""
    first = os.read(sys.stdin.fileno(), 1)
    if first != b"\x1b":
        return first.decode("ascii", "replace") or "q"
    rest = b""
    while _ready(0) and len(rest) < 8 and not rest[1:].isalpha():
        rest += os.read(sys.stdin.fileno(), 1)
    return _ARROWS.get(rest, "\x1b")


def _ready(seconds: float | None) -> bool:
    return bool(select.select([sys.stdin], [], [], seconds)[0])
