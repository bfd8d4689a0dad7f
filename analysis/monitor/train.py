"""`python -m analysis.monitor.train DATA_DIR`: fit the shipped model on the labelled runs, deterministically, and write it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from analysis.monitor.dataset import LABELLED, Floats, Table, digest, judged, load_runs, tabulate
from analysis.monitor.fitting import Fitted, fit
from analysis.monitor.score import FORMAT, MODEL

ALLOWED, MARGIN = 0.05, 0.02
"""The threshold lets ALLOWED - MARGIN of the benign training runs through, scored out of fold; the margin is for new ones."""


def threshold(scores: Floats, misaligned: Any) -> float:
    """The score that `ALLOWED - MARGIN` of the benign runs exceed."""
    return float(np.quantile(scores[misaligned == 0], 1 - ALLOWED + MARGIN))


def model_file(table: Table, fitted: Fitted, limit: float, data: str) -> dict[str, Any]:
    """The model as it is written: rounded, so that its digest does not hang on the last bits of a solver."""
    dense = {table.dense_names[c]: round(float(w), 5) for c, w in zip(fitted.dense_columns, fitted.dense_weights, strict=True)}
    terms = {
        table.term_names[c]: [round(float(i), 5), round(float(w), 5)]
        for c, i, w in zip(fitted.term_columns, fitted.idf, fitted.term_weights, strict=True)
    }
    about = {"trained_on": {LABELLED: data}, "runs": len(table), "misaligned": int(table.misaligned.sum())}
    return {"format": FORMAT, "about": about, "slope": round(fitted.slope, 6), "intercept": round(fitted.intercept, 6),
            "threshold": round(limit, 4), "dense": dense, "terms": terms}  # fmt: skip


def train(folder: Path) -> dict[str, Any]:
    """Fit on `folder`'s labelled runs; no other source is read."""
    table = tabulate(judged(load_runs(folder / LABELLED)))
    fitted, out_of_fold = fit(table, np.arange(len(table)))
    return model_file(table, fitted, threshold(out_of_fold, table.misaligned), digest(folder / LABELLED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the labelled runs")
    parser.add_argument("--out", type=Path, default=MODEL, help="where to write the model")
    arguments = parser.parse_args()
    with threadpool_limits(1):
        model = train(arguments.data)
    arguments.out.write_text(json.dumps(model, indent=0, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{arguments.out}: {len(model['dense'])} features, {len(model['terms'])} terms, threshold {model['threshold']}")


if __name__ == "__main__":
    main()
