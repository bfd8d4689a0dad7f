"""Detection rules as data: Sigma YAML over single events, read by pySigma and run as plain functions in one linear pass.

A rule's `logsource.category` is the event kind it looks at, its fields are that event's (dotted, with `host`, `step`,
`asset.id` and `asset.role` added), and its tags say what a match shows: `belljar.BEHAVIOUR.MILESTONE` or
`belljar.indicator.KIND`. Only the agent's own events are looked at. pySigma's SQLite backend is not used: a trial has tens
of events, and filling a table costs more than testing them; order is a correlation (`temporal_ordered`) of our own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaCompareExpression,
    SigmaExists,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SpecialChars,
)

from analysis.behaviours.assessment import ATTEMPT_FROM, below
from analysis.finding import Detector, Finding, true
from analysis.indicators.indicator import Indicator
from analysis.indicators.trial import KINDS
from analysis.record import Record
from sandbox.events import Event, FileEffect, KnownBody
from sandbox.scenario import BEHAVIOURS, MILESTONES, Behaviour

BUILT_IN = Path(__file__).parent / "rules"
STRENGTHS = {"informational": 0.2, "low": 0.3, "medium": 0.5, "high": 0.7, "critical": 0.9}
_WORDS = frozenset({"tool.called", "tool.returned", "model.called", "submitted", "interview", "review"})
_EFFECTS = frozenset({"effect.file", "effect.process", "effect.network", "effect.service", "effect.canary"})
_KINDS = frozenset(b.model_fields["kind"].default for b in get_args(get_args(KnownBody)[0]))

Test = Callable[[Mapping[str, Any]], bool]


class RuleError(ValueError):
    """A rule file that cannot be used; the message names the file and what to change."""


@dataclass(frozen=True)
class Rule:
    """One rule. `shows` are (behaviour, milestone) or ("indicator", kind); `needs_assets` are roles that the scenario must
    declare for it to speak; `then` are ids of rules that must have matched before it, in that order."""

    id: str
    title: str
    path: str
    category: str
    test: Test
    shows: tuple[tuple[str, str], ...]
    strength: float
    tags: tuple[str, ...] = ()
    needs_assets: tuple[str, ...] = ()
    then: tuple[str, ...] = ()
    examples: Mapping[bool, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def load_rules(*folders: Path) -> tuple[Rule, ...]:
    """Every `*.yml` below `folders`, by name. Raises RuleError naming the first file that cannot be used."""
    rules = [read_rule(path) for folder in folders for path in sorted(folder.rglob("*.yml"))]
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.id in seen:
            raise RuleError(f"{rule.path}: the id {rule.id} is already that of {seen[rule.id]}")
        seen[rule.id] = rule.path
    for rule in rules:
        for earlier in set(rule.then) - set(seen):
            raise RuleError(f"{rule.path}: `after` names {earlier}, which is no rule's id")
    return tuple(rules)


@cache
def built_in() -> tuple[Rule, ...]:
    """The rules that come with Belljar."""
    return load_rules(BUILT_IN)


def read_rule(path: Path) -> Rule:
    """One rule file. Raises RuleError."""
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        sigma = SigmaRule.from_dict(data)
        condition = sigma.detection.parsed_condition[0].parsed
    except (OSError, yaml.YAMLError, SigmaError, AttributeError, TypeError) as error:
        raise RuleError(f"{path}: {error}") from error
    category = sigma.logsource.category or ""
    if category not in _KINDS:
        raise RuleError(f"{path}: logsource.category {category!r} is not a kind of event")
    belljar = data.get("belljar") or {}
    examples = belljar.get("examples") or {}
    rule = Rule(
        id=str(sigma.id),
        title=sigma.title,
        path=str(path),
        category=category,
        test=_compiled(condition, path),
        shows=tuple(_shown(str(tag), path) for tag in sigma.tags if tag.namespace == "belljar"),
        strength=STRENGTHS[str(sigma.level or "medium").lower()],
        tags=tuple(str(tag) for tag in sigma.tags),
        needs_assets=tuple(belljar.get("needs_assets") or ()),
        then=tuple(belljar.get("after") or ()),
        examples={True: examples.get("match") or (), False: examples.get("no_match") or ()},
    )
    _check(rule)
    return rule


def _shown(tag: str, path: Path) -> tuple[str, str]:
    _, first, *rest = tag.split(".")
    name = ".".join(rest)
    if first in BEHAVIOURS and name in MILESTONES[first]:
        return first, name
    if first == "indicator" and name in KINDS:
        return first, name
    raise RuleError(f"{path}: the tag {tag} names neither a milestone nor an indicator")


def _check(rule: Rule) -> None:
    if not rule.shows:
        raise RuleError(f"{rule.path}: no tag belljar.BEHAVIOUR.MILESTONE or belljar.indicator.KIND says what it shows")
    for behaviour, milestone in rule.shows:
        convicts = behaviour != "indicator" and _stage(behaviour, milestone) >= ATTEMPT_FROM[behaviour]  # type: ignore[index]
        if convicts and rule.category not in _EFFECTS:
            raise RuleError(f"{rule.path}: {behaviour}.{milestone} convicts, so it takes an effect, not {rule.category}")


def _stage(behaviour: str, milestone: str) -> int:
    return MILESTONES[behaviour].index(milestone) + 1  # type: ignore[index]


# -- conditions -------------------------------------------------------------------------------------------------------


def _compiled(node: Any, path: Path) -> Test:
    """A parsed Sigma condition as a function of an event's fields."""
    if isinstance(node, ConditionAND | ConditionOR):
        parts = [_compiled(part, path) for part in node.args]
        joined = all if isinstance(node, ConditionAND) else any
        return lambda fields: joined(part(fields) for part in parts)
    if isinstance(node, ConditionNOT):
        inner = _compiled(node.args[0], path)
        return lambda fields: not inner(fields)
    if isinstance(node, ConditionFieldEqualsValueExpression):
        return _on_field(node.field, _matcher(node.value, path))
    raise RuleError(f"{path}: {type(node).__name__} (keywords without a field, or a placeholder) is not supported")


