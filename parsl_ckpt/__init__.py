"""Parallel apps whose results survive: memoized, checkpointed, resumed."""
