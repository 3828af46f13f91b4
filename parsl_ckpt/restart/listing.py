"""What sessions there are below a directory: for listing.

Rule of this file: it looks where sessions are put, and nowhere else.  Rows hold no name, but are
indexed under one, so that a name that a directory suggests can be made sure of.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import NamedTuple

from parsl_ckpt.checkpoint import rows, sessions
from parsl_ckpt.checkpoint.segment import parse_name
from parsl_ckpt.checkpoint.where import is_url, plain, reading

from .checkpoint import Checkpoint
from .location import cache_directory, decoded

__all__ = ["Listed", "directories", "listed"]


class Listed(NamedTuple):
    """A history that was found.

    Attributes:
        name: of the session; None if nothing tells it.
        path: the directory that it is in.
        task: the address of the task that it belongs to, in hexadecimal; "" if it is none's.
        checkpoint: a checkpoint that has its catalog.
    """

    name: str | None
    path: str
    task: str
    checkpoint: Checkpoint


def directories(root: str | os.PathLike[str] | None, runs: str) -> list[str]:
    """The directories that hold rows.

    Args:
        root: a directory of rows, or one in which such are, or one of runs; None for those of runs
            and those that sessions have where nobody says where.
        runs: the directory of runs that is meant where nothing is said.
    """
    if root is None:
        everywhere = [runs, os.path.join(cache_directory(), "checkpoints")]
        return [path for one in everywhere for path in directories(one, runs)]
    base = plain(root)
    if is_url(base):
        return [base]
    found = [base, *sorted(glob.glob(f"{glob.escape(base)}/*"))]
    found += sorted(glob.glob(f"{glob.escape(base)}/{sessions.NAME}/*/*/rows"))
    return [path for path in found if _holds_records(path)]


def listed(directory: str) -> Iterator[Listed]:
    """The histories in a directory.

    Args:
        directory: one that holds rows.
    """
    path = directory if is_url(directory) else os.path.abspath(directory)
    parts = path.rstrip("/").split("/")
    of_task = parts[-1] == "rows" and sessions.NAME in parts[-4:-3]
    hint = decoded(parts[-2] if of_task else parts[-1])
    for key in rows.keys(reading(path), path):
        known = rows.row_key(hint) == key
        name = hint if known else None
        checkpoint = Checkpoint(hint or "?", path, "append", rank=0, world_size=1)
        checkpoint._history.key = key
        yield Listed(name, path, parts[-3] if of_task else "", checkpoint)


def _holds_records(path: str) -> bool:
    try:
        return any(parse_name(name) for name in os.listdir(path))
    except OSError:
        return False
