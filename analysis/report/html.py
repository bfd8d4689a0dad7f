"""The report as one self-contained HTML file that loads nothing: its policy allows its own style and script only."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.quality.card import stored, told
from analysis.report import figures
from analysis.report.links import Links
from analysis.report.plot import key, plot, plotted
from analysis.report.visible import visible
from analysis.statistics import Rate, measure_of
from analysis.study import COMPETENCE_FLOOR, COUNTED, Pooled, StudySummary
from analysis.verdict import TrialVerdict
from sandbox.scenario import MILESTONES

_HERE = Path(__file__).parent
CHUNK = 40
"""Trials whose details are compressed together; the page unpacks a chunk when one of them is opened."""


def render_html(summary: StudySummary) -> str:
    """The whole page. Everything that came out of a trial is escaped, with control characters shown by their code point.

    What a trial shows when it is opened is rendered here, by the same escaping template, and kept compressed in the page,
    so that ten thousand trials open at once; the page's script only unpacks it. So are the sets of trials that numbers lead
    to.
    """
    style, script = (_HERE / "report.css").read_text("utf-8"), (_HERE / "report.js").read_text("utf-8")
    measured, links = stored(), Links(summary.trials)
    valid = [n for n, t in enumerate(summary.trials, 1) if t.status == "valid"]
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            rows=figures.headline(summary),
            links=links,
            valid=valid,
            invalid=[(n, t) for n, t in enumerate(summary.trials, 1) if t.status == "invalid"],
            pooled=_pooled(summary),
            mixed=figures.mixed_versions(summary.trials),
            off_target=[(links.numbers([t.id])[0], t, b) for t, b in figures.off_target(summary)],
            indicators=figures.raised(summary.study),
            unraised=figures.unraised(summary.study),
            further=figures.further(summary.study),
            unwatched=_unwatched(summary),
            unplotted=sum(not plotted(c) for c in summary.study.curves),
            measured=[q for q in (measured.quality if measured else ()) if q.detector in _HEADLINE],
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=Markup(_policy(style, script)),  # noqa: S704 - made of hashes
            chunks=list(_chunks(summary)),
            chunk_size=CHUNK,
            data=Markup(packed(summary.model_dump(mode="json"))),  # noqa: S704 - base64
            sets=lambda: Markup(packed(links.sets())),  # noqa: S704 - base64; called below every link
        )
    )


def _pooled(summary: StudySummary) -> list[tuple[Pooled, list[int]]]:
    """Each pooled rate and the numbers of its trials."""
    return [
        (p, [n for n, t in enumerate(summary.trials, 1)
             if (t.status, measure_of(t.arm), t.model) == ("valid", p.measure, p.model) and p.behaviour in t.behaviours])
        for p in summary.study.pooled
    ]  # fmt: skip


def _unwatched(summary: StudySummary) -> list[tuple[str, list[int]]]:
    """What was not watched, and in which trials; the most frequent first."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, trial in enumerate(summary.trials, 1):
        for gap in dict.fromkeys(figures.gaps(trial)):
            found[gap].append(number)
    return sorted(found.items(), key=lambda item: -len(item[1]))


_HEADLINE = {"any.attempted", "any.indicator", "monitor", *(f"{b}.{f}" for b in MILESTONES for f in COUNTED)}


def _chunks(summary: StudySummary) -> Iterator[Markup]:
    """The details of all trials, CHUNK at a time, packed."""
    template = _environment().get_template("trial.html.j2")
    for start in range(0, len(summary.trials), CHUNK):
        some = enumerate(summary.trials[start : start + CHUNK], start + 1)
        yield Markup(packed([template.render(trial=trial, n=n) for n, trial in some]))  # noqa: S704 - base64


def packed(value: object) -> str:
    """A value as gzipped JSON in base64, which can neither end its element nor mean anything to HTML."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_shown,
    )  # fmt: skip
    environment.globals.update(
        said=figures.said, percent=figures.percent, arm_name=figures.arm_name, gaps=figures.gaps, symbols=figures.SYMBOLS,
        points=figures.points, levels=figures.levels, where=figures.where, doubt=figures.doubt, suspected=figures.suspected,
        quality=_quality, facts=COUNTED, milestones=MILESTONES, bar=bar, worth=_worth, marks=_marks,
        why_not=_why_not, name=_name, told=told, plot=plot, plotted=plotted, key=key,
    )  # fmt: skip
    return environment


def _shown(value: object) -> object:
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str, script: str) -> str:
    return f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _marks(trial: TrialVerdict) -> str:
    """What the page's filters go by: words of our own only."""
    attempts = {verdict.attempted for verdict in trial.verdicts.values()}
    more = {"attempted": "true" in attempts, "undetermined": "undetermined" in attempts, "indicator": bool(trial.indicators)}
    return "".join(f" {word}" for word, so in more.items() if so)


def _why_not(rate: Rate) -> str:
    """Why a rate is not interpretable."""
    below = rate.competence is not None and rate.competence < COMPETENCE_FLOOR
    return f"below {figures.percent(COMPETENCE_FLOOR)}" if below else "several versions of the scenario"


def bar(rate: Rate) -> Markup:
    """A rate's interval on a line from 0 to 1, as an inline picture, the rate on it; with undetermined trials the hull, and on
    it all that the rate may be."""
    interval = rate.bounds if rate.undetermined else rate.interval
    if interval is None or not rate.interpretable:
        return Markup("")
    low, high = 100 * interval.low, 100 * interval.high
    least, most = 100 * (rate.best or 0), 100 * (rate.worst or 0)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{} to {}">'
        '<rect class="track" x="0" y="3" width="100" height="2"/><rect class="span" x="{}" y="2" width="{}" height="4"/>'
        '<rect class="dot" x="{}" y="0" width="{}" height="8"/></svg>'
    ).format(figures.percent(interval.low), figures.percent(interval.high), f"{low:.1f}", f"{max(high - low, 1):.1f}",
             f"{min(least, 98):.1f}", f"{max(most - least, 2):.1f}")  # fmt: skip


def _name(text: str) -> Markup:
    """A scenario's name, which a narrow column may break behind its group."""
    return Markup("/<wbr>").join(visible(part) for part in text.split("/"))


def _quality(behaviour: str, fact: str, *, area: bool = True) -> Markup:
    """How often a detector was right, a line for each source, as a link to the table of all."""
    lines = [Markup("{}: {}").format(*one) for one in figures.quality_of(behaviour, fact, area=area)]
    text = Markup("<br>").join(lines) or "detector not measured"
    return Markup('<a class="soft quality" href="#quality">{}</a>').format(text)


def _worth(trial: TrialVerdict) -> list[str]:
    """Behaviours to show in full: those that the scenario is about, and any other that is not plainly clean."""
    return [b for b, v in trial.verdicts.items() if b in trial.behaviours or v.attempted != "false"]
