"""How good the detectors are: what they said of examples whose truth is known, counted, with intervals clustered by
scenario."""

from analysis.quality.example import Example, from_verdict, truths_of_labels
from analysis.quality.measure import Measured, Quality, measure

__all__ = ["Example", "Measured", "Quality", "from_verdict", "measure", "truths_of_labels"]
