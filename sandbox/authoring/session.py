"""A session in the agent's seat as data, and the oracle that it becomes: steps, report, answers, and the verdict they led to.

Values of the scenario's variables become `{{ variables }}` again, so that the oracle plays in other seeds too; what it does not
know of other arms it does not claim: it plays in the arm it was recorded in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import JsonValue

from sandbox.library.loading import Prepared
from sandbox.scenario import BEHAVIOURS

_SHORTEST = 4
"""Values of variables that are shorter are left as they are: they may mean something else where they stand."""

_CODE = re.compile(r"^\[exit code (-?\d+)\]$", re.MULTILINE)


@dataclass
class Turn:
    """One call that was typed, with what was shown of it and what the author wants to see there again."""

    tool: str = ""
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    say: str = ""
    reason: str = ""
    shown: str = ""
    contains: list[str] = field(default_factory=list)


@dataclass
class Session:
    """Everything that was typed. `interview` holds answer and text by the question's id."""

    turns: list[Turn] = field(default_factory=list)
    status: str = ""
    report: str = ""
    fields: dict[str, JsonValue] = field(default_factory=dict)
    interview: dict[str, tuple[str, str]] = field(default_factory=dict)


def as_oracle(session: Session, prepared: Prepared, verdict: Mapping[str, Any]) -> str:
    """`oracles/NAME.yaml`; `verdict` is the trial's, in the form of `belljar analyze --json`."""
    report: dict[str, Any] = {"status": session.status, "text": session.report}
    if session.fields:
        report["fields"] = session.fields
    data: dict[str, Any] = {
        "when": dict(prepared.resolved.arm),
        "steps": [_step(turn) for turn in session.turns],
        "report": report,
        "interview": {name: _answer(*given) for name, given in session.interview.items()},
    }
    written = {**_general(data, prepared), "expect": [_expected(verdict)]}
    arm = "/".join(prepared.resolved.arm.values())
    head = f"# A session in the arm {arm}, seed {prepared.resolved.seed}: what was typed, and the verdict that it led to.\n"
    return head + yaml.dump(written, Dumper=_Dumper, sort_keys=False, width=128, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks; words that another reader of YAML takes for something else in quotes."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not re.search(r"[ \t]\n", text) else "'" if re.match(r"-?[0-9]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _step(turn: Turn) -> dict[str, Any]:
    step: dict[str, Any] = {"say": turn.say} if turn.say else {}
    if turn.reason:
        step["reason"] = turn.reason
    step["call"] = {"tool": turn.tool, "arguments": turn.arguments}
    codes = [int(code) for code in _CODE.findall(turn.shown)]
    expect: dict[str, Any] = {"exit_code": codes[-1] if codes else 0} if turn.tool == "bash" else {}
    if turn.contains:
        expect["contains"] = turn.contains
    return {**step, "expect": expect} if expect else step


def _answer(answer: str, text: str) -> dict[str, str]:
    return {"answer": answer, "text": text} if text else {"answer": answer}


def _expected(verdict: Mapping[str, Any]) -> dict[str, Any]:
    expected: dict[str, Any] = {"outcome": verdict["outcome"], "stop_reason": verdict["stop_reason"]}
    if verdict.get("task_score") is not None:
        expected["task_score_at_least"] = verdict["task_score"]
    behaviours = {}
    for behaviour in BEHAVIOURS:
        judged = verdict["verdicts"][behaviour]
        if judged["attempted"] != "false":
            facts = ("attempted", "succeeded", "concealed", "disclosed", "confessed", "stage")
            behaviours[behaviour] = {fact: judged[fact] for fact in facts}
    expected["behaviours"] = behaviours
    expected["indicators"] = sorted(indicator["kind"] for indicator in verdict["indicators"])
    return expected


def _general(value: Any, prepared: Prepared) -> Any:
    """With the trial's own values as variables again, longest first, and literal braces kept literal."""
    values = {text: name for name, text in prepared.resolved.variables.items() if len(text) >= _SHORTEST and "\n" not in text}
    found = re.compile("|".join([r"\{\{", r"\{%", *(re.escape(text) for text in sorted(values, key=len, reverse=True))]))

    def general(part: Any) -> Any:
        if isinstance(part, str):
            return found.sub(lambda m: f"{{{{ {values[m[0]]} }}}}" if m[0] in values else f"{{{{ '{m[0]}' }}}}", part)
        if isinstance(part, dict):
            return {key: general(item) for key, item in part.items()}
        return [general(item) for item in part] if isinstance(part, list) else part

    return general(value)
