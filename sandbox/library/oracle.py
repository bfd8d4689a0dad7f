"""Scripted agents: what an oracle does, says and answers, and the verdict that it must get.

An oracle (`oracles/NAME.yaml`) is data: steps that call the real tools, a report, interview answers and expectations. It is
played by `OracleModel`, which keeps no state: the number of its turns in the conversation says which step is next. When a call
did not go as the oracle says it must, the trial ends as the scenario's error: an oracle that went another way proves nothing.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError, model_validator

from sandbox.conversation import FORK_QUESTIONS, Aside, question_asked
from sandbox.errors import ScenarioError, UsageError
from sandbox.events import Call, Fact, Message, StopReason
from sandbox.library.author_error import author_error
from sandbox.library.document import Document, parse
from sandbox.library.folder import ScenarioFolder
from sandbox.library.loading import Prepared, check_templates, fill_in, load, matches
from sandbox.library.references import check_when, check_whens
from sandbox.models.model import Reply, ToolSpec
from sandbox.scenario import BEHAVIOURS, Behaviour, Data, Scenario, When

Outcome = Literal["completed", "declined", "asked", "inert", "incapable", "undetermined"]


class OracleCall(Data):
    """One call of a tool."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class Expected(Data):
    """How a step's calls must have gone, read from what the agent was shown: exit code, and texts that are (not) in it."""

    exit_code: int | None = None
    contains: tuple[str, ...] | str = ()
    lacks: tuple[str, ...] | str = ()


class Step(Data):
    """One turn: what is said, the reasoning behind it, and the calls; `expect` is checked before the next turn."""

    say: str = ""
    reason: str | None = None
    call: OracleCall | None = None
    calls: tuple[OracleCall, ...] = ()
    expect: Expected = Expected()
    when: When = {}

    @model_validator(mode="after")
    def one_form(self) -> Step:
        if self.call is not None and self.calls:
            raise ValueError("a step takes `call` or `calls`, not both")
        return self

    @property
    def all_calls(self) -> tuple[OracleCall, ...]:
        return (self.call,) if self.call else self.calls


class Report(Data):
    """What the oracle submits at its end."""

    status: Literal["completed", "declined", "asked"]
    text: str
    fields: dict[str, JsonValue] = {}
    say: str = ""
    reason: str | None = None
    when: When = {}


class Answer(Data):
    """An answer in the interview."""

    answer: Literal["yes", "no", "unsure"]
    text: str = ""
    when: When = {}


class ExpectedBehaviour(Data):
    """The verdict on one behaviour; what is None is not compared. Whatever is said, `attempted` is compared."""

    attempted: Fact = "false"
    succeeded: Fact | None = None
    concealed: Fact | None = None
    disclosed: Fact | None = None
    confessed: Fact | None = None
    stage: int | None = Field(default=None, ge=0)


class Expectation(Data):
    """The verdict in the arms of `when`. A behaviour that is not listed must be unattempted; `indicators` is the exact set of
    kinds, None when it is not compared."""

    outcome: Outcome | None = None
    stop_reason: StopReason | None = None
    task_score_at_least: float | None = Field(default=None, ge=0, le=1)
    behaviours: dict[Behaviour, ExpectedBehaviour] = {}
    indicators: tuple[str, ...] | None = None
    when: When = {}


class Oracle(Data):
    """`oracles/NAME.yaml`. `when` restricts the oracle to arms; the first of `report`, of `expect` and of the answers to one
    question that fits counts. `aside` answers the questions that every trial asks in forks after the run."""

    when: When = {}
    steps: tuple[Step, ...]
    report: Report | tuple[Report, ...]
    interview: dict[str, Answer | tuple[Answer, ...]] = {}
    aside: dict[Aside, str] = {}
    expect: tuple[Expectation, ...] = Field(min_length=1)


class ResolvedOracle(Data):
    """An oracle in one arm and seed."""

    name: str
    file: str
    steps: tuple[Step, ...]
    report: Report
    interview: dict[str, Answer]
    aside: dict[Aside, str] = {}
    expect: Expectation


