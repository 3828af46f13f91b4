"""A backend over an object store: written to a local spool, uploaded behind the writer's back.

::

    create, write, sync, rename ─► spool ─ uploader ─► objects
    open, list ─► queued, spool, left-over spools ─► objects: blocks in memory, files in a cache

Guarantees: when a write returns, the bytes are in a file of this machine (a ``sync`` puts them on
its disk), and neither the death of the process nor of the network loses them: the next backend for
this URL on this machine takes over the spool.  Another machine sees what was uploaded, whole or as
a prefix that was whole.  Who writes never waits for the network, except to create what is neither
segment, blob nor index (a lease): that is exclusive everywhere, if the service can say so.

Assumptions: of the object store, that a put replaces an object at once and a get sees it; listings
may lag.  Segments only grow, blobs never change.  A rename of what is uploaded already is a copy.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from parsl_ckpt.errors import NotUploadedError

from .backend import Backend, Listed, Owner, Readable, Writable
from .cache import Blocks, Files
from .claims import claim
from .local import LocalBackend
from .objects import Info, Objects, shown
from .ranges import RemoteReader, Seen
from .rundir import is_run
from .small import Direct, Held, Queued
from .spool import HIDDEN, Spool, Spooled, place_of
from .upload import Uploader

PERIOD = 10.0
UPLOAD_BYTES = 64 << 20
KEEP_BYTES = 2 << 30
SALVAGE_SECONDS = 600.0
_AT_ONCE = 16  # requests, when several checkpoints are opened
_BULK = re.compile(r"(.*/)?(\.(tmp|spool)-[^/]*|[^/]*\.(seg|idx)|blobs/[0-9a-f]{2}/[0-9a-f]{64})")
_local = LocalBackend()
_T = TypeVar("_T")


class RemoteBackend(Backend):
    """What is below a URL.

    Args:
        url: any that fsspec knows.
        options: for fsspec's file system (``storage_options``).
        period: seconds between two uploads.
        upload_bytes: bytes after which an upload does not wait for its time.
        keep_bytes: bytes of uploaded files that are kept in the spool until the end.
        on_failure: told when an upload failed, with the number of times it had recovered.

    Raises:
        RemoteStoreError: the libraries that it needs are not installed.

    >>> backend = RemoteBackend("memory://doctest-backend")
    >>> backend.make_directory("memory://doctest-backend/000/checkpoint")
    >>> file = backend.create("memory://doctest-backend/000/checkpoint/a.seg")
    >>> file.write(b"hello"); file.close()
    >>> backend.open("memory://doctest-backend/000/checkpoint/a.seg").read(1, 3)
    b'ell'
    >>> backend.close()
    >>> RemoteBackend("memory://doctest-backend").list("memory://doctest-backend/000/checkpoint")
    ['a.seg']
    """

    uploads = True

    def __init__(
        self,
        url: str,
        options: Mapping[str, Any] | None = None,
        *,
        period: float = PERIOD,
        upload_bytes: int = UPLOAD_BYTES,
        keep_bytes: int = KEEP_BYTES,
        on_failure: Callable[[BaseException, int], None] | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.objects = Objects(self.url, options)
        self.on_failure = on_failure
        self._settings = {
            "period": period, "batch_bytes": upload_bytes, "keep_bytes": keep_bytes
        }  # fmt: skip
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._others: tuple[Spool, ...] = ()  # left over, or the parent's of a forked child
        self._adopted: list[Spool] = []
        self._claimed: set[str] = set()  # runs that nobody else writes to
        self._writing: dict[str, Spooled] = {}
        self._uploader = self._make_uploader()
        self._seen = Seen(self.objects, Blocks(), Files(f"{place_of(self.url)}/cache"))
        _backends.add(self)

    # --- beginning and end ------------------------------------------------------------------------

    def begin(self) -> None:
        """Take over and upload what runs that died on this machine have left.

        Raises:
            RemoteStoreError: the place cannot be reached.
        """
        try:
            self._seen.list_ahead("")
        except OSError as error:
            raise self.objects.unreachable(error, "Reading") from error
        for spool in Spool.left_over(self.url):
            self._adopted.append(spool)
            self._others = (*self._others, spool)
            self._adopt(spool)
        if self._adopted:
            self.flush_quietly(SALVAGE_SECONDS)
            self._drop_adopted()

    def claim_run(self) -> str:
        """Claim the next run id: ``"003"``, or ``"003-9f2c1a"`` where others cannot be excluded.

        Raises:
            RemoteStoreError: nothing can be written there.
        """
        try:
            run = claim(self.objects, [info.name for info in self._seen.recent("").infos])
        except OSError as error:
            raise self.objects.unreachable(error, "Beginning a run under") from error
        self._claimed.add(run)
        return run

    def flush(self, seconds: float | None = None) -> None:
        """Upload what is written.

        Raises:
            NotUploadedError: not all of it could be; it is in the spool.
        """
        failure = self._uploader.flush(seconds)
        if failure is not None:
            raise self._not_uploaded(failure, "It is tried again while the run goes on.")

    def flush_quietly(self, seconds: float | None = None) -> None:
        """Upload what is written, as far as that is possible."""
        with contextlib.suppress(NotUploadedError):
            self.flush(seconds)

    def close(self, seconds: float | None = None) -> None:
        """Upload what is written, and remove the spool; or leave it to the next start.

        Raises:
            NotUploadedError: not all of it could be uploaded; it is in the spool.
        """
        failure = self._uploader.close(seconds)
        error = None
        if failure is not None:
            hint = "The next start on this machine uploads it; until then other machines compute "
            error = self._not_uploaded(failure, hint + "again what they do not see.")
        self._drop_adopted()
        for spool in self._adopted:
            spool.let_go()
        spool_now, self._spool = self._spool, None
        if spool_now is not None:
            spool_now.let_go() if failure is not None else spool_now.remove()
        self._claimed.clear()  # what there is of those runs is elsewhere now
        self._uploader = self._make_uploader()
        if error is not None:
            raise error

    def _not_uploaded(self, failure: BaseException, hint: str) -> NotUploadedError:
        files, size = self._uploader.waiting()
        spools = [spool.path for spool in (self._spool, *self._adopted) if spool is not None]
        return NotUploadedError(
            f"{files} file(s), {size} bytes, are not uploaded to {shown(self.url)} ({failure}). "
            f"They are safe in {', '.join(spools)}.",
            hint=hint,
            path=self.url, spool=spools[0] if spools else "", files=files, bytes=size,
        )  # fmt: skip

    def _make_uploader(self) -> Uploader:
        return Uploader(self.objects, failed=self._tell, **self._settings)  # type: ignore[arg-type]

    def _tell(self, error: BaseException) -> None:
        if self.on_failure is not None:
            self.on_failure(error, self._uploader.incidents)

    def _adopt(self, spool: Spool) -> None:
        """Have a spool uploaded, except for what was before its owner died."""
        there: dict[str, dict[str, int]] = {}
        for path in spool.paths():
            parent, _, name = path.rpartition("/")
            if parent not in there:
                try:
                    there[parent] = {info.name: info.size for info in self.objects.list(parent)}
                except OSError:
                    there[parent] = {}
            # Files only grow, so that one of this size is this one.
            if there[parent].get(name) != os.path.getsize(spool.at(path)):
                self._uploader.add(path, spool, None)

    def _drop_adopted(self) -> None:
        for spool in list(self._adopted):
            if not self._uploader.waits(spool):
                self._adopted.remove(spool)
                self._others = tuple(one for one in self._others if one is not spool)
                spool.remove()

    # --- directories ------------------------------------------------------------------------------

    def absolute(self, path: str) -> str:
        return path.rstrip("/")

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        relative = self._relative(path)
        if relative:
            _local.make_directory(self._own(relative).at(relative), durable=durable)

    def list(self, path: str) -> Sequence[str]:
        relative = self._relative(path)
        remote, here = self._uploaded(relative), self._here(relative, _local.list)
        if relative and not (remote or here):
            raise _missing(path)
        names = dict.fromkeys(info.name for info in remote)
        for listed in here:
            names.update(dict.fromkeys(listed))
        return [*names]

    def entries(self, path: str) -> builtins.list[Listed]:
        relative = self._relative(path)
        remote, here = self._uploaded(relative), self._here(relative, _local.entries)
        if relative and not (remote or here):
            raise _missing(path)
        found = {
            info.name: Listed(info.name, info.size, info.changed)
            for info in remote
            if not info.directory
        }
        for listed in here:
            found.update((one.name, one) for one in listed)
        return [*found.values()]

    def owner(self, path: str) -> Owner | None:
        relative = self._relative(path)
        here = not relative or any(os.path.isdir(place) for place in self._places(relative))
        if not here and (self._all_here(relative) or not self._seen.list_ahead(relative)):
            raise _missing(path)
        return None

    def size_of(self, path: str) -> int | None:
        relative = self._relative(path)
        for place in self._places(relative):
            if (size := _local.size_of(place)) is not None:
                return size
        parent, _, name = relative.rpartition("/")
        if self._all_here(relative):
            return None
        with contextlib.suppress(OSError):
            for info in self._seen.recent(parent).infos:
                if info.name == name and not info.directory:
                    self._seen.note(relative, info)
                    return info.size
        return None

    def changed(self, path: str) -> int | None:
        relative = self._relative(path)
        marks = [_local.changed(place) for place in self._places(relative)]
        if not self._all_here(relative):
            with contextlib.suppress(OSError):
                recent = self._seen.recent(relative)
                marks.append(recent.since if recent.infos else None)
        found = [mark for mark in marks if mark is not None]
        return max(found) if found else None

    def remove_directory(self, path: str) -> None:
        relative = self._relative(path)
        for place in self._places(relative):
            _local.remove_directory(place)

    def prefetch(self, paths: Sequence[str]) -> None:
        """List several directories at once; each answer serves one time."""
        wanted = [self._relative(path) for path in paths]
        wanted = [path for path in wanted if not self._all_here(path)]
        if len(wanted) > 1:
            with ThreadPoolExecutor(min(_AT_ONCE, len(wanted))) as pool:
                for _ in pool.map(self._seen.list_ahead, wanted):
                    pass

    def _uploaded(self, relative: str) -> builtins.list[Info]:
        return [] if self._all_here(relative) else self._seen.list(relative)

    def _here(self, relative: str, look: Callable[[str], _T]) -> builtins.list[_T]:
        """What there is of a directory on this machine, the newest last."""
        found = []
        for place in reversed(self._places(relative)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.append(look(place))
        return found

    # --- files ------------------------------------------------------------------------------------

    def create(self, path: str) -> Writable:
        relative = self._relative(path)
        if not _is_bulk(relative):
            if self.objects.claim(relative, b"") is False:
                raise FileExistsError(errno.EEXIST, "It exists already", path)
            return Direct(self.objects, relative)
        spool = self._own(relative)
        file = Spooled(spool.at(relative), self._uploader.grown)
        if _is_visible(relative):
            self._uploader.add(relative, spool, file)
        else:
            with self._lock:
                self._writing = {name: one for name, one in self._writing.items() if not one.closed}
                self._writing[relative] = file
        return file

    def open(self, path: str) -> Readable:
        relative = self._relative(path)
        queued = self._uploader.queued(relative)
        if queued is not None:
            return Queued(queued)
        for place in self._places(relative):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                return _local.open(place)
        if self._all_here(relative):
            raise _missing(path)
        return RemoteReader(self._seen, relative, self._seen.version(relative))

    def rename(self, old: str, new: str) -> None:
        source, target = self._relative(old), self._relative(new)
        spool = self._own(source)
        place = spool.at(source)
        if not os.path.exists(place):
            self._move(source, target)
        elif _is_bulk(target):
            os.replace(place, spool.at(target))
            with self._lock:
                writer = self._writing.pop(source, None)
            if _is_visible(target):
                open_still = writer is not None and not writer.closed
                self._uploader.add(target, spool, writer if open_still else None)
        else:
            with open(place, "rb") as file:
                self._uploader.small(target, file.read())
            os.unlink(place)

    def remove(self, path: str) -> None:
        relative = self._relative(path)
        here = False
        for place in self._places(relative):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(place)
                here = True
        if here and not _is_visible(relative) and _is_bulk(relative):
            return  # such are never uploaded
        if here or self._uploader.queued(relative) is not None or self._all_here(relative):
            self._uploader.forget(relative)
        else:
            self.objects.remove(relative)
        self._seen.forget(relative)

    def sync_file(self, path: str) -> None:
        relative = self._relative(path)
        for place in self._places(relative):
            with contextlib.suppress(FileNotFoundError):
                _local.sync_file(place)
                return
        if self._all_here(relative):
            raise _missing(path)
        self._seen.version(relative)

    def sync_directory(self, path: str) -> None:
        if self._spool is not None:  # what is above the URL has no directory here, and needs none
            with contextlib.suppress(FileNotFoundError):
                _local.sync_directory(self._spool.at(self._relative(path)))

    def write_whole(
        self, path: str, temporary: str, fill: Callable[[Writable], None], *, durable: bool
    ) -> None:
        relative = self._relative(path)
        if _is_bulk(relative):
            super().write_whole(path, temporary, fill, durable=durable)
            return
        held = Held()
        fill(held)
        self._uploader.small(relative, bytes(held.data))

    # --- inside -----------------------------------------------------------------------------------

    def _relative(self, path: str) -> str:
        path = path.rstrip("/")
        if path == self.url:
            return ""
        relative = path[len(self.url) + 1 :]
        if not path.startswith(f"{self.url}/") or any(
            part in ("", ".", "..") for part in relative.split("/")
        ):
            raise FileNotFoundError(errno.ENOENT, f"It is not below {shown(self.url)}", path)
        return relative

    def _own(self, relative: str) -> Spool:
        """The spool of this process, made when something is written."""
        spool = self._spool
        if spool is None:
            with self._lock:
                spool = self._spool
                if spool is None:
                    run = relative.partition("/")[0]
                    name = run if is_run(run) else "store"
                    spool = self._spool = Spool.make(self.url, name)
        return spool

    def _places(self, relative: str) -> builtins.list[str]:
        """Where a file may be on this machine, the newest version first."""
        spools = (self._spool, *self._others)
        return [spool.at(relative) for spool in spools if spool is not None]

    def _all_here(self, relative: str) -> bool:
        """Whether all that there is at a path is on this machine."""
        return relative.partition("/")[0] in self._claimed and not self._uploader.dropped

    def _move(self, source: str, target: str) -> None:
        """For small files: nothing in an object store renames in one step."""
        info = self.objects.info(source)
        self.objects.put(target, self.objects.get(source, 0, info.size))
        self.objects.remove(source)
        self._seen.forget(source)
        self._seen.forget(target)

    def _forked(self) -> None:
        """In a child: the threads are gone, and what the parent writes is only read."""
        self._lock = threading.Lock()
        self._others = tuple(spool for spool in (self._spool, *self._others) if spool is not None)
        self._spool = None
        self._adopted = []
        self._claimed = set()
        self._writing = {}
        self._uploader = self._make_uploader()
        self._seen.forked()


def _is_bulk(relative: str) -> bool:
    """Whether it is a part of a store, which is spooled, and not a note of who does what."""
    return _BULK.fullmatch(relative) is not None


def _is_visible(relative: str) -> bool:
    return not relative.rpartition("/")[2].startswith(HIDDEN)


def _missing(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, "There is no such file or directory", path)


_backends: weakref.WeakSet[RemoteBackend] = weakref.WeakSet()


def _after_fork() -> None:
    for backend in list(_backends):
        backend._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
