"""Language models as judges: what they are shown, how their answers are checked, how far they agree. Never verdict
evidence."""
