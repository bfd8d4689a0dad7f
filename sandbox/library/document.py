"""A YAML document as plain data that remembers on which line each value stands.

Scenario folders are hostile input: size, number of values and depth are bounded (aliases count each time they are used), tags
are refused, and a key that appears twice is an error instead of a silent choice. Only `true` and `false` are booleans and only
decimal digits are numbers, so that `yes`, `on`, `12:30` and `0644` stay the words that the author wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.errors import ScenarioError

MAX_BYTES = 512 * 1024
MAX_VALUES = 20_000
MAX_DEPTH = 40

Path = tuple[str | int, ...]
"""Where a value lies in a document: keys and list indices from the top."""


@dataclass(frozen=True)
class Document:
    """Plain data and, for each path in it, the line (1-based) of its key or entry and that on which its text begins."""

    file: str
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)
    text_lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of the value at `path`, or of the nearest value around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path, message: str, fix: str = "") -> ScenarioError:
        """A ScenarioError that points at `path`."""
        return ScenarioError(message, fix, file=self.file, line=self.line(path))

    def transform(self, keep: Callable[[Any], bool], render: Callable[[str, int], str]) -> Document:
        """A copy without the list entries that `keep` refuses and with every text and key put through `render(text, line)`."""
        return _Transformed(self, keep, render).document()


class _Transformed:
    def __init__(self, source: Document, keep: Callable[[Any], bool], render: Callable[[str, int], str]) -> None:
        self.source, self.keep, self.render = source, keep, render
        self.lines: dict[Path, int] = {}
        self.text_lines: dict[Path, int] = {}

    def document(self) -> Document:
        data = self._copy(self.source.data, (), ())
        return Document(self.source.file, data, self.lines, self.text_lines)

    def _copy(self, value: Any, old: Path, new: Path) -> Any:
        if old in self.source.lines:
            self.lines[new] = self.source.lines[old]
        if isinstance(value, dict):
            return self._copy_mapping(value, old, new)
        if isinstance(value, list):
            kept = [(index, item) for index, item in enumerate(value) if self.keep(item)]
            return [self._copy(item, (*old, index), (*new, place)) for place, (index, item) in enumerate(kept)]
        if isinstance(value, str):
            line = self.source.text_lines.get(old, self.source.line(old))
            self.text_lines[new] = line
            return self.render(value, line)
        return value

    def _copy_mapping(self, value: dict[str, Any], old: Path, new: Path) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in value.items():
            line = self.source.line((*old, key))
            name = self.render(key, line)
            if name in copied:
                raise ScenarioError(
                    f"`{key}` gives the key `{name}`, which is there already.", "Remove one.", file=self.source.file, line=line
                )
            copied[name] = self._copy(item, (*old, key), (*new, name))
        return copied


def parse(file: str, raw: bytes) -> Document:
    """Read one YAML document. Raises ScenarioError naming `file` and the line of the first thing that is wrong."""
    if len(raw) > MAX_BYTES:
        raise ScenarioError(f"{len(raw)} bytes is too large.", f"Keep it below {MAX_BYTES} bytes.", file=file)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ScenarioError("the file is not UTF-8 text.", "Save it as UTF-8.", file=file, line=line) from None
    return _Reader(file).read(text)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types: nothing but null, true, false and decimal numbers is taken for other than text."""

    yaml_implicit_resolvers: dict[str, Any] = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(0|[1-9][0-9]{0,17})$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?(0|[1-9][0-9]*)(\.[0-9]+([eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})$"),
    list("-0123456789"),
)

_PLAIN = ("null", "bool", "int", "float", "str")


class _Reader:
    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Path, int] = {}
        self.text_lines: dict[Path, int] = {}
        self.values = 0

    def read(self, text: str) -> Document:
        try:
            node = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part) or "malformed YAML"
            raise self._error(mark.line + 1 if mark else 1, f"not valid YAML: {what}.", _yaml_fix(what)) from None
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            raise self._error(line, "a character that YAML does not allow.", "Remove the control character.") from None
        except RecursionError:
            raise self._error(1, "nested too deeply.", f"At most {MAX_DEPTH} levels are read.") from None
        if node is None:
            raise self._error(1, "the file is empty.", "See scenarios/README.md for what belongs into it.")
        data = self._value(node, (), ())
        return Document(self.file, data, self.lines, self.text_lines)

    def _error(self, line: int, message: str, fix: str = "") -> ScenarioError:
        return ScenarioError(message, fix, file=self.file, line=line)

    def _value(self, node: yaml.Node, path: Path, around: tuple[int, ...]) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._error(line, f"more than {MAX_VALUES} values.", "Aliases (*name) count each time they are used.")
        if id(node) in around:
            raise self._error(line, "an alias refers to what it is part of.", "Write the value out.")
        if len(around) >= MAX_DEPTH:
            raise self._error(line, "nested too deeply.", f"At most {MAX_DEPTH} levels are read.")
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, around)
        if isinstance(node, yaml.SequenceNode):
            self._no_tag(node, "seq", line)
            return [self._value(item, (*path, index), around) for index, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: Path, around: tuple[int, ...]) -> dict[str, Any]:
        self._no_tag(node, "map", node.start_mark.line + 1)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, "a key must be one word.", "Was `{{ … }}` written without quotes around it?")
            key = self._checked(key_node.value, line)
            if key == "<<":
                raise self._error(line, "merge keys (<<) are not supported.", "Write the entries out.")
            if key in found:
                first = self.lines[(*path, key)]
                raise self._error(line, f"`{key}` is given twice (first on line {first}).", "Remove one of them.")
            self.lines[(*path, key)] = line
            found[key] = self._value(value_node, (*path, key), around)
        return found

    def _no_tag(self, node: yaml.Node, kind: str, line: int) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            raise self._error(line, f"the tag {node.tag!r} is not supported.", "Remove it.")

    def _scalar(self, node: yaml.Node, path: Path, line: int) -> Any:
        kind = node.tag.rpartition(":")[2]
        if not node.tag.startswith("tag:yaml.org,2002:") or kind not in _PLAIN:
            raise self._error(line, f"the tag {node.tag!r} is not supported.", "Remove it.")
        text = self._checked(str(node.value), line)
        try:
            if kind == "str":
                block = getattr(node, "style", None) in ("|", ">")
                self.text_lines[path] = line + 1 if block else line
                return text
            if kind == "null":
                return None
            if kind == "bool":
                return {"true": True, "false": False}[text]
            number = int(text) if kind == "int" else float(text)
        except (ValueError, KeyError):
            raise self._error(line, f"{text[:40]!r} is not of the type {kind}.", "Correct it, or put it into quotes.") from None
        if not math.isfinite(number):
            raise self._error(line, f"{text[:40]!r} is not a finite number.", "Give a smaller number.")
        return number

    def _checked(self, text: str, line: int) -> str:
        if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
            raise self._error(line, "a text holds a NUL or half a character.", "Remove the escape.")
        return text


def _yaml_fix(what: str) -> str:
    if "unhashable" in what or "flow" in what:
        return "Put a value that begins with { or [ into quotes."
    if "'\\t'" in what:
        return "Indent with spaces, not tabs."
    if "mapping values are not allowed" in what:
        return "Put a value that contains ': ' into quotes, and check the indentation."
    return "Check indentation, quotes and colons around that line."