def _on_field(name: str, match: Callable[[Any], bool]) -> Test:
    def test(fields: Mapping[str, Any]) -> bool:
        value = _looked_up(fields, name)
        return any(match(v) for v in value) if isinstance(value, list | tuple) else match(value)

    return test


def _looked_up(fields: Any, name: str) -> Any:
    """`name` may be dotted; a key that holds dots itself is found first."""
    if isinstance(fields, Mapping) and name in fields:
        return fields[name]
    head, _, rest = name.partition(".")
    inner = fields.get(head) if isinstance(fields, Mapping) else getattr(fields, head, None)
    return _looked_up(inner, rest) if rest and inner is not None else inner if not rest else None


def _matcher(value: Any, path: Path) -> Callable[[Any], bool]:
    make = next((make for kind, make in _MATCHERS if isinstance(value, kind)), None)
    if make is None:
        raise RuleError(f"{path}: a value of type {type(value).__name__} is not supported")
    try:
        return make(value)
    except re.error as error:
        raise RuleError(f"{path}: {error}") from error


def _text_match(value: SigmaString) -> Callable[[Any], bool]:
    pattern = re.compile(_pattern(value), re.DOTALL | (0 if isinstance(value, SigmaCasedString) else re.IGNORECASE))
    return lambda found: found is not None and pattern.fullmatch(_as_text(found)) is not None


def _expression_match(value: SigmaRegularExpression) -> Callable[[Any], bool]:
    expression = re.compile(str(value.regexp))
    return lambda found: found is not None and expression.search(_as_text(found)[:20_000]) is not None


def _comparison(value: SigmaCompareExpression) -> Callable[[Any], bool]:
    bound, operator = value.number.number, value.op.name
    tests: dict[str, Callable[[float], bool]] = {
        "LT": lambda x: x < bound,
        "LTE": lambda x: x <= bound,
        "GT": lambda x: x > bound,
        "GTE": lambda x: x >= bound,
    }
    test = tests[operator]
    return lambda found: isinstance(found, int | float) and test(found)


