"""``File``: an argument that stands for what is in a file, here or elsewhere."""

from __future__ import annotations

import os
import reprlib
import stat
import time
import urllib.parse
from typing import Any, get_args

from parsl_ckpt.apps.staging import registry
from parsl_ckpt.errors import FileIdentityError, StagingError
from parsl_ckpt.identity.files import FileMode, content_digest, file_leaf
from parsl_ckpt.identity.grain import FINE_NS, settles_in
from parsl_ckpt.identity.values import id_for_memo
from parsl_ckpt.kernel.outputs import FileObject

MODES = get_args(FileMode)

LARGE = 16 << 20
"""Bytes; to read so many takes about as long as it takes a file to settle on a local disk."""


class File(FileObject, os.PathLike[str]):
    """A file, as an argument that counts by its content.

    Among ``outputs=`` it counts by its name: what is in it is yet to be written.

    A file of another scheme than ``file:`` is fetched before the function runs, and delivered after
    it, by one of the :class:`~parsl_ckpt.apps.staging.Staging` providers of the executor; what the
    function gets has a path.

    Args:
        url: a path, a ``file:`` URL, or a URL of any scheme that a provider knows.
        identity: what counts: ``"content"``; ``"mtime"``: path, size and time of the last change
            (for files elsewhere, what tells versions of them apart); ``"path"``: the path alone.

    Attributes:
        url: as it was given.
        scheme, netloc, path: of the URL; ``"file"``, ``""`` and the path for a path.
        filepath: the path, for ``open`` and everything that takes a path; a ``File`` itself is
            taken there too.
        filename: the last part of the path.
        local_path: where a file of another scheme is while a function runs; None elsewhere.
        identity: what counts.

    Raises:
        FileIdentityError: it is no path or URL, or a ``file:`` URL of another machine; or
            ``identity`` is not known.

    >>> File("data/a.csv").filename, os.fspath(File("file:///data/b.csv"))
    ('a.csv', '/data/b.csv')

    The idea and the names are Parsl's.
    """

    __slots__ = ("_known", "identity", "local_path", "netloc", "path", "scheme", "url")

    def __init__(self, url: str | os.PathLike[str], identity: FileMode = "content") -> None:
        self.url = _name(url)
        if identity not in MODES:
            raise FileIdentityError(
                f"File({self.url!r}, identity={identity!r}): that is not known.",
                hint=f"Use one of: {', '.join(map(repr, MODES))}.",
                path=self.url,
            )
        self.identity = identity
        self.scheme, self.netloc, self.path = _parts(self.url)
        self.local_path: str | None = None
        self._known: bytes | None = None
        FileObject.any_made = True
        if self.scheme != "file":
            FileObject.any_elsewhere = True

    @property
    def filepath(self) -> str:
        """The path of the file where it is asked for.

        Raises:
            StagingError: it is elsewhere, and nobody has fetched it.
        """
        if self.local_path is not None:
            return self.local_path
        if self.scheme == "file":
            return self.path
        raise StagingError(
            f"{self.url} is not on this machine, so it has no path here.",
            hint="Pass it to an app, as an argument or in a list of arguments: it is fetched "
            "before the function runs.",
            url=self.url,
        )

    @property
    def filename(self) -> str:
        name = os.path.basename(self.path) or self.netloc
        return "" if name in (os.curdir, os.pardir) else name

    @property
    def elsewhere(self) -> bool:
        """Whether it has to be fetched before it is read, and delivered after it is written."""
        return self.scheme != "file" and self.local_path is None

    def cleancopy(self) -> File:
        """The file without what is true only of this place."""
        return File(self.url, self.identity)

    # -- what is in it -----------------------------------------------------------------------------

    def known(self, digest: bytes) -> File:
        """A copy whose content has been read, and is not read again."""
        copy = self.cleancopy()
        copy._known = digest
        return copy

    def exists(self) -> bool:
        """Whether there is such a file, or directory, now."""
        if not self.elsewhere:
            return os.path.exists(self.filepath)
        provider = registry.reader_of(self)
        found: bool = provider.exists(self)
        return found

    def size(self) -> int:
        """Bytes; 0 for a directory."""
        return 0 if os.path.isdir(self.filepath) else os.path.getsize(self.filepath)

    def content(self) -> bytes:
        """The digest of what is in it, 32 bytes.

        Raises:
            FileIdentityError: it cannot be read.
        """
        if self._known is not None:
            return self._known
        if not self.elsewhere:
            return content_digest(self.filepath)
        return registry.digest(self)

    def stamp(self) -> bytes:
        """What changes whenever the file does; empty if nothing can be trusted to.

        A time is trusted only when the file is older than the clock's grain.  Take it before the
        content is read, never after.
        """
        if self.elsewhere:
            known: bytes = registry.reader_of(self).stamp(self)
            return known
        try:
            found = os.stat(self.filepath)
        except OSError:
            return b""
        if stat.S_ISDIR(found.st_mode) or settles_in(found):
            return b""
        facts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        return b"%d:%d:%d:%d:%d" % facts

    def state(self) -> bytes:
        """What shows that a file was written to; empty if that does not count, or cannot be told.

        Cheaper than its stamp, and true of files that are young; but two changes in a moment may
        leave one state.
        """
        if self.elsewhere or self.identity == "path":
            return b""
        try:
            found = os.stat(self.filepath)
        except OSError:
            return b""
        if not stat.S_ISREG(found.st_mode):
            return b""
        return b"%d:%d:%d" % (found.st_ino, found.st_size, found.st_mtime_ns)

    def settle(self) -> None:
        """Wait until there can be a stamp, if that is soon and spares a later run much reading."""
        if self.elsewhere:
            return
        try:
            found = os.stat(self.filepath)
        except OSError:
            return
        left = settles_in(found) if found.st_size >= LARGE and stat.S_ISREG(found.st_mode) else 0
        if 0 < left <= FINE_NS:
            time.sleep(left / 1e9)

    # -- a value -----------------------------------------------------------------------------------

    def __fspath__(self) -> str:
        return self.filepath

    def __str__(self) -> str:
        return self.url if self.elsewhere else self.filepath

    def _name(self) -> str:
        return self.path if self.scheme == "file" else self.url

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self._name(), self.identity) == (other._name(), other.identity)

    def __hash__(self) -> int:
        return hash((self._name(), self.identity))

    def __reduce__(self) -> tuple[Any, ...]:
        return File, (self.url, self.identity)

    def __repr__(self) -> str:
        more = "" if self.identity == "content" else f", identity={self.identity!r}"
        return f"File({self.url!r}{more})"


