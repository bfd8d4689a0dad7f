"""Two trials side by side: where they first part, and all that differs from there on."""

from __future__ import annotations

from sandbox.diff.alignment import Difference, Divergence, Row, TrialDiff, compare
from sandbox.diff.page import render_html
from sandbox.diff.terminal import lines

__all__ = ["Difference", "Divergence", "Row", "TrialDiff", "compare", "lines", "render_html"]