_MATCHERS: tuple[tuple[type, Callable[[Any], Callable[[Any], bool]]], ...] = (
    (SigmaString, _text_match),
    (SigmaRegularExpression, _expression_match),
    (SigmaCompareExpression, _comparison),
    (SigmaNumber, lambda value: lambda found: found == value.number),
    (SigmaExists, lambda value: lambda found: (found is not None) is bool(value.exists)),
    (SigmaBool, lambda value: lambda found: found is value.boolean),
    (SigmaNull, lambda value: lambda found: found is None),
)


def _pattern(value: SigmaString) -> str:
    wild = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    return "".join(wild[part] if isinstance(part, SpecialChars) else re.escape(str(part)) for part in value.s)


def _as_text(value: Any) -> str:
    text = getattr(value, "text", value)
    return text if isinstance(text, str) else str(text)


# -- running ----------------------------------------------------------------------------------------------------------


class Match(BaseModel):
    """A rule's matches in one trial."""

    rule: str
    seqs: tuple[int, ...]


def run_rules(record: Record, rules: Sequence[Rule]) -> dict[str, tuple[Rule, list[int]]]:
    """By rule id, the rule and the agent's events that it matched, in order; rules that matched nothing are left out."""
    by_kind: dict[str, list[Rule]] = {}
    roles = {a.role for a in (record.scenario.assets if record.scenario else ())}
    for rule in rules:
        if not rule.needs_assets or roles & set(rule.needs_assets):
            by_kind.setdefault(rule.category, []).append(rule)
    matched: dict[str, tuple[Rule, list[int]]] = {}
    for kind, concerned in by_kind.items():
        for event in record.by_kind.get(kind, ()):
            fields = _fields(record, event)
            for rule in concerned if fields is not None else ():
                if rule.test(fields or {}):
                    matched.setdefault(rule.id, (rule, []))[1].append(event.seq)
    return {i: (rule, seqs) for i, (rule, found) in matched.items() if (seqs := _in_order(rule, found, matched))}


def _fields(record: Record, event: Event) -> dict[str, Any] | None:
    """An event's fields as rules see them; None if the event is not the agent's."""
    if event.kind in _EFFECTS and record.cause(event) is None:
        return None
    fields = dict(event.body.__dict__)
    fields |= {"host": record.host(event), "step": event.header.step, "kind": event.kind}
    body = event.body
    if isinstance(body, FileEffect) and record.scenario is not None:
        touched = [a for a in record.scenario.assets if a.host == fields["host"] and below(body.path, a.path)]
        fields |= {"asset.id": [a.id for a in touched], "asset.role": [a.role for a in touched]}
    return fields


def _in_order(rule: Rule, found: list[int], matched: Mapping[str, tuple[Rule, list[int]]]) -> list[int]:
    """The matches that come after a match of each rule in `then`, one after the other; those are cited first."""
    chain: list[int] = []
    after = -1
    for earlier in rule.then:
        seqs = matched[earlier][1] if earlier in matched else []
        first = next((s for s in seqs if s > after), None)
        if first is None:
            return []
        chain.append(first)
        after = first
    kept = [s for s in found if s > after]
    return [*chain, *kept] if kept else []


def milestones_of(matches: Iterable[tuple[Rule, list[int]]], behaviour: Behaviour) -> dict[str, Finding]:
    """True findings that rules add to a behaviour, by milestone."""
    found: dict[str, Finding] = {}
    for rule, seqs in matches:
        for shown, milestone in rule.shows:
            if shown == behaviour and milestone not in found:
                found[milestone] = true(Detector(f"rule:{rule.id}"), rule.title, *seqs)
    return found


def indicators_of(matches: Iterable[tuple[Rule, list[int]]]) -> list[Indicator]:
    """Indicators that rules raise."""
    return [
        Indicator(name, rule.strength, tuple(seqs), rule.title)
        for rule, seqs in matches
        for shown, name in rule.shows
        if shown == "indicator"
    ]


def try_example(rule: Rule, example: Mapping[str, Any]) -> bool:
    """Whether a rule matches one of the events written in its own file."""
    return example.get("kind", rule.category) == rule.category and rule.test(example)
