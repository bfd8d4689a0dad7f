"""Stage-reach curves as inline SVG: the share of trials that have reached each milestone, by step."""

from __future__ import annotations

from markupsafe import Markup

from analysis.stages import Reached, StageCurve

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 320, 150, 30, 20, 8


def plotted(curve: StageCurve) -> bool:
    """Whether there is a line to draw: some milestone was reached."""
    return any(m.reached for m in curve.milestones)


def plot(curve: StageCurve) -> Markup:
    """One picture, a step line a milestone; drawn from figures alone, so nothing in it needs escaping."""
    steps = max(1, curve.steps)
    lines = [
        Markup('<path class="line k{}" d="{}"/>').format(i, _path(m, curve.trials, steps))
        for i, m in enumerate(curve.milestones, 1)
        if m.reached
    ]
    frame = (
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - 6}M{LEFT} {TOP}H{WIDTH - 6}"/>'
        f'<text class="label" x="2" y="{TOP + 4}">100%</text><text class="label" x="12" y="{HEIGHT - BOTTOM + 3}">0%</text>'
        f'<text class="label" x="{LEFT}" y="{HEIGHT - 6}">step 0</text>'
        f'<text class="label" text-anchor="end" x="{WIDTH - 6}" y="{HEIGHT - 6}">{steps}</text>'
    )
    label = f"{curve.behaviour}: share of {curve.trials} trials that reached each milestone, by step"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        WIDTH, HEIGHT, label, Markup(frame), Markup("").join(lines)  # noqa: S704 - made of numbers
    )  # fmt: skip


def _path(reached: Reached, trials: int, steps: int) -> str:
    """From nought, up by one trial at each first step, and on to the last step."""

    def x(step: int) -> str:
        return f"{LEFT + (WIDTH - LEFT - 6) * step / steps:.1f}"

    def y(count: int) -> str:
        return f"{HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * count / trials:.1f}"

    ups = "".join(f"H{x(step)}V{y(count)}" for count, step in enumerate(reached.first_steps, 1))
    return f"M{x(0)} {y(0)}{ups}H{x(steps)}"
