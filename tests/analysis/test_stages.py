"""How far trials get: the same bounds as a rate has, in table and plot, and every line of a plot can be seen."""

from __future__ import annotations

import re
from html import unescape

import pytest

from analysis.report import render_html, render_markdown
from analysis.report.figures import said
from analysis.report.plot import BOTTOM, DASH, HEIGHT, TOP, key, plot, plotted
from analysis.stages import Reached, StageCurve, by_step, stage_curves
from analysis.study import summarise
from analysis.verdict import TrialVerdict
from tests.analysis.test_comparison import trial


def unsure(true: int = 6, undetermined: int = 14) -> list[TrialVerdict]:
    known = [trial("tempted", n, guilty=True) for n in range(true)]
    return known + [trial("tempted", n, covers=()) for n in range(true, true + undetermined)]


def milestone(curve: StageCurve, name: str = "tampers") -> Reached:
    return next(m for m in curve.milestones if m.milestone == name)


def height(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def test_a_milestone_with_undetermined_trials_reads_as_the_rate_of_the_same_fact_does() -> None:
    summary = summarise(unsure())
    (curve,) = summary.study.curves
    (rate,) = [r for r in summary.study.rates if (r.behaviour, r.fact) == ("sabotage", "attempted")]
    tampers = milestone(curve)
    for field in ("trials", "true", "false", "undetermined", "rate", "interval", "best", "worst", "bounds"):
        assert getattr(tampers, field) == getattr(rate, field), field
    assert (tampers.best, tampers.worst) == (0.3, 1.0)
    assert said(tampers) == said(rate) == "30%-100% [15-100%]"
    (row,) = [line for line in render_markdown(summary).splitlines() if "| tampers |" in line]
    assert "| 6 of 6 (+14?) | 30%-100% [15-100%] |" in row
    (item,) = re.findall(r"<li>[^\n]*tampers:.*?</li>", render_html(summary))
    assert "30%-100% [15-100%]" in item


def test_a_plot_draws_what_is_proven_of_all_trials_and_shows_what_is_undetermined() -> None:
    (curve,) = stage_curves(unsure())
    picture = str(plot(curve))
    (path,) = re.findall(r'<path class="line k3"[^>]* d="([^"]*)"', picture)
    assert [float(y) for y in re.findall(r"V([\d.]+)", path)] == [pytest.approx(height(0.3), abs=0.05)] * len(
        re.findall("V", path)
    )
    ((top, tall),) = re.findall(r'<rect class="maybe k3"[^>]* y="([\d.]+)"[^>]* height="([\d.]+)"', picture)
    assert float(top) == pytest.approx(height(1), abs=0.1)
    assert float(top) + float(tall) == pytest.approx(height(0.3), abs=0.1)
    assert by_step(milestone(curve)) == {1: pytest.approx(0.3)}
    (label,) = re.findall(r'aria-label="([^"]*)"', picture)
    assert "tampers 30%, and up to 100% with 14 undetermined" in unescape(label)


def test_what_is_undetermined_in_every_trial_is_not_left_out() -> None:
    summary = summarise(unsure(0, 3))
    (curve,) = summary.study.curves
    assert plotted(curve)
    assert 'class="maybe k3"' in plot(curve)
    assert 'class="line' not in plot(curve)
    assert "| 0 of 0 (+3?) | 0%-100% [0-100%] |" in render_markdown(summary)
    assert not plotted(stage_curves([trial("tempted", 1, covers=("files", "opens"))])[0])


def curve_of(*shares: float, steps: int = 4, first: int = 2) -> StageCurve:
    """Milestones of ten trials, all reached at one step."""
    (base,) = stage_curves([trial("tempted", 1)])
    reached = tuple(
        milestone(base).model_copy(update={"milestone": f"m{n}", "trials": 10, "true": int(10 * share), "best": share,
                                           "first_steps": (first,) * int(10 * share)})
        for n, share in enumerate(shares)
    )  # fmt: skip
    return base.model_copy(update={"milestones": reached, "steps": steps, "trials": 10})


@pytest.mark.parametrize("number", [1, 2, 4, 6])
def test_of_lines_that_coincide_each_is_seen_for_a_dash_in_turn(number: int) -> None:
    picture = str(plot(curve_of(*[0.5] * number)))
    painted = re.findall(r'<path class="line (k\d)"(?: stroke-dasharray="(\d+) (\d+)")? d="([^"]*)"', picture)
    assert len({path for *_, path in painted}) == 1
    inks = [(name, int(ink or DASH), int(gap or 0)) for name, ink, gap, _ in painted]
    seen = [next(n for n, ink, gap in reversed(inks) if at % (ink + gap) < ink) for at in range(DASH * number)]
    assert {name: seen.count(name) for name, *_ in inks} == {f"k{n}": DASH for n in range(1, number + 1)}


def test_paths_rise_only_so_that_dashes_agree_where_they_meet() -> None:
    late = str(plot(curve_of(0.8, 0.5, first=3)))
    for path in re.findall(r'class="line[^>]* d="M[\d.]+ [\d.]+([^"]*)"', late):
        right, up = ([float(v) for v in re.findall(rf"{axis}([\d.]+)", path)] for axis in "HV")
        assert right == sorted(right)
        assert up == sorted(up, reverse=True)


def test_the_legend_shows_a_line_as_it_is_drawn_and_none_where_none_is() -> None:
    curve = curve_of(0.5, 0.0, 0.5)
    picture = str(plot(curve))
    for place in (1, 3):
        (drawn,) = re.findall(rf'class="line k{place}"((?: stroke-dasharray="[^"]*")?) d=', picture)
        assert f'class="line k{place}"{drawn} d=' in key(curve, place)
    assert "path" not in key(curve, 2)
    (half,) = stage_curves(unsure())
    assert 'class="maybe k3"' in key(half, 3)


def test_a_trial_whose_first_step_is_unknown_still_counts_at_the_end_of_the_line() -> None:
    (one,) = curve_of(0.5).milestones
    curve = curve_of(0.5).model_copy(update={"milestones": (one.model_copy(update={"first_steps": (1, 1)}),)})
    (path,) = re.findall(r'class="line k1" d="([^"]*)"', plot(curve))
    assert float(path.rsplit("V", 1)[1]) == pytest.approx(height(0.5), abs=0.05)
