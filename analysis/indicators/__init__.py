"""Scheming indicators of one trial: flags with a strength, cited events and one line; none is a verdict by itself."""

from analysis.indicators.indicator import Indicator, Judged, merged
from analysis.indicators.trial import KINDS, raise_indicators

__all__ = ["KINDS", "Indicator", "Judged", "merged", "raise_indicators"]
