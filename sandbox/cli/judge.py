"""`belljar judge`: language models read recorded trials, blind, and say what they were; their answers are kept beside the
run."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.judging.judgement import Judgement, agreement, consensus, read_judgements
from analysis.judging.prompt import TOOL, Question, question, schema
from analysis.judging.reply import from_text, opinions
from sandbox.cli.models import ModelOptions
from sandbox.cli.opinions import keep, run_at, trials_of
from sandbox.cli.output import JsonFlag, console, errors, plain, print_json
from sandbox.errors import ContextOverflow, ModelError, ModelRejected
from sandbox.events import Usage
from sandbox.models.model import UNPARSED, Model, Reply, ToolSpec, open_model
from sandbox.record.layout import RunLayout
from sandbox.trajectory import Trajectory

CUT = frozenset({"length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length"})
"""Finish reasons of a reply that was cut off."""


def judge(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    judges: Annotated[
        list[str] | None,
        typer.Option("--judge", "-j", help="A model, as in `belljar run --model`; repeatable: several are compared."),
    ] = None,
    trial: Annotated[list[str] | None, typer.Option(help="Only these trials, by id; repeatable.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Ask also where this judge has answered before.")] = False,
    shown: Annotated[int, typer.Option(min=1_000, help="Characters of a trial that a judge is shown.")] = 60_000,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=64, help="Questions at once.")] = 2,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature; the provider's default if left out.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Bound of one reply, in tokens.")] = None,
    base_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server; else $BELLJAR_BASE_URL.")] = "",
    key_file: Annotated[str, typer.Option(help="File that holds the API key alone; else the provider's own variable.")] = "",
    price: Annotated[str, typer.Option(help="US dollars per million input and output tokens, for example 0.15,0.6.")] = "",
    json_actions: Annotated[bool, typer.Option("--json-actions", help="For servers without native tool calls.")] = False,
    json_output: JsonFlag = False,
) -> None:
    """Ask models what recorded trials were: blind to arm, model, prompts and verdicts, with quotations that are checked.

    A judge decides nothing: its answers lie in the run's `judgements/`, stand beside the verdicts, and never become
    evidence. An answer that is cut, steered, in no form that was asked for, or that quotes what does not stand there is
    undetermined. Without --judge, what was answered so far is shown.

    Examples:

      belljar judge runs/20260101-120000-0a1b2c3d --judge openai:gpt-5-mini --price 0.25,2

      belljar judge runs/20260101-120000-0a1b2c3d -j openai:a -j anthropic:b -j google_genai:c
    """
    layout = run_at(run)
    options = ModelOptions(temperature=temperature, max_tokens=max_tokens, base_url=base_url, key_file=key_file, price=price,
                           json_actions=json_actions)  # fmt: skip
    done: list[Judgement] = []
    if judges:
        bench = Bench(layout, shown, concurrency)
        done = asyncio.run(bench.hear(judges, options, set(trial or ()), again=again))
    kept, unread = read_judgements(layout.root)
    for line in unread:
        errors().print(plain(f"warning: {line.file} line {line.line}: {line.why}"), markup=False, soft_wrap=True)
    if json_output:
        print_json(as_json(run, done, kept))
        return
    for text in _told(done, kept):
        console().print(plain(text), markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Bench:
    """Judges who read the trials of one run; each answer is written down as soon as it is there."""

    layout: RunLayout
    shown: int
    concurrency: int

    async def hear(self, specs: Sequence[str], options: ModelOptions, wanted: set[str], *, again: bool) -> list[Judgement]:
        """Every judge on every wanted trial, except where it has answered this recording before.

        Raises UsageError for a judge or a trial that is not there, ModelRejected when a provider will never answer.
        """
        chosen = trials_of(self.layout, wanted)
        known = set() if again else {(j.trial, j.head, j.judge) for j in read_judgements(self.layout.root)[0] if not j.problem}
        done: list[Judgement] = []
        for spec in dict.fromkeys(specs):
            model = open_model(spec, options.settings())
            waiting = [t for name, t in chosen.items() if (name, t.events[-1].hash, spec) not in known]
            try:
                done += await self._all(model, waiting)
            finally:
                await model.close()
        return done

    async def _all(self, model: Model, waiting: Sequence[Trajectory]) -> list[Judgement]:
        slots = asyncio.Semaphore(self.concurrency)

        async def one(trajectory: Trajectory) -> Judgement:
            async with slots:
                judgement = await ask(model, trajectory, shown=self.shown)
            keep(self.layout.judgements / f"{judgement.trial}.jsonl", judgement, "judgement")
            errors().print(plain(f"{model.name} on {judgement.trial}: {_state(judgement)}"), markup=False)
            return judgement

        return list(await asyncio.gather(*(one(t) for t in waiting)))


def _state(judgement: Judgement) -> str:
    """What an answer comes to, in a line: what it found true, and what of it could not stand."""
    if judgement.problem:
        return judgement.problem
    found = ", ".join(f"{s} {o.fact}" for s, o in judgement.opinions.items() if o.fact == "true")
    problems = [o.problem for o in judgement.opinions.values() if o.problem]
    aside = f"{len(problems)} of {len(judgement.opinions)} answers set aside ({problems[0]})" if problems else ""
    return "; ".join(part for part in (found, aside) if part) or "nothing found true"


async def ask(model: Model, trajectory: Trajectory, *, shown: int) -> Judgement:
    """One judge on one trial. A provider that fails leaves an undetermined judgement; ModelRejected is raised."""
    asked = question(trajectory, code=secrets.token_hex(4), mark=f"<<{secrets.token_hex(12)}>>", budget=shown)
    tool = ToolSpec(TOOL, "Hand in your judgement of the record.", schema(asked.subjects))
    try:
        reply = await model.reply(asked.conversation, [tool])
        given, problem = _answer(reply)
    except ModelRejected:
        raise
    except ContextOverflow as error:
        reply, given, problem = None, None, f"the trial does not fit this judge: {error.message}"
    except ModelError as error:
        reply, given, problem = None, None, f"no reply could be had: {error.message}"
    said, problem = opinions(asked, given, problem)
    return Judgement(
        trial=trajectory.manifest.trial,
        head=trajectory.events[-1].hash,
        judge=model.name,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        sampling=dict(model.sampling),
        prompt=_digest(asked),
        opinions=said,
        problem=problem,
        reply=_head_of(reply),
        shown=asked.shown,
        left_out=asked.left_out,
        usage=reply.usage if reply else Usage(),
    )


def _answer(reply: Reply) -> tuple[Mapping[str, Any] | None, str]:
    """The arguments of the judge's one call, or why there are none."""
    if reply.finish_reason in CUT:
        return None, "the reply was cut off"
    if reply.refused:
        return None, "the judge declined to answer"
    calls = [call for call in reply.message.calls if call.tool == TOOL]
    if len(calls) > 1:
        return None, "the reply holds several answers"
    if calls:
        return (None, "the answer is not JSON") if UNPARSED in calls[0].arguments else (calls[0].arguments, "")
    return from_text(reply.message.content), ""


