"""Where a path is: on this machine, or below a URL; one backend for all of them.

Rule of this file: whoever gives no URL pays for none of it.  A URL is what begins with a scheme and
``://``; ``file://`` is this machine.  Paths are joined by ``/`` either way.
"""

from __future__ import annotations

import builtins
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from parsl_ckpt.errors import ConfigurationError, NotUploadedError, RemoteStoreError

from .backend import Backend, Listed, Owner, Readable, Writable
from .local import LocalBackend

if TYPE_CHECKING:
    from .remote import RemoteBackend

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# What is written below a URL is kept under the URL of the run directory, not of one checkpoint.
_CHECKPOINT_OF_RUN = re.compile(r"/[0-9]{1,15}(-[0-9a-f]{6})?/checkpoint/?$")
ROTATE_BYTES = 8 << 20  # an open segment is uploaded anew, whole, each time that it has grown
_HERE = ("file", "local")


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is somewhere else.

    >>> is_url("s3://bucket/runs"), is_url("file:///tmp/runs"), is_url("runinfo")
    (True, False, False)
    """
    found = _SCHEME.match(os.fspath(path))
    return found is not None and found[1].lower() not in _HERE


def plain(path: str | os.PathLike[str]) -> str:
    """A path as it is meant: ``file://`` is taken off, and slashes at the end of a URL.

    Raises:
        ConfigurationError: it is a URL within a URL, or no path at all.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(
            f"{path!r:.80} is no path of a directory, nor a URL.",
            hint="Give a text such as 'runinfo', or a pathlib.Path.",
            field="run_dir",
        )
    text = os.fspath(path)
    found = _SCHEME.match(text)
    if "::" in text and "://" in text and (found is None or "::" in text[: found.end()]):
        raise ConfigurationError(
            f"{text} is a URL within a URL.",
            hint="Give the plain one; what is read is cached anyway.",
            field="run_dir",
        )
    if found is None:
        return text
    if found[1].lower() in _HERE:
        return unquote(text[found.end() :].removeprefix("localhost"))
    return text.rstrip("/")


def absolute(path: str | os.PathLike[str]) -> str:
    """The same place, wherever the process goes."""
    text = plain(path)
    try:
        return text if is_url(text) else os.path.abspath(text)
    except FileNotFoundError:
        raise ConfigurationError(
            f"It cannot be told where {text} is: the working directory is gone.",
            hint="Go to a directory that exists, or give an absolute path.",
            field="run_dir",
        ) from None


def join(path: str, *names: str) -> str:
    """A path below another one."""
    if is_url(path):
        return "/".join((path.rstrip("/"), *names))
    return os.path.join(path, *names)


def relative(path: str, start: str) -> str:
    """A path as seen from another; as it is if they are not in one place.

    >>> relative("s3://b/runs/000/checkpoint", "s3://b/runs/001/checkpoint")
    '../../000/checkpoint'
    """
    if is_url(path) or is_url(start):
        scheme, _, one = path.partition("://")
        other, _, two = start.partition("://")
        if scheme != other or one.partition("/")[0] != two.partition("/")[0]:
            return path
        return posixpath.relpath(f"/{one}", f"/{two}")
    return os.path.relpath(os.path.abspath(path), start)


def resolve(path: str, start: str) -> str:
    """The path that :func:`relative` was given.

    >>> resolve("../../000/checkpoint", "s3://b/runs/001/checkpoint")
    's3://b/runs/000/checkpoint'
    """
    if is_url(path):
        return path
    if is_url(start) and not os.path.isabs(path):
        scheme, _, rest = start.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join('/', rest, path))[1:]}"
    return os.path.normpath(os.path.join(start, path))


def backend_of(
    *paths: str | os.PathLike[str], options: Mapping[str, Any] | None = None, **settings: Any
) -> Everywhere:
    """A backend for paths and URLs.

    Args:
        paths: run directories, or checkpoints; each URL has a backend of its own for all below it.
        options: for fsspec's file systems (``storage_options``).
        settings: of :class:`~parsl_ckpt.checkpoint.remote.RemoteBackend`.
    """
    where = Everywhere(options, **settings)
    for path in map(plain, paths):
        if is_url(path):
            where.of(_CHECKPOINT_OF_RUN.sub("", path))
    return where


def remote_backend(*paths: str | os.PathLike[str] | None) -> Everywhere | None:
    """A backend that has begun, if any of the paths is a URL."""
    where = backend_of(*(path for path in paths if path is not None)).if_remote()
    if where is not None:
        where.begin()
    return where


def has_directory(backend: Backend | None, path: str) -> bool:
    """Whether there is a directory that can be read, on this machine unless a backend is given."""
    try:
        (backend or LocalBackend()).owner(path)
    except OSError:
        return False
    return True


