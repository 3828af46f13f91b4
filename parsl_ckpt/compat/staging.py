"""Parsl's names of staging providers, and what is said to those that were written for Parsl."""

from __future__ import annotations

from typing import Any

from parsl_ckpt.apps import staging
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.signatures import signature

_PARSLS = ("replace_task", "replace_task_stage_out")
_MOVES = ("stage_in", "stage_out")


class Staging(staging.Staging):
    """A provider, as :class:`parsl_ckpt.apps.staging.Staging` has it.

    Raises:
        ConfigurationError: it makes tasks or replaces functions, as providers do in Parsl.
    """

    def __new__(cls, *args: Any, **options: Any) -> Staging:
        theirs = [name for name in _PARSLS if hasattr(cls, name)]
        for name in _MOVES:
            if len(signature(getattr(cls, name)).parameters) > 2:
                theirs.append(name)
        if theirs:
            raise ConfigurationError(
                f"{cls.__name__}.{theirs[0]} is written for Parsl, where providers make tasks.",
                hint="Here they move one file at a time, in the worker: stage_in(self, file) and "
                "stage_out(self, file); see docs/howto/files.rst.",
                field=theirs[0],
            )
        return super().__new__(cls)


class NoOpFileStaging(Staging):
    """Local files, which lie where tasks look for them: nothing is done."""


default_staging = staging.default_staging()
