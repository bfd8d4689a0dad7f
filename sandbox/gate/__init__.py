"""The gate of the library: a scenario is in it only while everything here holds, from its words to its agents' verdicts."""
