"""The embedded offline monitor: a suspicion score for a conversation, from calls and outputs alone; never verdict evidence."""

from analysis.monitor.score import Monitor, Suspicion, load_monitor, score

__all__ = ["Monitor", "Suspicion", "load_monitor", "score"]
