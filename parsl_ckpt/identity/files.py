"""The content of files as a digest, read as seldom as can be trusted.

Rule of this file: a remembered digest is used only while path, size, mtime, ctime and inode are
what they were, and only if the file was already older than the clock's grain when it was read: a
file that was written a moment ago may be written again without its mtime changing (git's *racy*
entries).
"""

from __future__ import annotations

import os
import stat as stat_module
import threading
import time
from typing import Literal

from blake3 import blake3

from ..errors import FileIdentityError
from .walk import digest_of, seal

FileMode = Literal["content", "mtime", "path"]

YOUNG_NS = 2_000_000_000
"""Younger than this, an mtime says too little: FAT counts in two seconds, NFS caches for longer."""

_CHUNK = 1 << 20
_KEPT = 65_536
_Sign = tuple[int, int, int, int, int]

_digests: dict[str, tuple[_Sign, bytes]] = {}
_lock = threading.Lock()


def content_digest(path: str | os.PathLike[str]) -> bytes:
    """The blake3 digest of a file's content; of a directory's names and contents.

    Args:
        path: a file or directory; symbolic links are followed.

    Returns:
        32 bytes.

    Raises:
        FileIdentityError: it is missing, unreadable, changing while read, or no file.
    """
    name = os.path.abspath(os.fspath(path))
    for _ in range(3):
        try:
            before = os.stat(name)
            if stat_module.S_ISDIR(before.st_mode):
                return _directory(name, ())
            if not stat_module.S_ISREG(before.st_mode):
                raise FileIdentityError(
                    f"{name!r} is neither a file nor a directory: it has no content to identify.",
                    hint="Identify it by path: File(..., identity='path').",
                    path=name,
                )
            sign = _sign(before)
            known = _digests.get(name)
            if known is not None and known[0] == sign:
                return known[1]
            began = time.time_ns()
            digest = _read(name)
            after = _sign(os.stat(name))
        except OSError as error:
            raise FileIdentityError(
                f"The content of {name!r} cannot be read: {error.strerror or error}.",
                hint="A file that is an input must exist when the call is made.",
                path=name,
            ) from error
        if after == sign:
            if max(before.st_mtime_ns, before.st_ctime_ns) < began - YOUNG_NS:
                _remember(name, sign, digest)
            return digest
    raise FileIdentityError(
        f"{name!r} was written to while its content was being read.",
        hint="Wait for its writer, or write it under another name and rename it.",
        path=name,
    )


def file_leaf(path: str | os.PathLike[str], mode: FileMode = "content") -> bytes:
    """The leaf of an input file.

    Args:
        path: where it is.
        mode: ``"content"``; ``"mtime"``: path, size and time of change; ``"path"``: the name alone.

    Raises:
        FileIdentityError: see :func:`content_digest`.
    """
    if mode == "content":
        return b"P" + content_digest(path)
    name = os.path.abspath(os.fspath(path))
    if mode == "path":
        return seal(b"p", b"path" + digest_of(os.fsencode(name)))
    try:
        found = os.stat(name)
    except OSError as error:
        raise FileIdentityError(
            f"The time of {name!r} cannot be read: {error.strerror or error}.",
            hint="A file that is an input must exist when the call is made.",
            path=name,
        ) from error
    facts = b"%d:%d" % (found.st_mtime_ns, found.st_size)
    return seal(b"p", b"time" + digest_of(os.fsencode(name), facts))


def _sign(found: os.stat_result) -> _Sign:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(name: str) -> bytes:
    hasher = blake3()
    with open(name, "rb", buffering=0) as file:
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return hasher.digest()


def _directory(name: str, above: tuple[str, ...]) -> bytes:
    real = os.path.realpath(name)
    parts = [b"directory"]
    for entry in sorted(os.listdir(name)):
        path = os.path.join(name, entry)
        inner = os.path.realpath(path)
        if os.path.isdir(path):
            if inner == real or inner in above:  # a link to a directory above
                parts += [os.fsencode(entry), b"loop"]
                continue
            digest = _directory(path, (*above, real))
        else:
            digest = content_digest(path)
        parts += [os.fsencode(entry), digest]
    return digest_of(*parts)


def _remember(name: str, sign: _Sign, digest: bytes) -> None:
    with _lock:
        if len(_digests) >= _KEPT:
            _digests.clear()
        _digests[name] = sign, digest
