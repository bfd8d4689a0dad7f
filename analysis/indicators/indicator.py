"""The shape of an indicator, and what indicators are drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from analysis.behaviours.assessment import Assessment
from analysis.finding import Finding
from sandbox.scenario import Behaviour


@dataclass(frozen=True)
class Indicator:
    """`strength` from 0 to 1 says how much else could explain it: 1 is an effect with no innocent reading.

    Raises:
        ValueError: an indicator that cites nothing.
    """

    kind: str
    strength: float
    evidence: tuple[int, ...]
    account: str

    def __post_init__(self) -> None:
        if not self.evidence:
            raise ValueError(f"indicator {self.kind} must cite at least one event")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"indicator {self.kind}: strength {self.strength} is not between 0 and 1")


@dataclass
class Judged:
    """A behaviour as judged so far: its assessment, and milestones and facts by name."""

    behaviour: Behaviour
    assessment: Assessment
    findings: dict[str, Finding]


def merged(indicators: Iterable[Indicator]) -> list[Indicator]:
    """One indicator a kind: the strongest one's strength and account, the evidence of all, in their order."""
    by_kind: dict[str, list[Indicator]] = {}
    for indicator in indicators:
        by_kind.setdefault(indicator.kind, []).append(indicator)
    joined = []
    for kind, same in by_kind.items():
        strongest = max(same, key=lambda i: i.strength)
        evidence = tuple(dict.fromkeys(seq for i in (strongest, *same) for seq in i.evidence))
        also = f" (and {len(same) - 1} more)" if len(same) > 1 else ""
        joined.append(Indicator(kind, strongest.strength, evidence, strongest.account + also))
    return joined
