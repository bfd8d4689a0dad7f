"""Verdicts from trajectories: pure functions that never touch Docker, the network or the clock."""
