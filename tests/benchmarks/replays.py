"""How long trials take again: a replay's wall time against its recording's less the model's, in one run; one is as fast.

Recordings and replays are made one at a time, so that both have the machine to themselves or share it with the same others.
What matters here is that every step was carried out; `ls -la /` tells how many processes there are, which no two trials share.
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from sandbox.cli.replay import carry_out
from sandbox.trajectory import trajectories


def ratio(recorded: Path, scenario: Path, out: Path) -> dict[str, float]:
    """Every trial of the runs in `recorded` is replayed: medians of the seconds and of the ratios, and the load."""
    results = [carry_out(trajectory, scenario, out) for trajectory in trajectories(recorded)]
    if any(step["grade"] == "unreplayable" for result in results for step in result["steps"]):
        raise RuntimeError("a measured trial did not replay to its end")
    seconds = [result["seconds"] for result in results]
    then, now, both = (statistics.median(s[name] for s in seconds) for name in ("recorded_less_model", "replayed", "ratio"))
    reproduced = sum(result["reproduced"] for result in results)
    return {
        "trials": len(results),
        "reproduced": reproduced,
        "recorded_s": then,
        "replayed_s": now,
        "ratio": both,
        "load": os.getloadavg()[0],
    }
