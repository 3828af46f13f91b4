"""``zip:`` URLs: ``zip:/data/all.zip/inside/one.csv`` is the member ``inside/one.csv``.

Rule of this file: a zip file is replaced as a whole, by renaming, so that a reader or a crash never
meets half of one; writers take turns by a lock beside it.

The form of the URLs is Parsl's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from parsl_ckpt.apps.staging.base import Staging, whole
from parsl_ckpt.errors import StagingError

if TYPE_CHECKING:
    import zipfile

    from parsl_ckpt.apps.files import File


class ZipAuthorityError(StagingError):
    """A ``zip:`` URL names a host, which means nothing."""


class ZipFileStaging(Staging):
    """Fetches members of zip files, and puts files into zip files."""

    def can_stage_in(self, file: File) -> bool:
        """Whether it is a ``zip:`` URL.

        Raises:
            ZipAuthorityError: it names a host.
        """
        if file.scheme != "zip":
            return False
        if file.netloc:
            raise ZipAuthorityError(
                f"{file.url} names the host {file.netloc!r}, which means nothing for a zip file.",
                hint="Write zip:/path/of.zip/member, without //.",
                url=file.url,
            )
        return True

    can_stage_out = can_stage_in

    def stage_in(self, file: File) -> None:
        archive, member = split(file)
        assert file.local_path is not None
        with _opened(archive, member) as source, open(file.local_path, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def stage_out(self, file: File) -> None:
        import zipfile

        archive, member = split(file)
        assert file.local_path is not None
        os.makedirs(os.path.dirname(archive) or ".", exist_ok=True)
        with (
            _turn(archive),
            whole(archive) as beside,
            zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as new,
        ):
            _copy_others(archive, member, new)
            new.write(file.local_path, member)

    def stamp(self, file: File) -> bytes:
        from parsl_ckpt.apps.files import File

        archive, member = split(file)
        stamp = File(archive).stamp()
        return stamp and stamp + b" " + os.fsencode(member)

    def exists(self, file: File) -> bool:
        import zipfile

        archive, member = split(file)
        try:
            with zipfile.ZipFile(archive) as opened:
                return member in opened.NameToInfo
        except FileNotFoundError:
            return False


def split(file: File) -> tuple[str, str]:
    """The path of the zip file, and the name of the member.

    Raises:
        StagingError: the URL has no ``.zip/`` in it, or names no member.
    """
    place = file.path.find(".zip/")
    if place < 0 or not file.path[place + 5 :]:
        raise StagingError(
            f"{file.url} does not name a member of a zip file.",
            hint="Write zip:/path/of.zip/member.",
            url=file.url,
        )
    return file.path[: place + 4], file.path[place + 5 :]


@contextlib.contextmanager
def _opened(archive: str, member: str) -> Iterator[IO[bytes]]:
    import zipfile

    with zipfile.ZipFile(archive) as opened:
        try:
            source = opened.open(member)
        except KeyError:
            raise FileNotFoundError(f"{archive} has no member {member!r}") from None
        with source:
            yield source


def _copy_others(archive: str, member: str, new: zipfile.ZipFile) -> None:
    """Everything that is in a zip file but one member, which is to be replaced."""
    import zipfile

    if not os.path.exists(archive):
        return
    with zipfile.ZipFile(archive) as old:
        for info in old.infolist():
            if info.filename != member:
                with old.open(info) as source, new.open(info, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)


@contextlib.contextmanager
def _turn(archive: str) -> Iterator[None]:
    """Be the only one to replace a zip file, among threads and processes."""
    with open(f"{archive}.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
