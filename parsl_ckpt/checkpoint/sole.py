"""Being the only one who does something, by a file for each who wants to.

::

    put STEM-mine, "claiming" ─► list ─┬─ no other lives ─► "running", beats ─► removed at the end
                                       ├─ another is claiming too ─► take mine away, try again
                                       └─ another runs ─► take mine away, refused

Guarantees: of any number of claimants at most one runs: each puts its file before it looks, so of
two at least one sees the other.  What a dead claimant has left is removed by whoever sees it; it
cannot be anyone else's, because no name is used twice.  Nobody alive on this machine is taken for
dead.

Assumptions: what was put is seen by whoever lists afterwards; and those of ``heartbeat.py``.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator

from . import heartbeat
from .backend import Backend, Writable
from .inventory import entries
from .local import LocalBackend

__all__ = ["sole"]

_TRIES = 12
_PAUSE = 0.002  # seconds, doubled with each try and left to chance

Refuse = Callable[[str, "heartbeat.Beat | None"], Exception]


@contextlib.contextmanager
def sole(
    backend: Backend,
    place: str,
    stem: str,
    refuse: Refuse,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[None]:
    """Be the only one, for the time of a ``with`` block.

    Args:
        backend: where the directory is.
        place: the directory; it exists.
        stem: what the names of the files begin with; of no other file there.
        refuse: makes the error of the file that is in the way and of what is known of its owner.
        pause: waits for so many seconds.

    Raises:
        OSError: nothing can be written.
        Exception: what ``refuse`` makes, because someone else is at it.
    """
    facts = {**heartbeat.identify(), "began": time.time()}
    path = _claimed(backend, place, stem, facts, refuse, pause)
    heart = heartbeat.Heartbeat(place, backend=backend, name=path.rpartition("/")[2])
    heart._facts = {**facts, "stage": "running"}
    try:
        heart.start()
        yield
    finally:
        if facts["pid"] == os.getpid():  # else a forked child: it is its parent's
            heart.stop()
            backend.discard(path)


def _claimed(
    backend: Backend,
    place: str,
    stem: str,
    facts: heartbeat.Beat,
    refuse: Refuse,
    pause: Callable[[float], object],
) -> str:
    """The file of this claimant, where it is the only one."""
    for attempt in range(_TRIES):
        path = f"{place}/{stem}-{secrets.token_hex(8)}"
        try:
            _put(backend, place, path, {**facts, "stage": "claiming", "beat": time.time()})
            other = _other(backend, place, stem, path)
        except BaseException:
            backend.discard(path)
            raise
        if other is None:
            return path
        backend.discard(path)
        name, beat = other
        if attempt == _TRIES - 1 or (beat is not None and beat.get("stage") != "claiming"):
            raise refuse(f"{place}/{name}", beat)
        pause(_PAUSE * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000))
    raise AssertionError("unreachable")


def _put(backend: Backend, place: str, path: str, facts: heartbeat.Beat) -> None:
    data = json.dumps(facts).encode()

    def fill(file: Writable) -> None:
        file.write(data)

    if isinstance(backend, LocalBackend):  # whole, whoever dies in between
        temporary = f"{place}/.tmp-{secrets.token_hex(12)}"
        backend.write_whole(path, temporary, fill, durable=False)
        return
    file = backend.create(path)  # elsewhere this is what is there at once
    try:
        fill(file)
    finally:
        file.close()


def _other(
    backend: Backend, place: str, stem: str, mine: str
) -> tuple[str, heartbeat.Beat | None] | None:
    """Someone else who lives; what the dead have left is removed on the way."""
    found: tuple[str, heartbeat.Beat | None] | None = None
    for name in backend.list(place):
        path = f"{place}/{name}"
        if not name.startswith(f"{stem}-") or path == mine:
            continue
        beat = heartbeat.read(backend, path)
        if beat is None:
            if _there(backend, place, name):
                found = found or (name, None)  # not written yet, or by nobody who can tell
        elif not heartbeat.is_alive(beat):
            backend.discard(path)
        elif found is None or beat.get("stage") != "claiming":
            found = name, beat
    return found


def _there(backend: Backend, place: str, name: str) -> bool:
    """Whether a file that says nothing is to be reckoned with; one that is old is removed."""
    for file in entries(backend, place):
        if file.name == name:
            if time.time() - file.changed <= heartbeat.FOREIGN_SECONDS:
                return True
            backend.discard(f"{place}/{name}")
    return False
