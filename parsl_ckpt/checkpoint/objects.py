"""An object store, or any other place that fsspec knows: whole objects put and got by URL.

Rule of this file: it is the only one that calls fsspec, and what it raises is an ``OSError``, as a
file system would, whatever the library below raised.  An object is put under its name wholly or not
at all: object stores do that by themselves, elsewhere (ftp, sftp, hdfs ...) it is put under a
temporary name and moved.  Listings are never taken from fsspec's cache: other hosts write too.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from blake3 import blake3

from parsl_ckpt.errors import RemoteStoreError

EXTRA = "pip install 'parsl_ckpt[remote]'"
# A put replaces the object at once, for every reader.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"}
# mode="create" is carried out by the service and not by looking first.
_EXCLUSIVE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"}
_STREAMED = 64 << 20  # what is larger is sent in parts, from the file
_MARKS = ("ETag", "etag", "generation", "md5", "content_md5", "created", "LastModified", "mtime")
_CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")
_looking = threading.Lock()
_NO_CREDENTIALS = ("NoCredentials", "InvalidAccessKey", "SignatureDoesNotMatch", "AccessDenied")


class Info(NamedTuple):
    """What a listing tells of an object, or of a directory (which has objects below it)."""

    name: str
    size: int
    stamp: int
    changed: float
    directory: bool = False


class Objects:
    """The objects below a URL.

    Args:
        url: where they are; anything that fsspec knows.
        options: for the file system, as fsspec calls them ``storage_options``.

    Raises:
        RemoteStoreError: fsspec, or what it needs for this kind of URL, is not installed.

    >>> objects = Objects("memory://doctest")
    >>> objects.put("a/b", b"hello")
    >>> objects.get("a/b", 1, 4), [info.name for info in objects.list("a")]
    (b'ell', ['b'])
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self.protocol = url.partition("://")[0].lower()
        self._options = dict(options or {})
        self._fs: Any = None
        self._pid = 0
        self._exclusive: bool | None = None if self.protocol in _EXCLUSIVE else False
        self._system()

    def info(self, path: str) -> Info:
        """What there is to know of one object.

        Raises:
            FileNotFoundError: there is none.
        """
        found = self._call("info", self._at(path))
        if found["type"] == "directory":
            raise FileNotFoundError(errno.ENOENT, "It is a directory", self._at(path))
        return _info(found)

    def list(self, path: str) -> list[Info]:
        """The objects and directories directly below a directory; none if there is none."""
        place = self._at(path)
        system = self._system()
        system.invalidate_cache(place)
        try:
            listed = self._call("ls", place, detail=True)
        except FileNotFoundError:
            return []
        own = system._strip_protocol(place).strip("/")
        return [_info(one) for one in listed if one["name"].strip("/") != own]

    def get(self, path: str, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, which must be there.

        Raises:
            FileNotFoundError: there is no such object.
        """
        if start >= end:
            return b""
        data: bytes = self._call("cat_file", self._at(path), start=start, end=end)
        if len(data) != end - start:
            raise OSError(errno.EIO, f"It ended at {start + len(data)} of {end} bytes", path)
        return data

    def fetch(self, path: str, target: str) -> None:
        """Copy an object to a local file."""
        self._call("get_file", self._at(path), target)

    def put(self, path: str, data: bytes) -> None:
        """Have an object hold these bytes, in place of what it held."""
        self._placed(path, lambda at: self._call("pipe_file", at, data))

    def put_many(self, batch: Mapping[str, bytes]) -> None:
        """Put several small objects, at once where the library can; all are there on return."""
        if len(batch) == 1 or self.protocol not in _WHOLE:
            for path, data in batch.items():
                self.put(path, data)
            return
        self._call("pipe", {self._at(path): data for path, data in batch.items()})

    def put_file(self, path: str, local: str, sent: Callable[[], None]) -> None:
        """Have an object hold what a local file holds; ``sent`` is called as parts of it are."""
        size = os.path.getsize(local)
        if size <= _STREAMED:
            with open(local, "rb") as file:
                self.put(path, file.read())
            return
        callback = _callback(sent)
        self._placed(path, lambda at: self._call("put_file", local, at, callback=callback))

    def remove(self, path: str) -> None:
        """Remove an object; a missing one is fine."""
        try:
            self._call("rm_file", self._at(path))
        except FileNotFoundError:
            return

    def claim(self, path: str, data: bytes) -> bool | None:
        """Put an object that must not exist yet.

        Returns:
            True: it is ours alone.  False: someone has it.  None: it was put, and this service does
            not say whether others have put it too.
        """
        if self._exclusive is False:
            with _looking:  # at least the threads of one process never meet
                try:
                    self.info(path)
                except FileNotFoundError:
                    self.put(path, data)
                    return None
                return False
        if not self._create(path, data):
            return False
        if self._exclusive is None:
            # Some services take the condition and ignore it: then a second put succeeds.
            self._exclusive = not self._create(path, data)
        return True if self._exclusive else None

    def unreachable(self, error: BaseException, doing: str) -> RemoteStoreError:
        """The error that says that nothing can be done here, and what to look at."""
        said = f"{type(error).__name__}: {error}" if not str(error) else str(error)
        if any(word in repr(error) for word in _NO_CREDENTIALS):
            hint = "Give credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or "
            hint += "Config(storage_options={...})."
        else:
            hint = "Look whether the bucket exists, the network is up, and the endpoint is right "
            hint += "(Config(storage_options={'endpoint_url': ...}), FSSPEC_S3_ENDPOINT_URL)."
        return RemoteStoreError(
            f"{doing} {shown(self.url)} failed: {said}.", hint=hint, url=shown(self.url)
        )

    # --- inside -----------------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        return f"{self.url}/{path}" if path else self.url

    def _system(self) -> Any:
        if self._pid != os.getpid():  # a forked child needs connections of its own
            self._fs = _file_system(self.url, self.protocol, self._options)
            self._pid = os.getpid()
        return self._fs

    def _call(self, name: str, *args: Any, **options: Any) -> Any:
        try:
            return getattr(self._system(), name)(*args, **options)
        except RemoteStoreError:
            raise
        except OSError as error:
            if error.errno is None and not isinstance(error, (FileNotFoundError, FileExistsError)):
                raise type(error)(errno.EIO, _said(error), args[0] if args else None) from error
            raise
        except Exception as error:  # those of the services are of no family of their own
            raise OSError(errno.EIO, _said(error)) from error

    def _create(self, path: str, data: bytes) -> bool:
        try:
            self._call("pipe_file", self._at(path), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            # 412 says that it is there; 409 that someone is just putting it.
            told = f"{error!r} {error.__cause__!r} {error.__context__!r}"
            if re.search(r"[Pp]recondition|ConditionalRequestConflict|\b412\b", told):
                return False
            raise
        return True

    def _placed(self, path: str, put: Callable[[str], Any]) -> None:
        if self.protocol in _WHOLE:
            put(self._at(path))
            return
        parent = path.rpartition("/")[0]
        temporary = self._at(f"{parent}/.tmp-{secrets.token_hex(12)}".lstrip("/"))
        self._call("makedirs", self._at(parent), exist_ok=True)
        put(temporary)
        try:
            self._call("mv", temporary, self._at(path))
        except OSError:  # some refuse to replace
            self.remove(path)
            self._call("mv", temporary, self._at(path))


# --- fsspec ---------------------------------------------------------------------------------------


def _file_system(url: str, protocol: str, options: Mapping[str, Any]) -> Any:
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError as error:
        raise RemoteStoreError(
            f"{shown(url)} needs fsspec, which is not installed.", hint=f"{EXTRA}.", url=shown(url)
        ) from error
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise RemoteStoreError(
            f"Nothing is known of {protocol}:// ({shown(url)}).",
            hint="Use a URL that fsspec knows: s3://bucket/prefix, gs://..., abfs://..., sftp://...",
            url=shown(url),
        ) from error
    except ImportError as error:
        hint = EXTRA if protocol in ("s3", "s3a") else str(error)
        raise RemoteStoreError(
            f"{shown(url)} needs a library that is not installed ({error}).",
            hint=f"{hint.rstrip('.')}.",
            url=shown(url),
        ) from error
    given = {"use_listings_cache": False, **kind._get_kwargs_from_urls(url), **options}
    try:
        return kind(**given)
    except Exception as error:
        raise RemoteStoreError(
            f"{shown(url)} cannot be used: {_said(error)}.",
            hint="Look at Config(storage_options=...) and at fsspec's own configuration.",
            url=shown(url),
        ) from error


def shown(url: str) -> str:
    """A URL without what is secret in it.

    >>> shown("ftp://me:secret@host/runs")
    'ftp://me:***@host/runs'
    """
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1:***@", url)


def _info(found: Mapping[str, Any]) -> Info:
    name = found["name"].rstrip("/").rpartition("/")[2]
    if found["type"] == "directory":
        return Info(name, 0, 0, 0.0, True)
    size = int(found["size"] or 0)
    mark = next((_plain(found[key]) for key in _MARKS if found.get(key) is not None), "")
    digest = blake3(f"{size} {mark}".encode()).digest(7)
    changed = next((_plain(found[key]) for key in _CHANGED if found.get(key) is not None), 0.0)
    seconds = float(changed) if isinstance(changed, (int, float)) else 0.0
    return Info(name, size, int.from_bytes(digest, "little"), seconds)


def _plain(value: Any) -> Any:
    return value.timestamp() if isinstance(value, datetime) else value


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _callback(sent: Callable[[], None]) -> Any:
    callback = importlib.import_module("fsspec.callbacks").Callback()
    callback.relative_update = lambda inc=1: sent()
    return callback


__all__: Sequence[str] = ["EXTRA", "Info", "Objects", "shown"]
