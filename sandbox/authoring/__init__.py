"""What helps an author: a skeleton to start from, and the agent's seat to try a scenario in."""
