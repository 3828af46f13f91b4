"""Run directories: claiming a number for a run, and finding the checkpoints of earlier ones.

``runinfo/000``, ``runinfo/001``, ... ``runinfo/1000`` are ordered as numbers.  A number is claimed
by an exclusive mkdir, which one of any number of simultaneous starts wins, on every file system.
"""

from __future__ import annotations

import os
from pathlib import Path

from parsl_ckpt.errors import StoreError

CHECKPOINT = "checkpoint"


def claim(rundir: str | os.PathLike[str] = "runinfo") -> str:
    """Make the next run directory and return its path.

    Args:
        rundir: where runs are kept; made, for its owner only, if it is missing.

    Returns:
        ``rundir`` as it was given, joined with the run's number: ``"runinfo/000"``.

    Raises:
        StoreError: the directory cannot be made.
    """
    root = os.fspath(rundir)
    try:
        _make_root(root)
        number = max(_numbers(root), default=-1) + 1
        while True:
            path = os.path.join(root, f"{number:03d}")
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                number += 1
            else:
                os.chmod(path, 0o700)
                return path
    except OSError as error:
        raise StoreError(
            f"No run can be begun under {root}: {error}.",
            hint="Give a run directory that can be written to.",
            path=root,
        ) from error


def claim_run(rundir: str | os.PathLike[str] = "runinfo") -> str:
    """Like :func:`claim`, but return the run's number only: ``"000"``."""
    return os.path.basename(claim(rundir))


def get_all_checkpoints(rundir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint directories of all earlier runs, oldest first by number.

    Args:
        rundir: where runs are kept; a relative path stays relative in the answer.

    Returns:
        Directories such as ``"runinfo/000/checkpoint"``; empty if there are none.
    """
    root = os.fspath(rundir)
    found: list[str] = []
    for name in sorted(_names(root), key=lambda name: (int(name), name)):
        path = os.path.join(root, name, CHECKPOINT)
        if os.path.isdir(path):
            found.append(path)
    return found


def get_last_checkpoint(rundir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint directory of the last run that has one, as a list of at most one."""
    return get_all_checkpoints(rundir)[-1:]


def is_run(name: str) -> bool:
    """Whether a directory of this name is one of a run."""
    # Bounded: nobody's thousand-digit directory name is ours (and int() refuses it).
    return name.isascii() and name.isdigit() and len(name) < 16


def _make_root(root: str) -> None:
    path = Path(root)
    for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
        try:
            missing.mkdir(0o700)
        except FileExistsError:
            continue
        missing.chmod(0o700)


def _numbers(root: str) -> list[int]:
    return [int(name) for name in _names(root)]


def _names(root: str) -> list[str]:
    try:
        names = os.listdir(root)
    except OSError:
        return []
    return [name for name in names if is_run(name)]
