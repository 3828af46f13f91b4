"""Staging: how files of other schemes are fetched before a function runs, and delivered after it.

registry.py   who is asked in this process for what is in a file that is elsewhere
base.py       ``Staging``, the interface of all providers
zipped.py     ``zip:`` URLs: members of zip files
remote.py     everything that fsspec knows: ``s3:``, ``https:``, ``memory:`` ...
"""

from __future__ import annotations

from parsl_ckpt.apps.staging.base import Staging
from parsl_ckpt.apps.staging.remote import FsspecStaging
from parsl_ckpt.apps.staging.zipped import ZipFileStaging

__all__ = ["FsspecStaging", "Staging", "ZipFileStaging", "default_staging"]


def default_staging() -> list[Staging]:
    """The providers of a run that names none: zip files, and fsspec for everything else."""
    return [ZipFileStaging(), FsspecStaging()]
