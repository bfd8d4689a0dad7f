"""What opening and verifying a recorded run costs, and that it is linear in events: `python -m tests.benchmarks.verify`.

Runs of 250, 500 and 1,000 trials of ten calls, as files: their ledgers verified (`verify`), read once for what they say and
for whether they hold (`open`), sealed into one file, and that file verified elsewhere (`bundle`). Figures only; no test rests
on them. Times are of this process alone (CPU), since machines are shared; `wall_s` stands beside them, and the load.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sandbox.record.bundle import verify_bundle
from sandbox.record.layout import RunLayout
from sandbox.record.sealing import seal
from sandbox.record.verify import verified, verify_path
from tests.analysis.adversarial.worlds import NODE, OPS
from tests.analysis.speed import ordinary, recorded

SIZES = (250, 500, 1000)


def recorded_run(root: Path, trials: int) -> tuple[RunLayout, int]:
    """A run as it lies on disk, and its events. It was never anchored here: what is measured is the reading."""
    run = RunLayout(root / f"run-{trials}")
    ledgers = [recorded(ordinary(10, OPS if n % 2 else NODE)) for n in range(20)]
    for number in range(trials):
        attempt = run.trial(f"{number:04d}").attempt(1)
        attempt.root.mkdir(parents=True)
        attempt.ledger.write_bytes(ledgers[number % len(ledgers)])
    return run, sum(ledgers[number % len(ledgers)].count(b"\n") for number in range(trials))


def cost(work: Callable[[], object], events: int) -> dict[str, float]:
    """Microseconds an event, and the seconds that it took."""
    wall, process = time.perf_counter(), time.process_time()
    work()
    wall, process = time.perf_counter() - wall, time.process_time() - process
    return {"us_per_event": round(1e6 * process / events, 1), "process_s": round(process, 2), "wall_s": round(wall, 2)}


def main() -> None:
    figures: dict[str, object] = {"load_before": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["BELLJAR_STATE"] = str(Path(scratch) / "state")
        for trials in SIZES:
            run, events = recorded_run(Path(scratch), trials)
            bundle = Path(scratch) / f"{trials}.belljar"
            found = {
                "verify": cost(lambda run=run: verify_path(run.root), events),  # type: ignore[misc]
                "open": cost(lambda run=run: [len(t.events) for t, _ in verified(run.root)], events),  # type: ignore[misc]
                "seal": cost(lambda run=run, bundle=bundle: seal(run.root, bundle), events),  # type: ignore[misc]
                "bundle": cost(lambda bundle=bundle: verify_bundle(bundle), events),  # type: ignore[misc]
            }
            figures[f"{trials} trials"] = {"events": events, **found}
            print(f"{trials} trials, {events:,} events: {json.dumps(found)}", file=sys.stderr, flush=True)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
