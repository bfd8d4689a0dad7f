"""The internet of one trial: names, sites and services that answer every address in the world's network namespace.

This package runs inside the world's container, never in the engine. What it is built from is one JSON file
(`config.py`); what it sees goes to the engine over one socket (`control.py`); it has no other way out.
"""
