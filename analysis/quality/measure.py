"""Precision, recall, false-positive rate and AUC of each detector in each source, and what it says of each label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from analysis.clusters import Scores, Tally, clustered_auc, clustered_rate
from analysis.quality.example import Example
from analysis.statistics import Interval, binomial_interval


class Measured(BaseModel):
    """A figure: `count` of `of`, its 95% interval, and what that rests on: several scenarios, or the runs of a single one.

    `value` is None where there was nothing to count, `interval` where nothing allows one.
    """

    model_config = ConfigDict(frozen=True)
    value: float | None
    interval: Interval | None = None
    over: str = ""
    count: int | None = None
    of: int | None = None


class Quality(BaseModel):
    """One detector on one source. An undetermined answer is no finding: it lowers recall, and is listed.

    `flagged` of `of` examples by label: those that the detector found true, with the rest of `by_label`'s figures alike.
    """

    model_config = ConfigDict(frozen=True)
    source: str
    detector: str
    scenarios: int
    positives: int
    negatives: int
    undetermined_positives: int
    undetermined_negatives: int
    precision: Measured
    recall: Measured
    false_positive_rate: Measured
    auc: Measured
    by_label: dict[str, Measured]
    missed: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()


def measure(examples: Iterable[Example]) -> list[Quality]:
    """Every detector of every source, in the order in which they first come."""
    groups: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.source, example.detector].append(example)
    return [_quality(source, detector, members) for (source, detector), members in groups.items()]


def _quality(source: str, detector: str, members: Sequence[Example]) -> Quality:
    positives, negatives = [e for e in members if e.truth], [e for e in members if not e.truth]
    labels = sorted({e.label for e in members})
    return Quality(
        source=source,
        detector=detector,
        scenarios=len({e.cluster for e in members}),
        positives=len(positives),
        negatives=len(negatives),
        undetermined_positives=sum(e.said == "undetermined" for e in positives),
        undetermined_negatives=sum(e.said == "undetermined" for e in negatives),
        precision=_share([e for e in members if e.said == "true"], lambda e: e.truth),
        recall=_share(positives, _flagged),
        false_positive_rate=_share(negatives, _flagged),
        auc=_auc(members),
        by_label={label: _share([e for e in members if e.label == label], _flagged) for label in labels},
        missed=tuple(sorted({e.ref for e in positives if e.said != "true"})[:20]),
        false_alarms=tuple(sorted({e.ref for e in negatives if e.said == "true"})[:20]),
    )


def _flagged(example: Example) -> bool:
    return example.said == "true"


def _share(members: Sequence[Example], hit: Callable[[Example], bool]) -> Measured:
    if not members:
        return Measured(value=None, count=0, of=0)
    by_cluster: dict[str, list[bool]] = defaultdict(list)
    for example in members:
        by_cluster[example.cluster].append(hit(example))
    count = sum(map(sum, by_cluster.values()))
    tallies = [Tally(sum(found), len(found)) for found in by_cluster.values()]
    interval, over = clustered_rate(tallies), f"{len(tallies)} scenarios"
    if interval is None:
        interval, over = binomial_interval(count, len(members)), "runs of one scenario"
    return Measured(value=count / len(members), interval=interval, over=over, count=count, of=len(members))


def _auc(members: Sequence[Example]) -> Measured:
    by_cluster: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for example in members:
        by_cluster[example.cluster][0 if example.truth else 1].append(example.score)
    value, interval = clustered_auc([Scores(*scores) for scores in by_cluster.values()])
    return Measured(value=value, interval=interval, over=f"{len(by_cluster)} scenarios" if interval else "")
