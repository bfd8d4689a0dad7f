"""The report opened from disk in a real browser: no error, nothing loaded, every link fills in what it leads to, hostile
text inert, readable at 1280 and 400 px."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.report import render_html
from analysis.report.html import CHUNK
from analysis.study import StudySummary, summarise
from analysis.verdict import judge
from sandbox.scenario import BEHAVIOURS
from tests.analysis.story import SHUTDOWN, Story
from tests.analysis.test_report import hostile, linked, rich
from tests.benchmarks.report import copies, script_seconds
from tests.browser import BROWSER, Browser, needs_browser

pytestmark = needs_browser


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


def test_a_number_leads_to_its_trials_whatever_their_order(tmp_path: Path) -> None:
    summary = rich()
    page = written(tmp_path, summary)
    html = page.read_text("utf-8")
    row = next(r for r in html.split("<tr>") if "<b>sabotage/<wbr>two</b>" in r and "tempted · unwatched" in r)
    (address, count) = re.findall(r'href="#(set-\d+)">(\d+)</a>', row)[0]
    wanted = {f"t{n}" for n in linked(html)[address]}
    with Browser(tmp_path) as browser:
        browser.open(page, f"#{address}")
        browser.wait(f"document.getElementById('shown').textContent === '{count} of {len(summary.trials)}'")
        shown = "Array.from(document.querySelectorAll('details.trial:not([hidden])')).map(t => t.id)"
        assert set(browser.value(shown)) == wanted
        browser.value("document.getElementById('sort').click()")
        browser.value("location.hash = '#trials'")
        browser.wait(f"document.getElementById('shown').textContent.startsWith('{len(summary.trials)} of')")
        order = [round(summary.trials[int(t[1:]) - 1].suspicion or -1, 4) for t in browser.value(shown)]
        assert order == sorted(order, reverse=True)
        browser.value(f"location.hash = '#{address}'")
        browser.wait(f"document.getElementById('shown').textContent.startsWith('{count} of')")
        assert set(browser.value(shown)) == wanted
        assert browser.console == []


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("study", [rich, hostile])
def test_nothing_runs_over_the_edge_and_every_number_can_be_seen(
    tmp_path: Path, width: int, study: Callable[[], StudySummary]
) -> None:
    page = written(tmp_path, study())
    with Browser(tmp_path) as browser:
        for fragment in ("", "#t1"):
            browser.open(page, fragment, width=width)
            if fragment:
                browser.wait("document.querySelector('#t1').open && document.querySelector('#t1 .facts') !== null")
            assert browser.value("document.documentElement.scrollWidth <= window.innerWidth"), fragment
            outside = browser.value(
                "Array.from(document.querySelectorAll('a, td, li, p'))"
                ".filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.textContent.slice(0, 60))"
            )
            assert outside == []
        smallest = (
            "Math.min(...Array.from(document.querySelectorAll('td, p, li')).map(e => parseFloat(getComputedStyle(e).fontSize)))"
        )
        assert browser.value(smallest) >= 11


BROKEN = """Array.from(document.querySelectorAll('th, td.word, a.quality')).flatMap(cell => {
    const found = [], walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
        for (const word of node.data.matchAll(/[A-Za-z]+/g)) {
            const range = document.createRange();
            range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
            if (new Set(Array.from(range.getClientRects()).map(r => Math.round(r.top))).size > 1) { found.push(word[0]); }
        }
    }
    return found;
})"""


@pytest.mark.parametrize("width", [1280, 900, 400])
def test_no_word_of_a_header_of_a_behaviour_or_of_a_detectors_quality_is_broken(tmp_path: Path, width: int) -> None:
    summary = rich()
    others = [t.model_copy(update={"scenario": "disinformation/newsroom", "behaviours": BEHAVIOURS, "id": f"other-{t.id}"})
              for t in summary.trials if t.scenario == "sabotage/one"]  # fmt: skip
    page = written(tmp_path, summarise([*summary.trials, *others]))
    with Browser(tmp_path) as browser:
        browser.open(page, width=width)
        named = set(browser.value("Array.from(document.querySelectorAll('td.word')).map(c => c.textContent.trim())"))
        assert {*BEHAVIOURS, "disinformation.attempted"} <= named
        assert browser.value(BROKEN) == []
        ends = "Array.from(document.querySelectorAll('main span')).map(e => e.getBoundingClientRect().right)"
        assert max(browser.value(ends)) <= width
        assert browser.value("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.full
def test_ten_thousand_trials_open_in_under_two_seconds_of_script(tmp_path: Path) -> None:
    summary = summarise(copies(10_000))
    opened, shown = script_seconds(written(tmp_path, summary), summary, tmp_path)
    assert opened < 2
    assert shown < 2


def test_hostile_text_does_nothing_when_its_trial_is_opened(tmp_path: Path) -> None:
    document, console = opened(written(tmp_path, hostile()), "#t1")
    assert console == []
    assert "U+202E" in document
    assert re.findall(r"<img|<script>alert", document.replace("&lt;img", "").replace("&lt;script", "")) == []
