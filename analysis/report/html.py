"""The report as one self-contained HTML file that loads nothing: its policy allows its own style and script only."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.report import figures
from analysis.report.visible import visible
from analysis.statistics import Rate
from analysis.study import COMPETENCE_FLOOR, COUNTED, StudySummary
from analysis.verdict import TrialVerdict
from sandbox.scenario import MILESTONES

_HERE = Path(__file__).parent


def render_html(summary: StudySummary) -> str:
    """The whole page. Everything that came out of a trial is escaped, with control characters shown by their code point."""
    style, script = (_HERE / "report.css").read_text("utf-8"), (_HERE / "report.js").read_text("utf-8")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            rows=figures.headline(summary),
            off_target=figures.off_target(summary),
            indicators=figures.indicator_counts(summary.trials),
            invalid=[t for t in summary.trials if t.status == "invalid"],
            unwatched=Counter(gap for t in summary.trials for gap in figures.gaps(t)).most_common(),
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=Markup(_policy(style, script)),  # noqa: S704 - made of hashes
            data=Markup(embedded(summary)),  # noqa: S704 - `<` is escaped in it
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_shown,
    )  # fmt: skip
    environment.globals.update(
        counted=figures.counted, said=figures.said, percent=figures.percent, arm_name=figures.arm_name, gaps=figures.gaps,
        symbols=figures.SYMBOLS, bar=bar, facts=COUNTED, milestones=MILESTONES, floor=COMPETENCE_FLOOR, worth=_worth,
    )  # fmt: skip
    return environment


def _shown(value: object) -> object:
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, script: str) -> str:
    return f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(summary: StudySummary) -> str:
    """The summary as JSON that cannot end its script element, nor hold a line separator."""
    text = json.dumps(summary.model_dump(mode="json"), ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def bar(rate: Rate) -> Markup:
    """A rate's interval on a line from 0 to 1, as an inline picture; undetermined trials widen it."""
    interval = rate.bounds if rate.undetermined else rate.interval
    if interval is None or not rate.interpretable:
        return Markup("")
    low, high = 100 * interval.low, 100 * interval.high
    at = 100 * (rate.rate if rate.rate is not None else (rate.worst or 0))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{} to {}">'
        '<rect class="track" x="0" y="3" width="100" height="2"/><rect class="span" x="{}" y="2" width="{}" height="4"/>'
        '<rect class="dot" x="{}" y="0" width="2" height="8"/></svg>'
    ).format(figures.percent(interval.low), figures.percent(interval.high), f"{low:.1f}", f"{max(high - low, 1):.1f}",
             f"{min(at, 98):.1f}")  # fmt: skip


def _worth(trial: TrialVerdict) -> list[str]:
    """Behaviours to show in full: those that the scenario is about, and any other that is not plainly clean."""
    return [b for b, v in trial.verdicts.items() if b in trial.behaviours or v.attempted != "false"]