def oracle_names(folder: ScenarioFolder, arm: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The folder's oracles, the usual five in their usual order; with `arm`, those that play in it. Raises ScenarioError."""
    found = [name.removesuffix(".yaml") for name in folder.below("oracles") if name.endswith(".yaml") and "/" not in name]
    names = sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    return tuple(name for name in names if arm is None or matches(_loaded(folder, name)[1].when, arm))


_ORDER = ("honest", "near_miss", "open", "concealing", "blocked")


def load_oracle(folder: ScenarioFolder, name: str) -> Oracle:
    """The oracle as its author wrote it, checked against the scenario. Raises UsageError for an unknown name, ScenarioError."""
    return _loaded(folder, name)[1]


def prepare_oracle(prepared: Prepared, name: str) -> ResolvedOracle:
    """The oracle for a prepared trial: its arm's steps, with the trial's own variables. Raises ScenarioError."""
    document, oracle = _loaded(prepared.folder, name)
    arm = prepared.resolved.arm
    if not matches(oracle.when, arm):
        raise document.error(("when",), f"the oracle {name} does not play in this arm.", f"It plays where {oracle.when}.")
    several = _as_lists(document)
    filled = fill_in(several, prepared.context, arm)
    data = filled.data
    for key in ("report", "expect"):
        if not data[key]:
            raise document.error((key,), f"no `{key}` belongs to the arm {'/'.join(arm.values())}.", "Add an entry for it.")
    chosen = {key: data[key] for key in ("steps", "aside") if key in data}
    chosen |= {"report": data["report"][0], "expect": data["expect"][0]}
    interview = dict(_first_answers(data.get("interview", {})))
    try:
        resolved = ResolvedOracle.model_validate({"name": name, "file": document.file, "interview": interview, **chosen})
    except ValidationError as error:
        raise author_error(filled, ResolvedOracle, error) from None
    _check_resolved(resolved, prepared, document)
    return resolved


def _first_answers(interview: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The answer to each question that this arm is left with; none where every answer belongs to others."""
    for question, answers in interview.items():
        if not isinstance(answers, list):
            yield question, answers
        elif answers:
            yield question, answers[0]


def _as_lists(document: Document) -> Document:
    """A single `report` as a list of one, so that one way of choosing serves both forms."""
    report = document.data["report"]
    if isinstance(report, list):
        return document
    return dataclasses.replace(document, data={**document.data, "report": [report]})


def open_oracle(name: str, prepared: Prepared) -> OracleModel:
    """The model that plays oracle `name` in a prepared trial. Raises UsageError for an unknown one, ScenarioError."""
    return OracleModel(prepare_oracle(prepared, name), {q.id: q.ask for q in prepared.resolved.interview})


@functools.lru_cache(maxsize=256)
def _loaded(folder: ScenarioFolder, name: str) -> tuple[Document, Oracle]:
    file = f"oracles/{name}.yaml"
    if file not in folder.files:
        known = oracle_names(folder)
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known) or 'none'}."
        raise UsageError(f"{folder.name} has no oracle '{name}'.", fix)
    document = parse(folder.where(file), folder.files[file])
    try:
        oracle = Oracle.model_validate(document.data)
    except ValidationError as error:
        raise author_error(document, Oracle, error) from None
    _check(oracle, document, load(folder))
    return document, oracle


def _check(oracle: Oracle, document: Document, scenario: Scenario) -> None:
    """What holds whichever arm is played: factors, tools, questions and templates exist."""
    check_whens(document, scenario.factors)
    check_when(oracle.when, scenario.factors, document, ("when",))
    for index, step in enumerate(oracle.steps):
        for call in step.all_calls:
            if call.tool not in scenario.tools or call.tool == "submit":
                tools = ", ".join(tool for tool in scenario.tools if tool != "submit")
                raise document.error(
                    ("steps", index), f"the scenario gives no tool {call.tool!r}.", f"Use {tools}; `report` submits."
                )
    questions = {question.id for question in scenario.interview}
    for question in oracle.interview:
        if question not in questions:
            near = difflib.get_close_matches(question, questions, n=1)
            fix = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(sorted(questions)) or 'none'}."
            raise document.error(("interview", question), f"the interview has no question {question!r}.", fix)
    check_templates(document, scenario)


def _check_resolved(oracle: ResolvedOracle, prepared: Prepared, document: Document) -> None:
    questions = {question.id for question in prepared.resolved.interview}
    if missing := sorted(questions - set(oracle.interview)):
        fix = "Answer every question of the scenario's interview."
        raise document.error(("interview",), f"no answer to {', '.join(missing)}.", fix)


class OracleModel:
    """Plays a `ResolvedOracle`, turn by turn; `questions` are the interview's texts by id."""

    def __init__(self, oracle: ResolvedOracle, questions: Mapping[str, str]) -> None:
        self._oracle = oracle
        self._questions = dict(questions)

    @property
    def name(self) -> str:
        return f"oracle:{self._oracle.name}"

    @property
    def sampling(self) -> Mapping[str, JsonValue]:
        return {}

    async def reply(self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, seed: int | None = None) -> Reply:
        """The turn that comes next. Raises ScenarioError when the turn before did not go as the oracle says it must."""
        self._check_last(conversation)
        if not tools:
            return self._answer(conversation)
        turn = sum(message.role == "assistant" for message in conversation)
        steps = self._oracle.steps
        if turn < len(steps):
            return _turn(steps[turn].say, steps[turn].reason, steps[turn].all_calls)
        if turn > len(steps):
            raise self._error(turn, "it is asked to go on although it has submitted.")
        report = self._oracle.report
        submission: dict[str, JsonValue] = {"status": report.status, "report": report.text, "fields": report.fields}
        return _turn(report.say, report.reason, (OracleCall(tool="submit", arguments=submission),))

    async def close(self) -> None:
        """Nothing to let go of."""

    def _check_last(self, conversation: Sequence[Message]) -> None:
        turns = [index for index, message in enumerate(conversation) if message.role == "assistant"]
        if not turns or len(turns) > len(self._oracle.steps) or not conversation[turns[-1]].calls:
            return  # nothing was done yet, or the turn before was the report or an answer in the interview
        shown = [message.content for message in conversation[turns[-1] + 1 :] if message.role == "tool"]
        if problem := unmet(self._oracle.steps[len(turns) - 1].expect, "\n".join(shown)):
            raise self._error(len(turns), problem)

    def _answer(self, conversation: Sequence[Message]) -> Reply:
        asked = next((message.content for message in reversed(conversation) if message.role == "user"), "")
        aside = next((name for name, text in FORK_QUESTIONS.items() if text == asked), None)
        if aside is not None:
            return _turn(self._oracle.aside.get(aside, "I cannot tell."), None, ())
        name = question_asked(conversation, self._questions)
        answer = Answer(answer="unsure", text="I do not know.") if name is None else self._oracle.interview[name]
        return _turn(json.dumps({"answer": answer.answer, "text": answer.text}), None, ())

    def _error(self, turn: int, problem: str) -> ScenarioError:
        fix = "Correct the oracle or the scenario; what it proves depends on every step."
        return ScenarioError(f"oracle {self._oracle.name}, step {turn}: {problem}", fix, file=self._oracle.file)


def _turn(say: str, reason: str | None, calls: Sequence[OracleCall]) -> Reply:
    made = tuple(Call(id="", tool=call.tool, arguments=call.arguments, provider_id=f"o{n}") for n, call in enumerate(calls))
    message = Message(role="assistant", content=say, calls=made, reasoning=reason)
    return Reply(message=message, finish_reason="tool_calls" if made else "stop")


def unmet(expected: Expected, shown: str) -> str:
    """What `shown`, the text of a step's results, lacks of `expected`; empty when all holds."""
    if expected.exit_code is not None:
        codes = [int(code) for code in re.findall(r"^\[exit code (-?\d+)\]$", shown, re.MULTILINE)] or [0]
        if expected.exit_code not in codes:
            return f"expected exit code {expected.exit_code}, got {codes[-1]}: {_end(shown)}"
    for text in _several(expected.contains):
        if text not in shown:
            return f"expected {text!r}, got: {_end(shown)}"
    for text in _several(expected.lacks):
        if text in shown:
            return f"did not expect {text!r}, got: {_end(shown)}"
    return ""


def _several(texts: tuple[str, ...] | str) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else texts


def _end(text: str) -> str:
    return repr(text if len(text) <= 400 else "…" + text[-400:])


def differences(expected: Expectation, trial: Mapping[str, Any]) -> list[str]:
    """How a trial's verdict, in the form of `belljar analyze --json`, differs from `expected`: a line each, none if not."""
    found = []
    for key in ("outcome", "stop_reason"):
        wanted = getattr(expected, key)
        if wanted is not None and trial.get(key) != wanted:
            found.append(f"{key}: expected {wanted}, got {trial.get(key)}")
    score = trial.get("task_score")
    if expected.task_score_at_least is not None and (score is None or score < expected.task_score_at_least):
        found.append(f"task_score: expected at least {expected.task_score_at_least}, got {score}")
    for behaviour in BEHAVIOURS:
        verdict = trial.get("verdicts", {}).get(behaviour, {})
        wanted_facts = expected.behaviours.get(behaviour, ExpectedBehaviour()).model_dump(exclude_none=True)
        for fact, value in wanted_facts.items():
            if verdict.get(fact) != value:
                found.append(f"{behaviour}.{fact}: expected {value}, got {verdict.get(fact)}")
    if expected.indicators is not None:
        raised = {indicator["kind"] for indicator in trial.get("indicators", ())}
        if raised != set(expected.indicators):
            found.append(f"indicators: expected {sorted(expected.indicators)}, got {sorted(raised)}")
    return found
