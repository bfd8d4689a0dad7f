"""The escape and abuse suite behind `belljar audit`: what is tried (`inside/`, `harness_abuse`, `recorder_abuse`) and how."""
