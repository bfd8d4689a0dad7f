"""The engine: scenario, environment, agent loop, ledger, trajectory, study, command line."""
