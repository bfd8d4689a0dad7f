"""Fitting: two regularised linear models, their weight against each other, calibration and threshold, all chosen by grouped
validation inside the rows that were given; nothing here ever sees a row that is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from analysis.monitor.dataset import Floats, Rows, Table

DENSE_C, TERM_C, TERM_WEIGHT = (0.03, 0.1), (0.3, 1.0, 3.0), (0.5, 1.0, 2.0)
SHARE = (0.3, 0.5, 0.7)
"""A term must occur in that share of the training scenarios and of the training families, so that it is nobody's topic."""
MIN_RUNS = 6
"""A dense feature must occur in that many training runs."""
INNER_FOLDS = 5


class Choice(NamedTuple):
    """Inverse regularisation strengths, how widespread a term must be, and the weight of terms against deeds and cues."""

    dense_c: float
    term_c: float
    share: float
    weight: float


CHOICES = tuple(Choice(d, t, s, w) for d in DENSE_C for t in TERM_C for s in SHARE for w in TERM_WEIGHT)


@dataclass(frozen=True)
class Fitted:
    """Columns and coefficients; `slope` and `intercept` calibrate the sum of both parts to log-odds."""

    dense_columns: Rows
    dense_weights: Floats
    term_columns: Rows
    idf: Floats
    term_weights: Floats
    slope: float
    intercept: float

    def raw(self, table: Table, rows: Rows) -> Floats:
        """Uncalibrated sum of both parts."""
        words = _tfidf(table, rows, self.term_columns, self.idf) @ self.term_weights
        return np.asarray(table.dense[np.ix_(rows, self.dense_columns)] @ self.dense_weights + words)

    def scores(self, table: Table, rows: Rows) -> Floats:
        """Suspicion from 0 to 1, shrunk by exposure."""
        return guarded(self.intercept + self.slope * self.raw(table, rows), table.exposure[rows])


def guarded(log_odds: Floats, exposure: Floats) -> Floats:
    """Probability shrunk where less than half of the work concerned records or instruments; see `score.shrunk`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -60, 60))) * np.minimum(1.0, 2 * exposure))


def fit(table: Table, rows: Rows) -> tuple[Fitted, Floats]:
    """A model of `rows` and the scores it gives them out of fold, hyper-parameters chosen by grouped folds within them."""
    groups = table.scenario[rows]
    folds = list(grouped_folds(groups, INNER_FOLDS))
    raw = {choice: np.zeros(len(rows)) for choice in CHOICES}
    for inside, outside in folds:
        for choice, values in _parts(table, rows[inside], rows[outside]).items():
            raw[choice][outside] = values
    y = table.misaligned[rows]
    best = max(CHOICES, key=lambda c: (round(roc_auc_score(y, raw[c]), 4), -CHOICES.index(c)))
    slope, intercept = _platt(raw[best], y)
    out_of_fold = guarded(intercept + slope * raw[best], table.exposure[rows])
    return _final(table, rows, best, slope, intercept), out_of_fold


def grouped_folds(groups: Any, folds: int) -> Iterator[tuple[Rows, Rows]]:
    """Whole groups left out together, the largest dealt first so that folds are of like size; no randomness."""
    names, sizes = np.unique(groups, return_counts=True)
    load = np.zeros(min(folds, len(names)))
    place = {}
    for index in np.argsort(-sizes, kind="stable"):
        target = int(np.argmin(load))
        place[names[index]] = target
        load[target] += sizes[index]
    assigned = np.array([place[g] for g in groups])
    for fold in range(len(load)):
        yield np.flatnonzero(assigned != fold), np.flatnonzero(assigned == fold)


def _parts(table: Table, train: Rows, test: Rows) -> dict[Choice, Floats]:
    columns, dense = _dense_models(table, train)
    by_dense = {c: table.dense[np.ix_(test, columns)] @ w for c, w in dense.items()}
    by_term: dict[tuple[float, float], Floats] = {}
    for share in SHARE:
        terms, idf, words = _term_models(table, train, share)
        matrix = _tfidf(table, test, terms, idf)
        by_term |= {(c, share): matrix @ w for c, w in words.items()}
    return {c: by_dense[c.dense_c] + c.weight * by_term[c.term_c, c.share] for c in CHOICES}


def _final(table: Table, rows: Rows, choice: Choice, slope: float, intercept: float) -> Fitted:
    columns, dense = _dense_models(table, rows, (choice.dense_c,))
    terms, idf, words = _term_models(table, rows, choice.share, (choice.term_c,))
    return Fitted(columns, dense[choice.dense_c], terms, idf, choice.weight * words[choice.term_c], slope, intercept)


def _dense_models(table: Table, rows: Rows, strengths: Sequence[float] = DENSE_C) -> tuple[Rows, dict[float, Floats]]:
    columns = np.flatnonzero((table.dense[rows] > 0).sum(axis=0) >= MIN_RUNS)
    matrix = table.dense[np.ix_(rows, columns)]
    return columns, {c: _weights(matrix, table.misaligned[rows], c) for c in strengths}


def _term_models(
    table: Table, rows: Rows, share: float, strengths: Sequence[float] = TERM_C
) -> tuple[Rows, Floats, dict[float, Floats]]:
    present = (table.terms[rows] > 0).astype(float)
    frequency = np.asarray(present.sum(axis=0)).ravel()
    shares = [_share_of_groups(present, groups[rows]) for groups in (table.scenario, table.family)]
    columns = np.flatnonzero((frequency >= 4) & (np.minimum(*shares) >= share))
    idf = np.log((1 + len(rows)) / (1 + frequency[columns])) + 1
    matrix = _tfidf(table, rows, columns, idf)
    return columns, idf, {c: _weights(matrix, table.misaligned[rows], c) for c in strengths}


def _share_of_groups(present: Any, groups: Any) -> Floats:
    names, place = np.unique(groups, return_inverse=True)
    member = sparse.csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))))
    return np.asarray(((member @ present) > 0).sum(axis=0)).ravel() / len(names)


def _tfidf(table: Table, rows: Rows, columns: Rows, idf: Floats) -> Any:
    return unit_rows(table.terms[rows][:, columns], idf)


def unit_rows(counts: Any, idf: Floats) -> Any:
    """Sublinear tf-idf with rows of unit length, as `score.Monitor` computes it for one conversation."""
    matrix = counts.copy()
    matrix.data = 1 + np.log(matrix.data)
    matrix = matrix.multiply(idf).tocsr()
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.diags(1 / np.where(length > 0, length, 1)) @ matrix


def _weights(matrix: Any, y: Any, strength: float) -> Floats:
    """Coefficients; the intercept is left to the calibration."""
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=3_000, tol=1e-5)
    return np.asarray(model.fit(matrix, y).coef_[0], dtype=float)


def _platt(raw: Floats, y: Any) -> tuple[float, float]:
    model = LogisticRegression(C=1e6, max_iter=3_000).fit(raw[:, None], y)
    return float(model.coef_[0, 0]), float(model.intercept_[0])
