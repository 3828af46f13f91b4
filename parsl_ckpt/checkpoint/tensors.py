"""Tensors, and random generators, of torch and jax as plain values: placeholder until provided."""

from __future__ import annotations


def load(root: str) -> None:
    """Provide the codecs of a library, if it is there."""
