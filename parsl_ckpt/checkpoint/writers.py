"""Who writes to a directory that is no run's, and making room in it while nobody does.

::

    writer: put .writer-TOKEN ─► .maintenance there, of someone alive? ─ yes ─► wait, look again
                                       └─ no ─► write ─► remove .writer-TOKEN
    room:   create .maintenance ─► a .writer-... of someone alive? ─ yes ─► refused
                                       └─ no ─► write anew, remove ─► remove .maintenance

Guarantees: a writer and whoever makes room are never at it together: each puts its file before it
looks for the other's, so at least one of them sees the other.  What a dead writer has left behind
is in nobody's way, and is removed by the next one.  Readers look at none of it.

Assumptions: those of ``heartbeat.py``, and that what was put is seen by whoever looks afterwards.
"""

from __future__ import annotations

import os
import secrets
import time

from parsl_ckpt.errors import StoreBusyError, StoreError

from . import heartbeat
from .backend import Backend
from .exclusive import NAME as MAINTENANCE
from .exclusive import alone
from .inventory import WRITER, Place, listing, size, writer_of
from .local import LocalBackend
from .where import is_url

PATIENCE = 600.0  # seconds for which a writer waits for someone who makes room
_PAUSE = 0.02


class Mark:
    """Says that this process writes to a directory, until it is closed.

    Args:
        directory: the checkpoint directory; made if it is missing.

    Raises:
        OSError: it cannot be made, or written to.
        StoreBusyError: someone has been making room there for very long.
    """

    def __init__(self, directory: str) -> None:
        self._heart: heartbeat.Heartbeat | None = None
        if is_url(directory):
            return  # nobody makes room there but by hand
        backend = LocalBackend()
        backend.make_directory(directory)
        heart = heartbeat.Heartbeat(directory, backend=backend, name=WRITER + secrets.token_hex(16))
        heart.start()
        self._heart = heart
        self._backend = backend
        try:
            _remove_dead(backend, directory)
            _wait(backend, directory)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Say so no longer."""
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.stop()
            self._backend.discard(heart.path)


def _remove_dead(backend: Backend, directory: str) -> None:
    for name in listing(backend, directory):
        if name.startswith(WRITER):
            path = f"{directory}/{name}"
            found = heartbeat.read(backend, path)
            if found is not None and not heartbeat.is_alive(found):
                backend.discard(path)


def _wait(backend: Backend, directory: str) -> None:
    until = time.monotonic() + PATIENCE
    path = f"{directory}/{MAINTENANCE}"
    while backend.size_of(path) is not None:
        # Who has not written his name there yet looks for ours after he has.
        if not heartbeat.is_alive(heartbeat.read(backend, path)):
            return
        if time.monotonic() > until:
            raise StoreBusyError(
                f"Someone is making room in {directory}.",
                hint=f"If nobody does, remove {path}.",
                path=directory,
            )
        time.sleep(_PAUSE)


def make_room(directory: str) -> int:
    """Write anew what counts and remove the rest; how many bytes that gave.

    Args:
        directory: a checkpoint directory.

    Raises:
        StoreBusyError: someone writes there, or looks after it.
        StoreError: it is a URL.
        OSError: it could not be written; nothing is lost.
    """
    if is_url(directory):
        raise StoreError(
            f"Room cannot be made in {directory}, which is not on this machine.",
            hint="Keep fewer rows, or remove it when the work is done.",
            path=directory,
        )
    # What only few programs come to is not imported by all.
    from . import rewrite
    from .compact import compact
    from .maintain import signer_of

    backend = LocalBackend()
    if not os.path.isdir(directory):
        return 0
    with alone(backend, directory):
        writer = writer_of(backend, directory)
        if writer is not None:
            raise StoreBusyError(
                f"Process {writer.get('pid')} on {writer.get('host')} writes to {directory}.",
                hint="Wait until it has left its session.",
                path=directory,
            )
        # There is a beat, though an empty one: it is known that nobody writes.
        place = Place(os.path.basename(directory), None, directory, "ended", {})
        before = size(backend, place)
        compact(backend, [place], signer=signer_of(None, directory))
        rewrite.sweep(backend, directory)
        _remove_dead(backend, directory)
        return max(before - size(backend, place), 0)
