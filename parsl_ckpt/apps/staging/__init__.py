"""Staging: how files of other schemes are fetched before a function runs, and delivered after it.

registry.py   who is asked in this process for what is in a file that is elsewhere
base.py       ``Staging``, the interface of all providers
zipped.py     ``zip:`` URLs: members of zip files
remote.py     everything that fsspec knows: ``s3:``, ``https:``, ``memory:`` ...
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from parsl_ckpt.apps.staging import registry
from parsl_ckpt.apps.staging.base import Staging
from parsl_ckpt.apps.staging.remote import FsspecStaging
from parsl_ckpt.apps.staging.zipped import ZipFileStaging

__all__ = ["FsspecStaging", "Staging", "ZipFileStaging", "default_staging"]


def of_run(owner: object, config: Any, executors: Iterable[Any]) -> tuple[Any, ...]:
    """The providers of a run, for executors that do not say; all that it uses are made known.

    Args:
        owner: as long as it lives they are, unless they are released before.
        config: the run's; ``storage_access`` counts.
        executors: the run's; ``storage_access`` of each counts.
    """
    own = list(config.storage_access or ())
    for executor in executors:
        own += getattr(executor, "storage_access", None) or ()
    registry.use(owner, own)
    if config.storage_access is None:
        return tuple(default_staging())
    return tuple(config.storage_access)


def default_staging() -> list[Staging]:
    """The providers of a run that names none: zip files, and fsspec for everything else."""
    return [ZipFileStaging(), FsspecStaging()]