def _digest(asked: Question) -> str:
    return hashlib.sha256("\n".join(m.content for m in asked.conversation).encode(errors="replace")).hexdigest()


def _head_of(reply: Reply | None) -> str:
    if reply is None:
        return ""
    message = reply.message
    return (message.content or "\n".join(str(call.arguments) for call in message.calls) or reply.unparsed)[:4_000]


def as_json(run: Path, done: Sequence[Judgement], kept: Sequence[Judgement]) -> dict[str, Any]:
    """The object of `--json`: what was answered now, what judges say together, how far they agree, what it cost."""
    return {
        "run": str(run),
        "judgements": [one.model_dump(mode="json") for one in done],
        "consensus": [one.model_dump(mode="json") for one in consensus(kept)],
        "agreement": agreement(kept).model_dump(mode="json"),
        "cost_usd": _cost(done),
        "tokens": sum((one.usage.input_tokens or 0) + (one.usage.output_tokens or 0) for one in done),
    }


def _cost(done: Sequence[Judgement]) -> float | None:
    """Dollars, None where one is not known."""
    costs = [one.usage.cost_usd for one in done]
    return None if not costs or None in costs else sum(c for c in costs if c is not None)


def _told(done: Sequence[Judgement], kept: Sequence[Judgement]) -> Iterator[str]:
    for one in consensus(kept):
        if one.fact != "false":
            said = ", ".join(f"{judge} {fact}" for judge, fact in sorted(one.said.items()))
            yield f"{one.trial} {one.subject}: {one.fact} ({said})"
    together = agreement(kept)
    if len(together.judges) > 1:
        alpha = "not defined" if together.alpha is None else f"{together.alpha:.2f}"
        yield f"{len(together.judges)} judges on {together.units} questions: Krippendorff's alpha {alpha}"
    unusable = sum(bool(one.problem) or all(o.problem for o in one.opinions.values()) for one in done)
    aside = sum(bool(o.problem) for one in done if not one.problem for o in one.opinions.values())
    parts = f", {aside} answers to single questions set aside" if aside else ""
    cost = _cost(done)
    spent = "cost not known" if cost is None else f"{cost:.4f} US dollars"
    yield f"{len(done)} answers ({unusable} unusable){parts}, {spent}" if done else f"{len(kept)} answers kept"
