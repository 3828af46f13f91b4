"""``File``: an argument that stands for what is in a file."""

from __future__ import annotations

import os
import urllib.parse
from typing import Any, get_args

from parsl_ckpt.errors import FileIdentityError
from parsl_ckpt.identity.files import FileMode, file_leaf
from parsl_ckpt.identity.values import id_for_memo

MODES = get_args(FileMode)


class File(os.PathLike[str]):
    """A file on this machine, as an argument that counts by its content.

    Among ``outputs=`` it counts by its name: what is in it is yet to be written.

    Args:
        url: a path, or a ``file:`` URL.
        identity: what counts: ``"content"``; ``"mtime"``: path, size and time of the last change;
            ``"path"``: the path alone.

    Attributes:
        url: as it was given.
        filepath: the path, for ``open`` and everything that takes a path; a ``File`` itself is
            taken there too.
        filename: the last part of the path.
        identity: what counts.

    Raises:
        FileIdentityError: it is a URL of another scheme, or ``identity`` is not known.

    >>> File("data/a.csv").filename, os.fspath(File("file:///data/b.csv"))
    ('a.csv', '/data/b.csv')

    The idea and the names are Parsl's.
    """

    __slots__ = ("filepath", "identity", "url")

    def __init__(self, url: str | os.PathLike[str], identity: FileMode = "content") -> None:
        self.url = os.fspath(url)
        if identity not in MODES:
            raise FileIdentityError(
                f"File({self.url!r}, identity={identity!r}): that is not known.",
                hint=f"Use one of: {', '.join(map(repr, MODES))}.",
                path=self.url,
            )
        self.identity = identity
        self.filepath = _path(self.url)

    @property
    def filename(self) -> str:
        return os.path.basename(self.filepath)

    def __fspath__(self) -> str:
        return self.filepath

    def __str__(self) -> str:
        return self.filepath

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, File):
            return NotImplemented
        return (self.filepath, self.identity) == (other.filepath, other.identity)

    def __hash__(self) -> int:
        return hash((self.filepath, self.identity))

    def __reduce__(self) -> tuple[Any, ...]:
        return File, (self.url, self.identity)

    def __repr__(self) -> str:
        more = "" if self.identity == "content" else f", identity={self.identity!r}"
        return f"File({self.url!r}{more})"


@id_for_memo.register(File)
def _(file: File, output_ref: bool = False) -> bytes:
    return os.fsencode(file.filepath) if output_ref else file_leaf(file.filepath, file.identity)


def _path(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if "://" not in url and parts.scheme != "file":
        return url
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise FileIdentityError(
            f"{url} is not on this machine.",
            hint="Give a path or a file: URL; fetch other files in an app of their own.",
            path=url,
        )
    return urllib.parse.unquote(parts.path)
