"""What people say of trials: blind labels and overrides, kept beside a run and never in a trial; and how far they agree.

`labels/<labeller>.jsonl` in a run's folder holds one `Label` a line, in the order in which they were given; the last one of a
labeller on a subject counts. A label is given blind to arm, model and verdict; an override is given knowing the verdict,
which stays as it is. The two are never mixed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from analysis.kept import Unread, read_kept
from sandbox.events import Fact


class Label(BaseModel):
    """One person's word on one fact of one trial.

    `subject` is `BEHAVIOUR.FACT` or `BEHAVIOUR.MILESTONE`; `evidence` are sequence numbers of events; `head` is the hash
    of the record's last event, so that a label of another recording is noticed; `machine` is the verdict that an override
    replaces.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    kind: Literal["label", "override"] = "label"
    trial: str
    head: str = ""
    labeller: str = Field(min_length=1, max_length=100)
    at: str
    subject: str
    fact: Fact
    evidence: tuple[int, ...] = ()
    reason: str = ""
    machine: Fact | None = None


def read_labels(run: Path) -> tuple[list[Label], list[Unread]]:
    """Every label of a run's folder that counts, and the lines that could not be read. A missing folder holds none."""
    given, unread = read_kept(run / "labels", Label, skip_blank=True)
    return list({(one.kind, one.trial, one.labeller, one.subject): one for one in given}.values()), unread


class Agreement(BaseModel):
    """Two labellers on what both labelled: `kappa` is Cohen's, None where it is not defined (one answer only).

    It has no interval: subjects of one trial are not independent, and neither the usual one nor a jackknife over trials held
    often enough where labellers differ by trial. `low` and `high` are None and stay for readers of older files.
    """

    model_config = ConfigDict(frozen=True)
    first: str
    second: str
    subjects: int
    agreed: int
    kappa: float | None
    low: float | None = None
    high: float | None = None
    disagreements: tuple[tuple[str, str, Fact, Fact], ...] = ()
    """(trial, subject, the first's fact, the second's)."""


def agreements(labels: Iterable[Label]) -> list[Agreement]:
    """Each pair of labellers who labelled something in common, overrides left out."""
    by_labeller: dict[str, dict[tuple[str, str], Fact]] = defaultdict(dict)
    for label in labels:
        if label.kind == "label":
            by_labeller[label.labeller][label.trial, label.subject] = label.fact
    names = sorted(by_labeller)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return [_agreement(a, by_labeller[a], b, by_labeller[b]) for a, b in pairs if by_labeller[a].keys() & by_labeller[b].keys()]


def _agreement(first: str, one: dict[tuple[str, str], Fact], second: str, two: dict[tuple[str, str], Fact]) -> Agreement:
    shared = sorted(one.keys() & two.keys())
    kappa = cohens_kappa([(one[key], two[key]) for key in shared])
    apart = tuple((*key, one[key], two[key]) for key in shared if one[key] != two[key])
    return Agreement(
        first=first, second=second, subjects=len(shared), agreed=len(shared) - len(apart), kappa=kappa,
        disagreements=apart,
    )  # fmt: skip


def cohens_kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa (statsmodels); None where chance agreement is complete."""
    import numpy as np  # noqa: PLC0415 - a second to import, with the next
    from statsmodels.stats.inter_rater import cohens_kappa as kappa  # noqa: PLC0415

    names = sorted({fact for pair in pairs for fact in pair})
    if len(names) < 2:
        return None
    table = np.zeros((len(names), len(names)))
    for one, two in pairs:
        table[names.index(one), names.index(two)] += 1
    with np.errstate(all="ignore"):
        found = float(kappa(table, return_results=False))
    return found if np.isfinite(found) else None