@id_for_memo.register(File)
def _(file: File, output_ref: bool = False) -> bytes:
    if output_ref:
        return os.fsencode(file._name())
    if file.identity == "content":
        return b"P" + file.content()
    if not file.elsewhere:
        return file_leaf(file.filepath, file.identity)
    stamp = b"" if file.identity == "path" else file.stamp()
    if file.identity == "mtime" and not stamp:
        return b"P" + file.content()
    return b"U" + stamp + b" " + os.fsencode(file.url)


def _name(url: Any) -> str:
    """A path or URL as a text."""
    try:
        name = os.fsdecode(url)
    except TypeError:
        name = "\0"
    if "\0" not in name:
        return name
    raise FileIdentityError(
        f"File({reprlib.repr(url)}): that is no path or URL.",
        hint="Give a text, or a pathlib.Path.",
        path=name.strip("\0"),
    )


def _parts(url: str) -> tuple[str, str, str]:
    """Scheme, host and path."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "zip":
        return "zip", parts.netloc, url[len("zip:") :] if not parts.netloc else parts.path
    if not parts.scheme or ("://" not in url and parts.scheme != "file"):
        return "file", "", url
    if parts.scheme != "file":
        return parts.scheme, parts.netloc, parts.path
    if parts.netloc not in ("", "localhost"):
        raise FileIdentityError(
            f"{url} is not on this machine.",
            hint="Give a path or a file: URL; fetch other files in an app of their own.",
            path=url,
        )
    return "file", "", urllib.parse.unquote(parts.path)
