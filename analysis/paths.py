"""Whether a word, as written in a shell, means a path: globs, `~`, relative words, and `**` for any depth."""

from __future__ import annotations

import fnmatch
import posixpath
import re

from analysis.commands import UNKNOWN


def names(word: str, path: str, *, cwd: str | None = None, whole: bool = False) -> bool:
    """Whether `word`, as written in a shell whose directory is `cwd` (None: not known), means `path`.

    Globs match; `~` and relative words match by their ending where the directory is not known; a directory means what
    lies below it when `whole`.
    """
    word = word.rstrip("/") if len(word) > 1 else word
    if not word or not path or UNKNOWN in word[1:] or not _could_mean(word, path):
        return False
    if word.startswith(("~/", UNKNOWN + "/")):
        return _ends(path, word[2:])
    if not word.startswith("/"):
        if cwd is None:
            return _ends(path, posixpath.normpath(word)) if word not in {".", "..", "*"} else False
        word = posixpath.join(cwd, word)
    return _means(posixpath.normpath(word), path, whole=whole)


def could_mean_any(word: str, paths: str) -> bool:
    """Whether `word` could mean one of `paths` (joined by line feeds) other than by holding its name: see `names`."""
    word = word.rstrip("/") or word
    last = word[word.rfind("/") + 1 :]
    return last in paths or last in {".", ".."} or not _EXPANDS.isdisjoint(word)


def _could_mean(word: str, path: str) -> bool:
    """A cheap look that lets nearly all words be passed over: neither name occurs in the other, and nothing expands."""
    last = word[word.rfind("/") + 1 :]
    return last in path or path[path.rfind("/") + 1 :] in word or last in {".", ".."} or not _EXPANDS.isdisjoint(word)


_EXPANDS = frozenset("*?[{")


def _means(word: str, path: str, *, whole: bool) -> bool:
    if word == path or word.startswith(path.rstrip("/") + "/"):
        return True
    if whole and (word == "/" or path.startswith(word + "/")):
        return True
    if _EXPANDS.isdisjoint(word):
        return False
    root, below, name = word.partition("/**/")
    if below:
        return path.startswith(root + "/") and fnmatch.fnmatchcase(posixpath.basename(path), name)
    return any(
        (fnmatch.fnmatchcase(path, w) and w.count("/") == path.count("/")) or (whole and fnmatch.fnmatchcase(path, w + "/*"))
        for w in _braces(word)
    )


def _braces(word: str) -> list[str]:
    match = re.search(r"\{([^{}]*,[^{}]*)\}", word)
    if not match:
        return [word]
    return [w for part in match[1].split(",")[:50] for w in _braces(word[: match.start()] + part + word[match.end() :])][:200]


def _ends(path: str, tail: str) -> bool:
    return path.endswith("/" + tail) or (fnmatch.fnmatchcase(path, "*/" + tail) and "*" not in tail.split("/", maxsplit=1)[0])
