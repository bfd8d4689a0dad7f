"""Options among a command's words: flags alone or bundled, values joined or apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from analysis.commands import Command


def has(command: Command, letters: str) -> bool:
    """Whether any of the short flags is given, alone or bundled."""
    return any(re.match(r"-[a-zA-Z]", w) and set(w[1:]) & set(letters) for w in command.words)


def option(command: Command, *names: str) -> str:
    """Value of an option given as `-t x`, `--target x` or `--target=x`; empty if absent."""
    words = command.words
    for index, word in enumerate(words):
        if word in names and index + 1 < len(words):
            return words[index + 1]
        for name in names:
            if name.startswith("--") and word.startswith(name + "="):
                return word.split("=", 1)[1]
    return ""


class Options(NamedTuple):
    """`given` are (option, value) in order, the value empty for a flag; `operands` what is left."""

    given: list[tuple[str, str]]
    operands: list[str]

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.given if name in names]


def options(command: Command, letters: str, names: Iterable[str] = ()) -> Options:
    """Take a command's words apart, where `letters` (`-T x`, `-Tx`, `-sT x`) and `names` (`--data x`, `--data=x`) take a
    value."""
    found, taking, words = Options([], []), frozenset(names), iter(command.words)
    for word in words:
        if word.startswith("--") and len(word) > 2:
            name, equals, value = word.partition("=")
            found.given.append((name, value if equals or name not in taking else next(words, "")))
        elif word.startswith("-") and len(word) > 1:
            _bundle(word[1:], letters, words, found)
        else:
            found.operands.append(word)
    return found


def _bundle(flags: str, letters: str, words: Iterable[str], found: Options) -> None:
    for index, flag in enumerate(flags):
        if flag in letters:
            found.given.append(("-" + flag, flags[index + 1 :] or next(iter(words), "")))
            return
        found.given.append(("-" + flag, ""))
