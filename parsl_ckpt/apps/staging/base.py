"""``Staging``: the interface of whoever fetches and delivers files of other schemes.

Rule of this file: a provider moves one file at a time and remembers nothing of it.  It is pickled
to worker processes, where its methods are called; ``stamp``, ``exists`` and ``digest`` are called
beside the kernel, too.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from parsl_ckpt.errors import StagingError
from parsl_ckpt.identity.files import content_digest

if TYPE_CHECKING:
    from parsl_ckpt.apps.files import File


class Staging:
    """Base of providers; rejects every file.

    A provider says what it can do (:meth:`can_stage_in`, :meth:`can_stage_out`) and does it
    (:meth:`stage_in`, :meth:`stage_out`), in the worker, within the task's attempt: what it raises
    fails the attempt, and ``retries`` tries it again. It should pickle.

    >>> class Shelf(Staging):
    ...     '''shelf://name: files on a shelf.'''
    ...     def can_stage_in(self, file):
    ...         return file.scheme == "shelf"
    ...     can_stage_out = can_stage_in
    ...     def stage_in(self, file):
    ...         shutil.copy(os.path.join("/shelf", file.netloc), file.local_path)
    ...     def stage_out(self, file):
    ...         shutil.copy(file.local_path, os.path.join("/shelf", file.netloc))

    The names are Parsl's; the methods that make futures and replace functions there have no
    counterpart.
    """

    schemes: ClassVar[tuple[str, ...]] = ()

    def can_stage_in(self, file: File) -> bool:
        """Whether this provider can fetch a file."""
        return file.scheme in self.schemes

    def can_stage_out(self, file: File) -> bool:
        """Whether this provider can deliver a file."""
        return file.scheme in self.schemes

    def stage_in(self, file: File) -> None:
        """Copy what is at ``file.url`` to ``file.local_path``.

        Raises:
            Exception: it cannot be had; a ``FileNotFoundError`` if there is no such file.
        """
        raise StagingError(f"{type(self).__name__} fetches nothing.", url=file.url)

    def stage_out(self, file: File) -> None:
        """Copy what is at ``file.local_path`` to ``file.url``, in place of what is there.

        Raises:
            Exception: it cannot be done.
        """
        raise StagingError(f"{type(self).__name__} delivers nothing.", url=file.url)

    def stamp(self, file: File) -> bytes:
        """What changes whenever the file does, such as an ETag; empty if there is no such thing."""
        return b""

    def exists(self, file: File) -> bool:
        """Whether there is such a file now; unless it is redefined, found out by fetching it."""
        try:
            self.digest(file)
        except FileNotFoundError:
            return False
        return True

    def digest(self, file: File) -> bytes:
        """The blake3 digest of the content; unless it is redefined, of a copy that is fetched.

        Raises:
            Exception: as :meth:`stage_in`.
        """
        with tempfile.TemporaryDirectory(prefix="parsl_ckpt-") as directory:
            copy = file.cleancopy()
            copy.local_path = os.path.join(directory, file.filename or "file")
            self.stage_in(copy)
            return content_digest(copy.local_path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


@contextlib.contextmanager
def whole(path: str) -> Iterator[str]:
    """A place beside a path to write to, that takes the path's place when all is written."""
    beside = f"{path}.{os.getpid()}.part"
    try:
        yield beside
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(beside)
