"""An environment without a machine, for the contract suite and for fast runs of the loop."""
