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
from pydantic import BaseModel, ValidationError
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
from sandbox.scenario import BEHAVIOURS, MILESTONES, AssetRole, Behaviour

BUILT_IN = Path(__file__).parent / "rules"
STRENGTHS = {"informational": 0.2, "low": 0.3, "medium": 0.5, "high": 0.7, "critical": 0.9}
_WORDS = frozenset({"tool.called", "tool.returned", "model.called", "submitted", "interview", "review"})
_EFFECTS = frozenset({"effect.file", "effect.process", "effect.network", "effect.service", "effect.canary"})
_KINDS: Mapping[str, type[BaseModel]] = {b.model_fields["kind"].default: b for b in get_args(get_args(KnownBody)[0])}
_ADDED = frozenset({"kind", "host", "step", "asset.id", "asset.role"})
"""Fields that every event has for rules beside its own; those of an asset are empty but for files."""

_OWN_KEYS = frozenset({"needs_assets", "after", "examples"})

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
    """Every `*.yml` and `*.yaml` below `folders`, by name.

    Raises RuleError naming the first file that cannot be used, be it that it fails its own examples, or a folder without any.
    """
    rules = [read_rule(path) for folder in folders for path in _files(folder)]
    seen: dict[str, str] = {}
    for rule in rules:
        if rule.id in seen:
            raise RuleError(f"{rule.path}: the id {rule.id} is already that of {seen[rule.id]}")
        seen[rule.id] = rule.path
    for rule in rules:
        for earlier in set(rule.then) - set(seen):
            raise RuleError(f"{rule.path}: `after` names {earlier}, which is no rule's id")
    return tuple(rules)


def _files(folder: Path) -> list[Path]:
    found = sorted(path for ending in ("yml", "yaml") for path in folder.rglob(f"*.{ending}"))
    if not found:
        raise RuleError(f"{folder}: no rule (*.yml or *.yaml) lies there")
    return found


@cache
def built_in() -> tuple[Rule, ...]:
    """The rules that come with Belljar."""
    return load_rules(BUILT_IN)


def read_rule(path: Path) -> Rule:
    """One rule file. Raises RuleError."""
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        sigma = SigmaRule.from_dict(data)
        conditions = [each.parsed for each in sigma.detection.parsed_condition]
    except (OSError, ValueError, yaml.YAMLError, SigmaError, AttributeError, TypeError) as error:
        raise RuleError(f"{path}: {error}") from error
    category = sigma.logsource.category or ""
    if category not in _KINDS:
        raise RuleError(f"{path}: logsource.category {category!r} is not a kind of event")
    if len(conditions) != 1:
        raise RuleError(f"{path}: {len(conditions)} conditions; join them into one with `or`, or write a rule for each")
    belljar = _belljar(data, path)
    examples = belljar.get("examples") or {}
    rule = Rule(
        id=str(sigma.id),
        title=sigma.title,
        path=str(path),
        category=category,
        test=_compiled(conditions[0], path, category),
        shows=tuple(_shown(str(tag), path) for tag in sigma.tags if tag.namespace == "belljar"),
        strength=STRENGTHS[str(sigma.level or "medium").lower()],
        tags=tuple(str(tag) for tag in sigma.tags),
        needs_assets=tuple(belljar.get("needs_assets") or ()),
        then=tuple(belljar.get("after") or ()),
        examples={True: examples.get("match") or (), False: examples.get("no_match") or ()},
    )
    _check(rule)
    return rule


def _belljar(data: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The rule's own part of ours, in which a misspelt key or role would otherwise be silence."""
    own = data.get("belljar") or {}
    examples = own.get("examples") or {} if isinstance(own, dict) else None
    if not isinstance(examples, dict):
        raise RuleError(f"{path}: `belljar` and its `examples` are mappings")
    unknown = [*(set(own) - _OWN_KEYS), *(set(examples) - {"match", "no_match"})]
    unknown += [role for role in own.get("needs_assets") or () if role not in get_args(AssetRole)]
    if unknown:
        raise RuleError(f"{path}: {unknown[0]!r} is nothing that `belljar` may hold")
    return own


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
    for matches, examples in rule.examples.items():
        for example in examples:
            if try_example(rule, example) is not matches:
                raise RuleError(f"{rule.path}: it {'misses' if matches else 'matches'} its own example {example}")


def _stage(behaviour: str, milestone: str) -> int:
    return MILESTONES[behaviour].index(milestone) + 1  # type: ignore[index]


# -- conditions -------------------------------------------------------------------------------------------------------


def _compiled(node: Any, path: Path, category: str) -> Test:
    """A parsed Sigma condition as a function of an event's fields."""
    if isinstance(node, ConditionAND | ConditionOR):
        parts = [_compiled(part, path, category) for part in node.args]
        joined = all if isinstance(node, ConditionAND) else any
        return lambda fields: joined(part(fields) for part in parts)
    if isinstance(node, ConditionNOT):
        inner = _compiled(node.args[0], path, category)
        return lambda fields: not inner(fields)
    if isinstance(node, ConditionFieldEqualsValueExpression):
        if node.field not in _ADDED and not _has(_KINDS[category], node.field):
            raise RuleError(f"{path}: {category} has no field {node.field!r}")
        return _on_field(node.field, _matcher(node.value, path))
    raise RuleError(f"{path}: {type(node).__name__} (keywords without a field, or a placeholder) is not supported")


def _has(kind: Any, name: str) -> bool:
    """Whether an event or a part of one has a field of this dotted name; what a plain mapping holds is anybody's."""
    head, _, rest = name.partition(".")
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return (
            any(_has(part, name) for part in get_args(kind)) if get_args(kind) and not _is_mapping(kind) else _is_mapping(kind)
        )
    if head not in kind.model_fields:
        return False
    return not rest or _has(kind.model_fields[head].annotation, rest)


def _is_mapping(kind: Any) -> bool:
    return getattr(kind, "__origin__", kind) is dict


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
    flags = re.NOFLAG
    for flag in value.flags:
        flags |= value.sigma_to_python_flags[flag]
    expression = re.compile(str(value.regexp), flags)
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
    body, host = event.body, record.host(event)
    touched = [
        asset
        for asset in (record.scenario.assets if record.scenario else ())
        if isinstance(body, FileEffect) and asset.host == host and below(body.path, asset.path)
    ]
    return _as_fields(body, host, event.header.step, [a.id for a in touched], [a.role for a in touched])


def _as_fields(body: Any, host: str, step: int, ids: Sequence[str] = (), roles: Sequence[str] = ()) -> dict[str, Any]:
    return {**body.__dict__, "host": host, "step": step, "asset.id": list(ids), "asset.role": list(roles)}


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
    """Whether a rule matches an event written in its own file. It is one of the rule's kind, with all that such an event must
    have, and may say its `host`, `step`, `asset.id` and `asset.role`. Raises RuleError if it is none."""
    if not isinstance(example, dict):
        raise RuleError(f"{rule.path}: the example {example!r} is no event")
    added = {name: example[name] for name in _ADDED - {"kind"} if name in example}
    try:
        body = _KINDS[rule.category].model_validate({k: v for k, v in example.items() if k not in added})
    except ValidationError as error:
        what = error.errors()[0]
        where = ".".join(map(str, what["loc"]))
        raise RuleError(f"{rule.path}: the example {example} is no {rule.category}: {where}: {what['msg']}") from error
    asset = [added.get(name) or () for name in ("asset.id", "asset.role")]
    ids, roles = ([names] if isinstance(names, str) else names for names in asset)
    return rule.test(_as_fields(body, str(added.get("host", "agent")), int(added.get("step", 1)), ids, roles))
