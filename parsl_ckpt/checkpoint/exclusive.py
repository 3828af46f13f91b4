"""One at a time looks after a run directory: the file ``.maintenance`` says who.

Rule of this file: no lock of the operating system.  The file is created exclusively and beats like
a run; one whose owner has died is put aside by a rename.  Runs and readers never look at it, so a
mistake here costs duplicate work, and lost records never: what maintenance removes, it first wrote
elsewhere, or was told to remove.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator

from parsl_ckpt.errors import StoreBusyError

from . import heartbeat, inventory
from .backend import Backend

NAME = ".maintenance"


@contextlib.contextmanager
def alone(backend: Backend, place: str) -> Iterator[None]:
    """Be the only one who maintains a directory, for the time of a ``with`` block.

    Args:
        backend: where the directory is.
        place: a run directory, or a single checkpoint directory.

    Raises:
        StoreBusyError: someone else is at it.
    """
    path = f"{place}/{NAME}"
    mine = {**heartbeat.identify(), "token": secrets.token_hex(8)}
    while not _claim(backend, path, mine):
        found = heartbeat.read(backend, path)
        if not _abandoned(backend, place) if found is None else heartbeat.is_alive(found):
            raise busy(place, found)
        _put_aside(backend, path, found or {})
    heart = heartbeat.Heartbeat(place, backend=backend, name=NAME)
    heart._facts = mine
    heart.start()
    try:
        yield
    finally:
        heart.stop()
        backend.discard(path)


def busy(place: str, beat: heartbeat.Beat | None) -> StoreBusyError:
    """The error for a directory that someone else maintains."""
    who = f"process {beat.get('pid')} on {beat.get('host')}" if beat else "someone"
    return StoreBusyError(
        f"{place} is being looked after by {who}.",
        hint=f"Wait until that is done; if nothing runs there, remove {place}/{NAME}.",
        path=place,
    )


def _claim(backend: Backend, path: str, mine: heartbeat.Beat) -> bool:
    try:
        file = backend.create(path)
    except FileExistsError:
        return False
    try:
        file.write(json.dumps({**mine, "beat": time.time()}).encode())
    finally:
        file.close()
    return True


def _abandoned(backend: Backend, place: str) -> bool:
    """Whether a file that says nothing is left of someone who died while he made it."""
    for file in inventory.entries(backend, place):
        if file.name == NAME:
            return time.time() - file.changed > heartbeat.FOREIGN_SECONDS
    return True  # gone meanwhile


def _put_aside(backend: Backend, path: str, dead: heartbeat.Beat) -> None:
    """Take a dead owner's file away, unless someone else has put his own in its place."""
    aside = f"{path}-{secrets.token_hex(8)}"
    with contextlib.suppress(FileNotFoundError):
        backend.rename(path, aside)
        found = heartbeat.read(backend, aside)
        if found is not None and found.get("token") != dead.get("token"):
            backend.rename(aside, path)
            return
    backend.discard(aside)
