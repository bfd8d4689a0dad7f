"""`belljar power`: how many trials a question needs before it is asked."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.power import EACH, MOST_SCENARIOS, expected_interval, for_difference, for_margin
from sandbox.cli.output import JsonFlag, console, print_json
from sandbox.errors import UsageError

PAIRS_ONLY = {"with_power", "alpha", "comparisons", "phi"}
UNUSED = {
    "margin": {"compare", "trials", *PAIRS_ONLY},
    "compare": {"margin", "rate", "trials"},
    "trials": {"margin", "compare", *PAIRS_ONLY},
}
"""Options that have no part in the answer to a question."""


def power(
    context: typer.Context,
    margin: Annotated[
        float, typer.Option(help="Points to either side of a rate (half the interval's width), in percent.")
    ] = 10.0,
    rate: Annotated[float, typer.Option(help="The rate you expect, in percent; 50 asks for most trials.")] = 50.0,
    compare: Annotated[
        str, typer.Option(help="Two rates in percent, as in 40,10: pairs (same seed in both arms) to see that they differ.")
    ] = "",
    with_power: Annotated[float, typer.Option("--power", help="Chance to see a difference that is there, in percent.")] = 80.0,
    alpha: Annotated[float, typer.Option(help="Chance to see one that is not, in percent.")] = 5.0,
    comparisons: Annotated[int, typer.Option(min=1, help="Comparisons shown together; alpha is divided among them.")] = 1,
    phi: Annotated[float, typer.Option(help="Correlation of a pair's two answers, -1 to 1.")] = 0.0,
    scenarios: Annotated[int, typer.Option(min=1, help="Scenarios that the trials are spread over.")] = 1,
    icc: Annotated[
        float, typer.Option(help="Correlation of the trials of one scenario, 0 to 1, where scenarios are pooled.")
    ] = 0.0,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Instead: how far an interval reaches with so many trials, all told.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Say how many trials give a rate to within some points, or show a difference between two arms compared as pairs.

    What is said is what a report prints: for one scenario its 95% interval at the expected number of hits, and the exact
    McNemar test; pooled over scenarios the interval and the test that count scenarios, on average over simulated studies.
    Where more trials of so few scenarios can never be enough, it says so.

    Examples:

      belljar power --margin 10

      belljar power --margin 10 --scenarios 20 --icc 0.1

      belljar power --compare 40,10 --power 90 --scenarios 4 --icc 0.02
    """
    _refuse_unused(context, "trials" if trials is not None else "compare" if compare else "margin")
    try:
        if trials is not None:
            found, said = _reach(rate / 100, trials, scenarios, icc)
        elif compare:
            found, said = _compare(compare, with_power / 100, alpha / 100 / comparisons, phi, scenarios, icc)
        else:
            found, said = _margin(margin / 100, rate / 100, scenarios, icc)
    except ValueError as error:
        raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.", "See `belljar power --help`.") from None
    if json_output:
        print_json(found)
        return
    for line in said:
        console().print(line, markup=False, soft_wrap=True)


Answer = tuple[dict[str, object], list[str]]


def _refuse_unused(context: typer.Context, question: str) -> None:
    """An option that would be ignored is refused, so that nobody takes the answer for one that heeds it."""
    sources = [(p, context.get_parameter_source(p.name or "")) for p in context.command.params]
    given = {p.name: p.opts[0] for p, source in sources if source and source.name != "DEFAULT"}
    unused = [option for name, option in given.items() if name in UNUSED[question]]
    if unused:
        raise UsageError(
            f"{', '.join(unused)} would have no part in the answer to --{question}.", "Ask one question at a time."
        )


def _reach(rate: float, trials: int, scenarios: int, icc: float) -> Answer:
    low, high = expected_interval(rate, trials, scenarios=scenarios, icc=icc)
    found = {"question": "reach", "rate": rate, "trials": trials, "scenarios": scenarios, "icc": icc,
             "reach": (high - low) / 2, "interval": [low, high]}  # fmt: skip
    pooled = f", {_pooled(scenarios, icc)}, on average" if scenarios > 1 else ""
    return found, [
        f"{_several(trials, 'trial')} at a rate of {100 * rate:g}%{pooled}: 95% interval {100 * low:.0f}-{100 * high:.0f}%"
    ]


def _margin(margin: float, rate: float, scenarios: int, icc: float) -> Answer:
    found = for_margin(margin, rate, scenarios=scenarios, icc=icc)
    said = [f"{_several(found.independent, 'trial')} for ±{100 * margin:g} points at a rate of {100 * rate:g}% "
            "(the 95% interval that a report prints), of one scenario"]  # fmt: skip
    reached = f"±{100 * found.reach:.1f} points"
    said += _over(found.trials, found.a_scenario, scenarios, icc, found.scenarios_needed, "trial", f"{reached} on average")
    asked = {"question": "margin", "margin": margin, "rate": rate, "scenarios": scenarios, "icc": icc}
    return asked | found._asdict(), said


def _compare(text: str, wanted: float, alpha: float, phi: float, scenarios: int, icc: float) -> Answer:
    first, second = _rates(text)
    found = for_difference(first, second, power=wanted, alpha=alpha, phi=phi, scenarios=scenarios, icc=icc)
    said = [
        f"{_several(found.independent, 'pair')} ({2 * found.independent} trials) to see {100 * first:g}% against "
        f"{100 * second:g}% with {100 * wanted:g}% power (exact McNemar test at {100 * alpha:.3g}%), of one scenario"
    ]
    reached = f"{100 * found.power:.0f}% power, Student's test between scenarios"
    said += _over(found.pairs, found.a_scenario, scenarios, icc, found.scenarios_needed, "pair", reached)
    asked = {"question": "difference", "first": first, "second": second, "wanted": wanted, "alpha": alpha, "phi": phi,
             "scenarios": scenarios, "icc": icc}  # fmt: skip
    return asked | found._asdict(), said


def _rates(text: str) -> tuple[float, float]:
    try:
        first, second = (float(part) / 100 for part in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is not two rates.", "Write two percentages, as in 40,10.") from None
    return first, second


def _over(
    total: int | None, each: int | None, scenarios: int, icc: float, needed: int | None, what: str, reached: str
) -> list[str]:
    if scenarios == 1:
        return []
    if total is not None:
        return [f"{_pooled(scenarios, icc)}: {_several(total, what)}, {each} in each ({reached})"]
    few = f"no number of {what}s is enough (a million: {reached})" if icc else f"a million {what}s are not enough ({reached})"
    many = f"{needed} scenarios of {EACH} {what}s each would be" if needed else f"nor are {MOST_SCENARIOS} of {EACH} each"
    return [f"{_pooled(scenarios, icc)}, {few}: {many}"]


def _pooled(scenarios: int, icc: float) -> str:
    return f"pooled over {scenarios} scenarios whose trials correlate by {icc:g}"


def _several(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
