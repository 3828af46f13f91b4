"""Leases: who computes what, among the runs that share a run directory.

::

    claim ─► take ─┬─ leases/KEY did not exist: ours, until release ──► removed
                   └─ it does: whose? ─┬─ alive ──► not ours; ask again later
                                       └─ over ───► put aside by a rename, and take once more

Guarantees: a lease is only ever a reason to wait.  One that is lost, stale, or cannot be written
costs duplicate work; what a call comes to is told by its record alone.  Nobody waits for a run that
has ended, for a process that died on this machine, or for a heart elsewhere that has stopped.

Assumptions: exclusive creation, on one host or over a network file system.  No lock of the
operating system.  Clocks of hosts are compared only for a run without a heartbeat.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

from . import heartbeat
from .backend import Backend
from .heartbeat import Beat
from .rundir import is_run

NAME = "leases"  # in the directory where runs are kept
SILENT_SECONDS = 90.0  # a heart elsewhere that was not seen to beat for so long has stopped
UNREADABLE_SECONDS = 10.0  # for which a lease may be without its text: it is created, then written
_AT_ONCE = 4  # stale leases of one key that are put aside before it is asked for again
_WHO = ("pid", "host", "boot", "space", "start")


class Leases:
    """The leases that one run takes.

    Args:
        backend: where they are.
        root: the directory where runs are kept.
        run: name of this run's directory there.

    Attributes:
        trouble: called once with what is wrong, if leases cannot be written.
    """

    def __init__(self, backend: Backend, root: str, run: str) -> None:
        self._backend = backend
        self._root = backend.absolute(root)
        self._run = run
        self._pid = os.getpid()
        self._me = {**heartbeat.identify(), "run": run}
        self.trouble: Callable[[OSError], None] | None = None
        self._held: dict[str, str] = {}  # path -> token
        self.directory = f"{self._root}/{NAME}"

    def claim(self, key: bytes) -> Claim:
        """What a call may take the lease of its key with."""
        return Claim(self, key)

    @property
    def held(self) -> int:
        """How many leases this run holds."""
        return len(self._held)

    def release_all(self) -> None:
        """Let go of everything; at the end of the run."""
        for path, token in list(self._held.items()):
            self.let_go(path, token)

    def sweep(self) -> None:
        """Remove what runs have left that died."""
        try:
            names = self._backend.list(self.directory)
        except OSError:
            return
        for name in names:
            path = f"{self.directory}/{name}"
            found = heartbeat.read(self._backend, path)
            if found is not None and not self.holder_lives(found, self.beat_of(found)):
                with contextlib.suppress(OSError):
                    self.put_aside(path, found)

    # -- for claims --------------------------------------------------------------------------------

    def create(self, path: str) -> bool:
        """Make a lease ours, or find that it cannot be written; False if it is somebody's."""
        token = secrets.token_hex(8)
        try:
            file = self._create(path)
        except FileExistsError:
            return False
        except OSError as error:
            self.cannot(error)
            return True
        self._held[path] = token
        try:
            try:
                text = {**self._me, "token": token, "beat": time.time()}
                file.write(json.dumps(text).encode())
            finally:
                file.close()
        except OSError as error:
            self._held.pop(path, None)
            self._backend.discard(path)
            self.cannot(error)
        return True

    def let_go(self, path: str, token: str | None = None) -> None:
        """Remove a lease, if it is still ours; one that cannot be removed is tried again later."""
        token = token or self._held.get(path)
        if token is None or self._pid != os.getpid():  # a forked child holds nothing
            return
        found = heartbeat.read(self._backend, path)
        if found is not None and found.get("token") == token:
            try:
                self._backend.remove(path)
            except OSError:
                return
        self._held.pop(path, None)

    def is_ours(self, path: str) -> bool:
        """Whether this run holds a lease."""
        return path in self._held

    def beat_of(self, lease: Beat) -> Beat | None:
        """The heartbeat of the run that holds a lease; None if it has none, or is another's."""
        run = lease.get("run")
        if not (isinstance(run, str) and is_run(run)):
            return None
        beat = heartbeat.read(self._backend, f"{self._root}/{run}/{heartbeat.NAME}")
        if beat is None or any(beat.get(name) != lease.get(name) for name in _WHO):
            return None
        return beat

    def holder_lives(self, lease: Beat, beat: Beat | None) -> bool:
        """Whether the run that holds a lease is still at it, as far as a first look tells."""
        if lease.get("run") == self._run and lease.get("token") not in self._held.values():
            # Our own, which could not be removed; or of one that had our name before us.
            return False
        return heartbeat.is_alive(lease if beat is None else beat)

    def put_aside(self, path: str, dead: Beat | None) -> None:
        """Take a stale lease away, unless someone else has taken it over meanwhile.

        Raises:
            OSError: it cannot be taken away.
        """
        aside = f"{path}-{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            self._backend.rename(path, aside)
            found = heartbeat.read(self._backend, aside)
            if (found or {}).get("token") != (dead or {}).get("token"):
                self._backend.rename(aside, path)
                return
        self._backend.discard(aside)

    def cannot(self, error: OSError) -> None:
        """Tell, once, that leases cannot be written."""
        tell, self.trouble = self.trouble, None
        if tell is not None:
            tell(error)

    def read(self, path: str) -> Beat | None:
        return heartbeat.read(self._backend, path)

    def _create(self, path: str) -> Any:
        try:
            return self._backend.create(path)
        except FileNotFoundError:
            pass
        try:
            self._backend.make_directory(self.directory)
        except FileExistsError as error:
            raise NotADirectoryError(*error.args) from error
        return self._backend.create(path)


class Claim:
    """One call's lease, held or wished for; used by one thread at a time.

    Attributes:
        key: what it is for.
    """

    __slots__ = ("_leases", "_mark", "_path", "_since", "key")

    def __init__(self, leases: Leases, key: bytes) -> None:
        self._leases = leases
        self.key = key
        self._path = f"{leases.directory}/{key.hex()}"
        self._mark: Any = None  # what was seen of the holder last
        self._since = 0.0  # and when it was seen first

    def take(self, now: float) -> bool:
        """Take the lease.

        Args:
            now: seconds on a clock that never goes backwards.

        Returns:
            Whether to go ahead: it is ours, or cannot be written. False: someone else has it.
        """
        leases = self._leases
        if leases.is_ours(self._path):
            return True
        for _ in range(_AT_ONCE):
            if leases.create(self._path):
                return True
            lease = leases.read(self._path)
            if not self._stale(lease, now):
                return False
            try:
                leases.put_aside(self._path, lease)
            except OSError as error:
                leases.cannot(error)
                return True
        return False

    def release(self) -> None:
        """Let others have it; harmless if it is not held."""
        self._leases.let_go(self._path)

    def _stale(self, lease: Beat | None, now: float) -> bool:
        if lease is None:
            return self._unchanged_for(("?",), now) > UNREADABLE_SECONDS
        beat = self._leases.beat_of(lease)
        if not self._leases.holder_lives(lease, beat):
            return True
        if heartbeat.is_here(lease):
            return False  # it was asked for itself
        mark = lease.get("token"), (beat or lease).get("beat")
        return self._unchanged_for(mark, now) > SILENT_SECONDS

    def _unchanged_for(self, mark: Any, now: float) -> float:
        """For how long this has been seen of the holder, by our own clock."""
        if mark != self._mark:
            self._mark, self._since = mark, now
        return now - self._since
