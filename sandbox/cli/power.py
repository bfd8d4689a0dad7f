"""`belljar power`: how many trials a question needs before it is asked."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.power import expected_interval, for_difference, for_margin, half_width
from sandbox.cli.output import JsonFlag, console, print_json
from sandbox.errors import UsageError


def power(
    margin: Annotated[float, typer.Option(help="Points to either side of a rate, in percent.")] = 10.0,
    rate: Annotated[float, typer.Option(help="The rate you expect, in percent; 50 asks for most trials.")] = 50.0,
    compare: Annotated[
        str, typer.Option(help="Two rates in percent, as in 40,10: pairs (same seed in both arms) to see that they differ.")
    ] = "",
    with_power: Annotated[float, typer.Option("--power", help="Chance to see a difference that is there, in percent.")] = 80.0,
    alpha: Annotated[float, typer.Option(help="Chance to see one that is not, in percent.")] = 5.0,
    comparisons: Annotated[int, typer.Option(min=1, help="Comparisons shown together; alpha is divided among them.")] = 1,
    phi: Annotated[float, typer.Option(help="Correlation of a pair's two answers, -1 to 1.")] = 0.0,
    scenarios: Annotated[int, typer.Option(min=1, help="Scenarios that the trials are spread over.")] = 1,
    icc: Annotated[float, typer.Option(help="Correlation of the trials of one scenario, 0 to 1, if you pool scenarios.")] = 0.0,
    trials: Annotated[int | None, typer.Option(min=1, help="Instead: how far an interval reaches with so many trials.")] = None,
    json_output: JsonFlag = False,
) -> None:
    """Say how many trials give a rate to within some points, or show a difference between two arms compared as pairs.

    For a rate, half the width of Wilson's 95% interval; for pairs, the exact McNemar test. With --scenarios and --icc,
    what is worth that many independent trials; where more trials of so few scenarios can never be enough, it says so.

    Examples:

      belljar power --margin 10

      belljar power --compare 40,10 --power 90 --scenarios 4 --icc 0.1
    """
    try:
        if trials is not None:
            found, said = _reach(rate / 100, trials)
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


def _reach(rate: float, trials: int) -> Answer:
    low, high = expected_interval(rate, trials)
    found = {"question": "reach", "rate": rate, "trials": trials, "reach": half_width(rate, trials), "interval": [low, high]}
    return found, [f"{trials} trials at a rate of {100 * rate:.0f}%: 95% interval {100 * low:.0f}-{100 * high:.0f}%"]


def _margin(margin: float, rate: float, scenarios: int, icc: float) -> Answer:
    found = for_margin(margin, rate, scenarios=scenarios, icc=icc)
    said = [f"{found.independent} trials for ±{100 * margin:g} points at a rate of {100 * rate:g}% (Wilson's 95% interval), "
            "of one scenario or of unrelated ones"]  # fmt: skip
    said += _spread(found.trials, found.a_scenario, scenarios, icc, found.scenarios_needed, "trials")
    asked = {"question": "margin", "margin": margin, "rate": rate, "scenarios": scenarios, "icc": icc}
    return asked | found._asdict(), said


def _compare(text: str, wanted: float, alpha: float, phi: float, scenarios: int, icc: float) -> Answer:
    first, second = _rates(text)
    found = for_difference(first, second, power=wanted, alpha=alpha, phi=phi, scenarios=scenarios, icc=icc)
    said = [
        f"{found.independent} pairs ({2 * found.independent} trials) to see {100 * first:g}% against {100 * second:g}% with "
        f"{100 * wanted:g}% power (exact McNemar test at {100 * alpha:.3g}%)"
    ]
    said += _spread(found.pairs, found.a_scenario, scenarios, icc, found.scenarios_needed, "pairs")
    asked = {"question": "difference", "first": first, "second": second, "wanted": wanted, "alpha": alpha, "phi": phi,
             "scenarios": scenarios, "icc": icc}  # fmt: skip
    return asked | found._asdict(), said


def _rates(text: str) -> tuple[float, float]:
    try:
        first, second = (float(part) / 100 for part in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} is not two rates.", "Write two percentages, as in 40,10.") from None
    return first, second


def _spread(total: int | None, each: int | None, scenarios: int, icc: float, needed: int, what: str) -> list[str]:
    if scenarios == 1 and icc == 0:
        return []
    if total is None:
        return [f"pooled over {scenarios} scenarios whose trials correlate by {icc:g}, no number of {what} is enough: "
                f"{needed} scenarios of 10 {what} each would be"]  # fmt: skip
    return [f"pooled over {scenarios} scenarios whose trials correlate by {icc:g}: {total} {what}, {each} in each"]
