"""Stage-reach curves as inline SVG: the share of trials that is proven to have reached each milestone, by step, and what is
undetermined."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from analysis.report.figures import counted, percent
from analysis.stages import Reached, StageCurve, by_step

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 150, 30, 20, 8
BAND = 11
"""Width that each undetermined milestone takes at the right."""

DASH = 7
"""Length of a dash: lines that coincide show one of each in turn."""


def plotted(curve: StageCurve) -> bool:
    """Whether there is something to draw: a milestone that some trial reached, or may have."""
    return any(m.told for m in curve.milestones)


def plot(curve: StageCurve) -> Markup:
    """One picture, a step line a milestone and a band for what is undetermined; drawn from figures alone."""
    steps, end = max(1, curve.steps), WIDTH - 6 - BAND * sum(m.undetermined > 0 for m in curve.milestones)
    frame = (
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 6}M{LEFT} {TOP}H{WIDTH - 6}"/>'
        f'<text class="label" x="2" y="{TOP + 4}">100%</text><text class="label" x="12" y="{HEIGHT - BOTTOM + 3}">0%</text>'
        f'<text class="label" x="{LEFT}" y="{HEIGHT - 6}">step 0</text>'
        f'<text class="label" text-anchor="end" x="{end}" y="{HEIGHT - 6}">{steps}</text>'
    )
    # The first milestone, with the widest gaps, is painted last.
    lines = [
        Markup('<path class="line k{}"{} d="{}"/>').format(i, _dashes(curve, i), _path(m, steps, end))
        for i, m in reversed(list(enumerate(curve.milestones, 1)))
        if m.true
    ]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>').format(
        WIDTH, HEIGHT, _described(curve), Markup(frame), Markup("").join(lines), Markup("").join(_bands(curve, end))  # noqa: S704 - made of numbers
    )  # fmt: skip


def key(curve: StageCurve, place: int) -> Markup:
    """A milestone's line as it is drawn, for the legend; `place` counts from 1. Nothing where none is."""
    milestone = curve.milestones[place - 1]
    line = Markup('<path class="line k{}"{} d="M0 4H29"/>').format(place, _dashes(curve, place)) if milestone.true else ""
    band = Markup('<rect class="maybe k{}" x="32.5" y="0.5" width="7" height="7"/>').format(place)
    return Markup('<svg class="key" viewBox="0 0 40 8" aria-hidden="true">{}{}</svg>').format(
        line, band if milestone.undetermined else ""
    )


def _described(curve: StageCurve) -> str:
    """The picture in words."""
    told = "; ".join(f"{m.milestone.replace('_', ' ')} {_reach(m)}" for m in curve.milestones if m.told)
    return f"{curve.behaviour}: share of {curve.trials} trials that is proven to have reached each milestone, by step: {told}"


def _reach(reached: Reached) -> str:
    if not reached.undetermined:
        return f"{percent(reached.rate)}, {counted(reached)}"
    return f"{percent(reached.best)}, and up to {percent(reached.worst)} with {reached.undetermined} undetermined"


def _dashes(curve: StageCurve, place: int) -> Markup:
    """Lines lie where their figures are, one upon another where they agree. Each leaves gaps of its own, through which those
    beneath are seen: the paths only rise, so at a point that they share all have come equally far, and their dashes agree."""
    drawn = [i for i, m in enumerate(curve.milestones, 1) if m.true]
    ink, gap = DASH * (drawn.index(place) + 1), DASH * (len(drawn) - drawn.index(place) - 1)
    return Markup(' stroke-dasharray="{} {}"').format(ink, gap) if gap else Markup("")


def _bands(curve: StageCurve, end: float) -> Iterator[Markup]:
    """At the right, from what is proven up to where it would be if every undetermined trial had reached the milestone."""
    unsure = [(i, m) for i, m in enumerate(curve.milestones, 1) if m.undetermined]
    for at, (i, m) in enumerate(unsure):
        x, low, high = end + 3 + BAND * at, _y(m.best or 0), _y(m.worst or 0)
        yield Markup(
            '<rect class="maybe k{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"><title>{}: {} proven, up to {}</title></rect>'
            '<text class="label" text-anchor="middle" x="{}" y="{}">?</text>'
        ).format(i, x, high, BAND - 4, low - high, m.milestone.replace("_", " "), percent(m.best), percent(m.worst),
                 x + (BAND - 4) / 2, HEIGHT - 6)  # fmt: skip


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share


def _path(reached: Reached, steps: int, end: float) -> str:
    """From nought, up at each first step, and on to the last step, where also those stand whose step is not known."""

    def x(step: int) -> str:
        return f"{LEFT + (end - LEFT) * step / steps:.1f}"

    ups = "".join(f"H{x(step)}V{_y(share):.1f}" for step, share in by_step(reached).items())
    return f"M{x(0)} {_y(0):.1f}{ups}H{x(steps)}V{_y(reached.best or 0):.1f}"
