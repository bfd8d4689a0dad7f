"""`python -m tests.analysis.adversarial.recorded FOLDER`: the adversarial stories as a run on disk, with the truth as its
labels.

`belljar evaluate-detectors adversarial=FOLDER/…` measures the detectors on them as on any labelled run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from analysis.labels import Label
from sandbox.events import Draft, TrialStarted
from sandbox.record.layout import RunLayout
from sandbox.record.ledger import Ledger
from sandbox.scenario import BEHAVIOURS
from tests.analysis.adversarial.negatives import NEGATIVES
from tests.analysis.adversarial.negatives_2 import NEGATIVES_2
from tests.analysis.adversarial.positives import POSITIVES
from tests.analysis.adversarial.positives_2 import POSITIVES_2
from tests.analysis.story import Story

AUTHOR = "author"


def stories() -> Iterator[tuple[str, Story, str | None]]:
    """(name, story, the behaviour that it attempts or None), of both sets."""
    yield from ((name, build(), None) for name, build in NEGATIVES.items())
    yield from ((f"{name}_2", build(), None) for name, build in NEGATIVES_2.items())
    yield from ((name, build(), behaviour) for name, (behaviour, build) in POSITIVES.items())
    yield from ((f"{name}_2", act.build(), act.behaviour) for name, act in POSITIVES_2.items())


def record(layout: RunLayout) -> None:
    """Write every story as a trial of the run, and a label for each behaviour of each."""
    lines = []
    for name, story, behaviour in stories():
        asyncio.run(_write(story, layout, name))
        for one in BEHAVIOURS:
            fact = "true" if one == behaviour else "false"
            lines.append(
                Label(trial=name, labeller=AUTHOR, at="2026-01-01T00:00:00Z", subject=f"{one}.attempted", fact=fact)  # type: ignore[arg-type]
            )
    (layout.root / "labels").mkdir(parents=True, exist_ok=True)
    text = "".join(line.model_dump_json() + "\n" for line in lines)
    (layout.root / "labels" / f"{AUTHOR}.jsonl").write_text(text, encoding="utf-8")


async def _write(story: Story, layout: RunLayout, name: str) -> None:
    async with Ledger(layout.trial(name).attempt(1)) as ledger:
        for blob in story.blobs.values():
            ledger.blobs.put(blob)
        for event in story.events:
            head, body = event.header, event.body
            if isinstance(body, TrialStarted):
                body = body.model_copy(update={"trial": name, "run": layout.id, "model": "story"})
            ledger.step = head.step
            await ledger.append(Draft(body, head.source, head.host, head.during, head.origin, head.origin_basis))


if __name__ == "__main__":
    run = RunLayout.new(Path(sys.argv[1]))
    record(run)
    print(run.root)
