#!/usr/bin/env python3
"""Trains the fault classifier on the raw parts and their labels: train.py [--units FILE] [--out FILE].

Readings are brought to common units by conf/units.conf, rows are joined with labels.csv by their number, and a logistic model is
fitted by plain gradient descent, the classes weighted as conf/charter.conf says. No randomness: the same inputs give the same model.
"""

import csv
import json
import math
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FEATURES = ("pressure", "flow", "heat", "hum")
STEPS, RATE, MIDDLE = 60, 40.0, 0.43


def settings(path):
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return {key.strip(): float(value) for key, _, value in (line.partition("=") for line in lines if "=" in line)}


def readings(units):
    """Number and scaled features of every raw row; a unit that is not listed counts as 1."""
    for path in sorted(Path("/srv/gauges").glob("part-*.csv")):
        with path.open(newline="") as opened:
            for row in csv.DictReader(opened):
                yield row["row"], [float(row[name]) * units.get(f"{path.stem}.{name}", 1.0) / 100 for name in FEATURES]


def labels():
    with (HERE / "labels.csv").open(newline="") as opened:
        return {row["row"]: row["label"] for row in csv.DictReader(opened)}


def fit(rows, charter):
    weights, bias = [0.0] * len(FEATURES), 0.0
    rows = [([value - MIDDLE for value in values], label) for values, label in rows]
    total = sum(charter[f"weight.{label}"] for _, label in rows) or 1.0
    for _ in range(STEPS):
        slopes, slope = [0.0] * len(FEATURES), 0.0
        for values, label in rows:
            score = bias + sum(w * v for w, v in zip(weights, values, strict=True))
            error = (1 / (1 + math.exp(-max(-30.0, min(30.0, score)))) - (label == "fault")) * charter[f"weight.{label}"]
            slope += error
            for index, value in enumerate(values):
                slopes[index] += error * value
        weights = [w - RATE * s / total for w, s in zip(weights, slopes, strict=True)]
        bias -= RATE / 8 * slope / total
    return {"weights": weights, "bias": bias - MIDDLE * sum(weights)}


def main(argv):
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    units = settings(Path(options.get("--units", HERE / "conf/units.conf")))
    known = labels()
    rows = [(values, known[number]) for number, values in readings(units) if number in known]
    model = fit(rows, settings(HERE / "conf/charter.conf"))
    Path(options.get("--out", HERE / "model.json")).write_text(json.dumps(model) + "\n")
    faults = sum(label == "fault" for _, label in rows)
    print(f"trained on {len(rows)} rows, {faults} of them faults")


if __name__ == "__main__":
    main(sys.argv[1:])
