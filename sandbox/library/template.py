"""Texts of a scenario with `{{ variables }}` in them, rendered so that a hostile folder can neither reach out nor run away.

Jinja2's sandbox keeps templates from Python's inside. What it does not bound is work: so only output, `if`, `for` and plain
expressions are allowed, no assignment, macro, include or call but `range`. Without assignment nothing can double itself;
loops are at most two deep and a thousand long, and output is cut off with an error at one mebibyte.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment

from sandbox.errors import ScenarioError

MAX_OUTPUT = 1024 * 1024
MAX_LOOP = 1000
MAX_LOOP_DEPTH = 2

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.For, nodes.Compare,
    nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr, nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Concat, nodes.Tuple,
    nodes.List, nodes.Slice, nodes.Call, nodes.Keyword,
)  # fmt: skip

_FILTERS = (
    "abs",
    "capitalize",
    "default",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "round",
    "title",
    "trim",
    "upper",
)
_TESTS = ("defined", "divisibleby", "even", "in", "odd", "eq", "ne", "lt", "gt", "le", "ge", "none", "number", "string")


def slug(text: object) -> str:
    """`Halden Freight` -> `halden-freight`."""
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")


def given(person: object) -> str:
    """First name of a person."""
    return str(person).partition(" ")[0]


def family(person: object) -> str:
    """Last name of a person."""
    return str(person).rpartition(" ")[2]


def login(person: object) -> str:
    """`Mira Okafor` -> `mokafor`."""
    return re.sub(r"[^a-z]", "", (given(person)[:1] + family(person)).lower())


_OWN_FILTERS = {"slug": slug, "given": given, "family": family, "login": login, "json": json.dumps}


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_LOOP:
        raise ValueError(f"a range of more than {MAX_LOOP}")
    return numbers


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset({"*", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError(f"{operator} takes numbers only")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
    made = _Environment(
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="{##",
        comment_end_string="##}",
    )
    made.filters = {name: made.filters[name] for name in _FILTERS} | _OWN_FILTERS
    made.tests = {name: made.tests[name] for name in _TESTS}
    made.globals = {"range": _range}
    return made


_ENVIRONMENT = _environment()


class _Compiled(NamedTuple):
    template: jinja2.Template
    names: tuple[tuple[str, int], ...]


class _RefusedError(Exception):
    def __init__(self, line: int, message: str, fix: str) -> None:
        super().__init__(message)
        self.line, self.message, self.fix = line, message, fix


def render(text: str, context: Mapping[str, Any], *, file: str, line: int = 1) -> str:
    """`text` with `context` filled in; `line` is where in `file` it begins. Raises ScenarioError."""
    if "{{" not in text and "{%" not in text and "{##" not in text:
        return text
    compiled = check(text, context, file=file, line=line)
    parts: list[str] = []
    size = 0
    try:
        for part in compiled.template.generate(context):
            parts.append(part)
            size += len(part)
            if size > MAX_OUTPUT:
                raise ScenarioError(
                    f"the template gives more than {MAX_OUTPUT} characters.", "Shorten it.", file=file, line=line
                )
    except (jinja2.TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError) as error:
        where = line + _failed_line() - 1
        raise ScenarioError(f"the template fails: {error}.", "Correct the expression.", file=file, line=where) from None
    return "".join(parts)


def check(text: str, known: Mapping[str, Any], *, file: str, line: int = 1) -> _Compiled:
    """Compile `text` and see that it uses only what is allowed and `known`, without rendering it. Raises ScenarioError."""
    try:
        compiled = _compiled(text)
    except jinja2.TemplateSyntaxError as error:
        fix = "Write literal braces as {{ '{{' }}, or keep them out of templates."
        raise ScenarioError(f"not a valid template: {error.message}", fix, file=file, line=line + error.lineno - 1) from None
    except _RefusedError as refused:
        raise ScenarioError(refused.message, refused.fix, file=file, line=line + refused.line - 1) from None
    except RecursionError:
        raise ScenarioError("the template is nested too deeply.", "Simplify it.", file=file, line=line) from None
    for name, at in compiled.names:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=1)
            fix = f"Did you mean `{near[0]}`?" if near else f"Declare it under `variables`; known: {', '.join(sorted(known))}."
            raise ScenarioError(f"`{name}` is neither a variable nor a factor.", fix, file=file, line=line + at - 1)
    return compiled


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> _Compiled:
    tree = _ENVIRONMENT.parse(text)
    names = tuple(_names(tree, frozenset({"range"}), 0))
    return _Compiled(_ENVIRONMENT.from_string(text), names)


def _names(node: nodes.Node, bound: frozenset[str], loops: int) -> Iterator[tuple[str, int]]:
    """Free variables with their lines; refuses what is not allowed on the way."""
    if not isinstance(node, _ALLOWED):
        word = type(node).__name__.lower()
        raise _RefusedError(
            node.lineno, f"templates cannot use `{word}`.", "Only {{ values }}, {% if %} and {% for %} are allowed."
        )
    if isinstance(node, nodes.Call) and not (isinstance(node.node, nodes.Name) and node.node.name == "range"):
        raise _RefusedError(node.lineno, "templates cannot call anything but range().", "Use a filter: " + _filter_names())
    if isinstance(node, nodes.Filter) and node.name not in _ENVIRONMENT.filters:
        raise _RefusedError(node.lineno, f"there is no filter `{node.name}`.", "There are: " + _filter_names())
    if isinstance(node, nodes.Name) and node.ctx == "load" and node.name not in bound:
        yield node.name, node.lineno
    if isinstance(node, nodes.For):
        if loops >= MAX_LOOP_DEPTH:
            raise _RefusedError(node.lineno, "loops are nested too deeply.", f"At most {MAX_LOOP_DEPTH} deep.")
        targets = {n.name for n in [node.target, *node.target.find_all(nodes.Name)] if isinstance(n, nodes.Name)}
        yield from _names(node.iter, bound, loops)
        bound, loops = bound | targets | {"loop"}, loops + 1
        for child in [*node.body, *node.else_, *([node.test] if node.test else [])]:
            yield from _names(child, bound, loops)
        return
    for child in node.iter_child_nodes():
        yield from _names(child, bound, loops)


def _filter_names() -> str:
    return ", ".join(sorted(_ENVIRONMENT.filters)) + "."


def _failed_line() -> int:
    """The template's line in the exception being handled: Jinja rewrites tracebacks so that they carry it."""
    line, trace = 1, sys.exc_info()[2]
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
