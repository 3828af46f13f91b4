"""Run directories: claiming a number for a run, and finding the checkpoints of earlier ones.

``runinfo/000``, ``runinfo/001``, ... ``runinfo/1000`` are ordered as numbers.  A number is claimed
by an exclusive mkdir, which one of any number of simultaneous starts wins, on every file system.
In an object store there is no mkdir: see ``remote.py``.  Where nothing excludes others there, the
number is followed by a random part, ``003-9f2c1a``; runs of one number are ordered by it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from parsl_ckpt.errors import StoreError

from .where import backend_of, is_url, join, plain

if TYPE_CHECKING:
    from .where import Everywhere

CHECKPOINT = "checkpoint"
LOG = "parsl_ckpt.log"  # what a run says of itself, beside its checkpoint
# Bounded: nobody's thousand-digit directory name is ours (and int() refuses it).
_RUN = re.compile(r"([0-9]{1,15})(-[0-9a-f]{6})?")


def order_of(name: str) -> tuple[int, str]:
    """What runs are sorted by; (-1, name) for a name that is no run's.

    >>> order_of("012"), order_of("003-9f2c1a"), order_of("notes")
    ((12, '012'), (3, '003-9f2c1a'), (-1, 'notes'))
    """
    found = _RUN.fullmatch(name)
    return (int(found[1]) if found is not None else -1, name)


def claim(rundir: str | os.PathLike[str] = "runinfo", *, backend: Everywhere | None = None) -> str:
    """Make the next run directory and return its path.

    Args:
        rundir: where runs are kept; made, for its owner only, if it is missing.
        backend: where that is, if it is a URL.

    Returns:
        ``rundir`` as it was given, joined with the run's number: ``"runinfo/000"``.

    Raises:
        StoreError: the directory cannot be made.
    """
    root = plain(rundir)
    if is_url(root):
        return join(root, (backend or backend_of(root)).remote(root).claim_run())
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


def claim_run(
    rundir: str | os.PathLike[str] = "runinfo", *, backend: Everywhere | None = None
) -> str:
    """Like :func:`claim`, but return the run's number only: ``"000"``."""
    return os.path.basename(claim(rundir, backend=backend))


def get_all_checkpoints(
    rundir: str | os.PathLike[str] = "runinfo", *, backend: Everywhere | None = None
) -> list[str]:
    """The checkpoint directories of all earlier runs, oldest first by number.

    Args:
        rundir: where runs are kept, or a URL; a relative path stays relative in the answer.
        backend: where that is, if it is a URL.

    Returns:
        Directories such as ``"runinfo/000/checkpoint"``; empty if there are none.
    """
    root = plain(rundir)
    if is_url(root):
        return _remote_checkpoints(root, backend or backend_of(root))
    found: list[str] = []
    for name in sorted(_names(root), key=order_of):
        path = os.path.join(root, name, CHECKPOINT)
        if os.path.isdir(path):
            found.append(path)
    return found


def get_last_checkpoint(rundir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint directory of the last run that has one, as a list of at most one."""
    return get_all_checkpoints(rundir)[-1:]


def is_run(name: str) -> bool:
    """Whether a directory of this name is one of a run."""
    return _RUN.fullmatch(name) is not None


def run_of(directory: str) -> str:
    """The name of the run that a checkpoint belongs to.

    >>> run_of("runinfo/012/checkpoint"), run_of("results/store"), run_of("")
    ('012', 'store', 'memory')
    """
    parent, name = os.path.split(directory.rstrip("/"))
    run = os.path.basename(parent)
    return run if name == CHECKPOINT and run[:1].isdigit() else name or "memory"


def _make_root(root: str) -> None:
    path = Path(root)
    for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
        try:
            missing.mkdir(0o700)
        except FileExistsError:
            continue
        missing.chmod(0o700)


def _numbers(root: str) -> list[int]:
    return [order_of(name)[0] for name in _names(root)]


def _names(root: str) -> list[str]:
    try:
        names = os.listdir(root)
    except OSError:
        return []
    return [name for name in names if is_run(name)]


def _remote_checkpoints(root: str, backend: Everywhere) -> list[str]:
    remote = backend.remote(root)
    try:
        names = sorted(filter(is_run, remote.list(root)), key=order_of)
        paths = [join(root, name, CHECKPOINT) for name in names]
        remote.prefetch(paths)
    except OSError as error:
        raise remote.objects.unreachable(error, "Reading") from error
    return [path for path in paths if remote.changed(path) is not None]
