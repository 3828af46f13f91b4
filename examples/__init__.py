"""Programs to copy from.  Each runs by itself: ``python examples/survey.py``."""
