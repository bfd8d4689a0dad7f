"""Scenarios as authors write them: folders, documents, templates, variables, oracles, and the errors that teach."""
