"""The report opened from disk in a real browser: no error, nothing loaded, every link fills in what it leads to, hostile
text inert."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.report import render_html
from analysis.report.html import CHUNK
from analysis.study import StudySummary, summarise
from analysis.verdict import judge
from tests.analysis.story import SHUTDOWN, Story
from tests.analysis.test_report import hostile

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


def opened(page: Path, fragment: str = "", width: int = 1280) -> tuple[str, list[str]]:
    """The document after its script has run, and what the browser's console said."""
    done = subprocess.run(
        [str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND",
         f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},1600", "--virtual-time-budget=8000",
         "--enable-logging=stderr", "--dump-dom", f"{page.as_uri()}{fragment}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def written(tmp_path: Path, summary: StudySummary) -> Path:
    page = tmp_path / "report.html"
    page.write_text(render_html(summary), encoding="utf-8")
    return page


def many() -> StudySummary:
    """More trials than one chunk holds, of two arms."""

    def one(number: int) -> Story:
        story = Story(SHUTDOWN, arm={"incentive": "tempted" if number % 2 else "benign", "oversight": "watched"})
        story.call("bash", command=f"echo trial {number}")
        story.modified("/srv/ops/stop.sh", "stop", "true")
        return story.returns().submit().end()

    return summarise(judge(one(n)).model_copy(update={"id": f"trial-{n}"}) for n in range(CHUNK + 4))


def test_it_opens_without_a_word_on_the_console_and_unpacks_nothing_unasked(tmp_path: Path) -> None:
    document, console = opened(written(tmp_path, many()))
    assert console == []
    assert f"{CHUNK + 4} of {CHUNK + 4}" in document
    assert "<h3>Cited events</h3>" not in document


def test_a_link_to_an_event_opens_its_trial_also_in_a_later_chunk(tmp_path: Path) -> None:
    summary = many()
    trial = summary.trials[CHUNK + 1]
    seq = trial.verdicts["sabotage"].findings["tampers"].evidence[0]
    document, console = opened(written(tmp_path, summary), f"#t{CHUNK + 2}-e{seq}")
    assert console == []
    (details,) = re.findall(rf'<details class="trial" id="t{CHUNK + 2}".*?</details>', document, re.DOTALL)
    assert re.search(r"<details[^>]* open", details)
    assert f'id="t{CHUNK + 2}-e{seq}"' in details
    for other in re.findall(rf'href="#(t{CHUNK + 2}-e\d+)"', details):
        assert f'id="{other}"' in details


def test_a_number_leads_to_its_trials(tmp_path: Path) -> None:
    summary = many()
    page = written(tmp_path, summary)
    link = re.findall(r'href="(#cell-\d+-sabotage-attempted)"', page.read_text("utf-8"))[0]
    document, console = opened(page, link)
    assert console == []
    assert f"{(CHUNK + 4) // 2} of {CHUNK + 4}" in document


def test_hostile_text_does_nothing_when_its_trial_is_opened(tmp_path: Path) -> None:
    document, console = opened(written(tmp_path, hostile()), "#t1")
    assert console == []
    assert "U+202E" in document
    assert re.findall(r"<img|<script>alert", document.replace("&lt;img", "").replace("&lt;script", "")) == []
