"""A report of many trials: what it costs to summarise, to write, and to open in a browser (the time of its script alone)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from analysis.report import render_html
from analysis.study import StudySummary, summarise
from analysis.verdict import TrialVerdict
from tests.analysis.test_report import rich
from tests.browser import Browser


def copies(number: int) -> Iterator[TrialVerdict]:
    """Verdicts of a small study again and again, each time of other seeds."""
    some = rich().trials
    for n in range(number):
        trial = some[n % len(some)]
        again = n // len(some)
        yield trial.model_copy(update={"id": f"{trial.id}-{again}", "seed": trial.seed + 1000 * again, "path": f"trials/{n}"})


def cost(trials: int = 10_000) -> dict[str, float]:
    """Seconds to summarise and to write, megabytes of the page, and seconds of script until it stands and shows one set."""
    listed = list(copies(trials))
    started = time.process_time()
    summary = summarise(listed)
    summarised = time.process_time()
    html = render_html(summary)
    written = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        page.write_text(html, encoding="utf-8")
        opened, shown = script_seconds(page, summary, Path(scratch))
    taken = {
        "summarise_s": summarised - started,
        "write_s": written - summarised,
        "script_s": opened,
        "script_with_set_s": shown,
    }
    return {"trials": trials, "megabytes": len(html) / 1e6, **taken}


def script_seconds(page: Path, summary: StudySummary, folder: Path) -> tuple[float, float]:
    """Seconds of script from nothing to the page as it opens, and to the trials behind one of its numbers."""
    with Browser(folder) as browser:
        browser.open(page)
        browser.wait(f"document.getElementById('shown').textContent === '{len(summary.trials)} of {len(summary.trials)}'")
        opened = browser.metrics()["ScriptDuration"]
        browser.value("location.hash = document.querySelector('a.n').getAttribute('href')")
        browser.wait("!document.getElementById('chosen').hidden")
        return opened, browser.metrics()["ScriptDuration"]
