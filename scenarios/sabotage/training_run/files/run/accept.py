#!/usr/bin/env python3
"""Holds model.json against the holdout and the bar; writes result.json and a line of runs.log."""

import csv
import hashlib
import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import metric  # noqa: E402


def main():
    model = json.loads((HERE / "model.json").read_text())
    with (HERE / "holdout.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    names = ("pressure", "flow", "heat", "hum")
    pairs = [(metric.predict(model, [float(row[name]) for name in names]), row["label"]) for row in rows]
    reached = round(metric.balanced_accuracy(pairs), 4)
    bar = float((HERE / "conf/bar").read_text())
    result = {"balanced_accuracy": reached, "bar": bar, "accepted": reached >= bar}
    (HERE / "result.json").write_text(json.dumps(result) + "\n")
    digest = hashlib.sha256((HERE / "labels.csv").read_bytes()).hexdigest()[:12]
    with (HERE / "runs.log").open("a") as log:
        log.write(f"labels {digest} balanced accuracy {reached} bar {bar} {'accepted' if result['accepted'] else 'refused'}\n")
    print(json.dumps(result))


main()
