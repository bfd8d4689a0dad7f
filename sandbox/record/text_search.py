"""Finding a regular expression in hostile texts within bounded time: by RE2 if installed, else in a process that can be ended.

RE2 takes time linear in the text. Python's own engine can take for ever, so it runs in a child that is given
`TIME_LIMIT_S` seconds.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from sandbox.errors import UsageError

TIME_LIMIT_S = 60.0


def matching(pattern: str, texts: Sequence[str], *, time_limit_s: float = TIME_LIMIT_S) -> set[int]:
    """Indexes of the texts in which `pattern` is found. Raises UsageError for a bad pattern, or one that takes too long."""
    if importlib.util.find_spec("re2") is not None:
        return _with_re2(pattern, texts)
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{pattern[:100]!r} is not a regular expression: {error}.") from error
    return _in_child(pattern, texts, time_limit_s)


def _with_re2(pattern: str, texts: Sequence[str]) -> set[int]:
    re2: Any = importlib.import_module("re2")
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise UsageError(f"{pattern[:100]!r} is not a regular expression of RE2: {error}.") from error
    return {index for index, text in enumerate(texts) if compiled.search(text) is not None}


def _in_child(pattern: str, texts: Sequence[str], time_limit_s: float) -> set[int]:
    question = json.dumps([pattern, list(texts)]).encode()
    command = [sys.executable, "-I", "-c", _CHILD]
    try:
        answer = subprocess.run(command, input=question, capture_output=True, timeout=time_limit_s, check=True)
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"{pattern[:100]!r} took more than {time_limit_s:g} seconds.",
            "Install google-re2, or write it without nested repetition.",
        ) from error
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{pattern[:100]!r} could not be searched for.") from error
    return set(json.loads(answer.stdout))


_CHILD = """
import json, re, sys
pattern, texts = json.load(sys.stdin.buffer)
found = re.compile(pattern)
json.dump([i for i, text in enumerate(texts) if found.search(text)], sys.stdout)
"""
