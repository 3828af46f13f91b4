"""Parsl's names of staging providers that have no other sense here."""

from __future__ import annotations

from parsl_ckpt.apps import staging


class NoOpFileStaging(staging.Staging):
    """Local files, which lie where tasks look for them: nothing is done."""


default_staging = staging.default_staging()