def reading(run_dir: str | os.PathLike[str]) -> Backend:
    """A backend to read a run directory with; takes nothing over.

    Raises:
        RemoteStoreError: the libraries that it needs are not installed.
    """
    return backend_of(run_dir).if_remote() or LocalBackend()


def changing(run_dir: str | os.PathLike[str], doing: str) -> Backend:
    """A backend for what needs renames and links of files that are there already.

    Raises:
        RemoteStoreError: it is a URL.
    """
    if is_url(run_dir):
        raise RemoteStoreError(
            f"{doing} is not done in place at {os.fspath(run_dir)}.",
            hint="Copy the run directory to this machine (aws s3 sync, rclone) and do it to the "
            "copy; or let a lifecycle rule of the bucket remove old runs.",
            path=os.fspath(run_dir),
            url=os.fspath(run_dir),
        )
    return LocalBackend()


class Everywhere(Backend):
    """Passes each operation on to the backend that its path belongs to."""

    def __init__(self, options: Mapping[str, Any] | None = None, **settings: Any) -> None:
        self._options = options
        self._settings = settings
        self._local = LocalBackend()
        self._remotes: dict[str, RemoteBackend] = {}

    def remote(self, url: str) -> RemoteBackend:
        """The backend for what is below a URL."""
        from .remote import RemoteBackend

        url = url.rstrip("/")
        found = self._remotes.get(url)
        if found is None:
            found = self._remotes[url] = RemoteBackend(url, self._options, **self._settings)
        return found

    def of(self, path: str) -> Backend:
        """The backend of a path."""
        if not is_url(path):
            return self._local
        fitting = [url for url in self._remotes if f"{path}/".startswith(f"{url}/")]
        if fitting:
            return self._remotes[max(fitting, key=len)]
        return self.remote(_CHECKPOINT_OF_RUN.sub("", path))

    def begin(self) -> None:
        """Take over what runs that died on this machine have left to upload.

        Raises:
            RemoteStoreError: a place cannot be reached.
        """
        for remote in self._remotes.values():
            remote.begin()

    def if_remote(self) -> Everywhere | None:
        """Itself, if there is any URL: the file system needs nobody between."""
        return self if self._remotes else None

    def absolute(self, path: str) -> str:
        return absolute(path)

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        self.of(path).make_directory(path, durable=durable)

    def list(self, path: str) -> Sequence[str]:
        return self.of(path).list(path)

    def entries(self, path: str) -> builtins.list[Listed]:
        return self.of(path).entries(path)

    def is_link(self, path: str) -> bool:
        return self.of(path).is_link(path)

    def size_of(self, path: str) -> int | None:
        return self.of(path).size_of(path)

    def changed(self, path: str) -> int | None:
        return self.of(path).changed(path)

    def create(self, path: str) -> Writable:
        return self.of(path).create(path)

    def open(self, path: str) -> Readable:
        return self.of(path).open(path)

    def open_under(self, directory: str, path: str) -> Readable:
        return self.of(directory).open_under(directory, path)

    def rename(self, old: str, new: str) -> None:
        self.of(old).rename(old, new)

    def remove(self, path: str) -> None:
        self.of(path).remove(path)

    def remove_directory(self, path: str) -> None:
        self.of(path).remove_directory(path)

    def sync_file(self, path: str) -> None:
        self.of(path).sync_file(path)

    def sync_directory(self, path: str) -> None:
        for url, remote in self._remotes.items():
            if f"{path}/".startswith(f"{url}/"):
                remote.sync_directory(path)
            elif f"{url}/".startswith(f"{path.rstrip('/')}/"):
                return  # above a URL there is nothing to sync
        if not is_url(path):
            self._local.sync_directory(path)

    def owner(self, path: str) -> Owner | None:
        return self.of(path).owner(path)

    def owners(self, path: str) -> Iterable[tuple[str, Owner]]:
        return self.of(path).owners(path)

    def link(self, old: str, new: str) -> None:
        self.of(old).link(old, new)

    def write_whole(
        self, path: str, temporary: str, fill: Callable[[Writable], None], *, durable: bool
    ) -> None:
        self.of(path).write_whole(path, temporary, fill, durable=durable)

    def prefetch(self, paths: Sequence[str]) -> None:
        groups: dict[Backend, builtins.list[str]] = {}
        for path in paths:
            groups.setdefault(self.of(path), []).append(path)
        for backend, group in groups.items():
            backend.prefetch(group)

    def flush(self, seconds: float | None = None) -> None:
        for remote in self._remotes.values():
            remote.flush(seconds)

    def close(self, seconds: float | None = None) -> None:
        failure: NotUploadedError | None = None
        for remote in self._remotes.values():
            try:
                remote.close(seconds)
            except NotUploadedError as error:
                failure = failure or error
        if failure is not None:
            raise failure
