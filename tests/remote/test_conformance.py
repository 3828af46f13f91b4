"""The store over an object store does what it does over any other backend: the same tests."""

from __future__ import annotations

from ..checkpoint.test_store import *  # noqa: F403
