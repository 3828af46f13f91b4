"""The local directory where a run's files stand until they are uploaded, and longer if it died.

::

    <place>/<digest of the URL>/003-9f2c1a-<random>/owner.json   who writes here, and lives
                                                    files/003-9f2c1a/checkpoint/...

Guarantees: what was written here survives the death of the process, and with ``sync`` a power cut.
A spool belongs to one process; one whose owner has died is taken over by whoever renames it first,
and no other.

Assumptions: the heartbeat's (:mod:`.heartbeat`).  Where hosts share the place, a process that was
stopped for longer than ``FOREIGN_SECONDS`` may lose its spool to another host.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator

from blake3 import blake3

from parsl_ckpt.errors import RemoteStoreError

from . import heartbeat
from .backend import Buffer, Writable
from .heartbeat import Heartbeat
from .local import LocalBackend

VARIABLE = "PARSL_CKPT_SPOOL"
OWNER = "owner.json"
FILES = "files"
HIDDEN = "."  # names that begin so are not finished, and never uploaded
_local = LocalBackend()


def place_of(url: str) -> str:
    """The directory of the spools of one run directory; it need not exist."""
    root = os.environ.get(VARIABLE)
    if not root:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        root = os.path.join(cache, "parsl_ckpt", "spool")
    return os.path.join(os.path.abspath(root), blake3(url.encode()).hexdigest(16))


class Spool:
    """One spool directory.

    Attributes:
        path: the directory.
        files: what is below it that is uploaded; relative paths are those below the URL.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.files = f"{path}/{FILES}"
        self._heart: Heartbeat | None = None

    @classmethod
    def make(cls, url: str, run: str) -> Spool:
        """A spool of this process for a run below a URL."""
        place = place_of(url)
        spool = cls(f"{place}/{run}-{secrets.token_hex(6)}")
        try:
            _local.make_directory(spool.files, durable=True)
            with contextlib.suppress(FileExistsError), open(f"{place}/url", "x") as file:
                file.write(f"{url}\n")  # for people who look what this is
        except OSError as error:
            raise RemoteStoreError(
                f"The spool {spool.path} cannot be made: {error}.",
                hint=f"Set {VARIABLE} to a directory on a local disk that can be written to.",
                path=spool.path,
                url=url,
            ) from error
        spool.own()
        return spool

    @classmethod
    def left_over(cls, url: str) -> Iterator[Spool]:
        """Take over the spools of runs below a URL that have died here."""
        place = place_of(url)
        try:
            names = sorted(os.listdir(place))
        except OSError:
            return
        for name in names:
            path = f"{place}/{name}"
            if name == "cache" or not os.path.isdir(path) or _in_use(path):
                continue
            mine = cls(f"{place}/{name.partition('+')[0]}+{secrets.token_hex(6)}")
            try:
                os.rename(path, mine.path)
            except OSError:
                continue  # someone else was first
            mine.own()
            yield mine

    def own(self) -> None:
        """Say that this process writes here, again and again."""
        self._heart = Heartbeat(self.path, name=OWNER, period=60.0)
        self._heart.start()

    def at(self, path: str) -> str:
        """Where a file stands."""
        return f"{self.files}/{path}"

    def paths(self) -> list[str]:
        """What is to be uploaded, relative."""
        found = []
        for folder, _, names in os.walk(self.files):
            inside = os.path.relpath(folder, self.files)
            for name in names:
                if not name.startswith(HIDDEN):
                    found.append(name if inside == "." else f"{inside}/{name}")
        return found

    def let_go(self) -> None:
        """Leave it to the next start."""
        heart, self._heart = self._heart, None
        if heart is not None:
            heart.stop()

    def remove(self) -> None:
        """Everything in it is uploaded."""
        self.let_go()
        shutil.rmtree(self.path, ignore_errors=True)


class Spooled(Writable):
    """A file in a spool.

    Attributes:
        size: bytes that it holds.
        changes: how often it was changed.
        closed: whether that is over.
    """

    def __init__(self, path: str, grown: Callable[[int], None]) -> None:
        self._file = _local.create(path)
        self._grown = grown
        self.size = 0
        self.changes = 0
        self.closed = False

    def write(self, data: Buffer) -> None:
        self._file.write(data)
        length = memoryview(data).nbytes
        self.size += length
        self.changes += 1
        self._grown(length)

    def sync(self) -> None:
        self._file.sync()

    def truncate(self, size: int) -> None:
        self._file.truncate(size)
        self.size = size
        self.changes += 1

    def close(self) -> None:
        self._file.close()
        self.closed = True


def _in_use(path: str) -> bool:
    beat = heartbeat.read(_local, f"{path}/{OWNER}")
    if beat is not None:
        return heartbeat.is_alive(beat)
    try:  # being made, or its owner was killed while he made it
        return time.time() - os.stat(path).st_mtime < heartbeat.FOREIGN_SECONDS
    except OSError:
        return True
