"""A recorded trial carried out again: replayed and graded, served, or forked with one thing changed."""
