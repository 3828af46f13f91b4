"""Restart sessions: a long loop records where it is, and continues there."""
