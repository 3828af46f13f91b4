"""The file system as a backend."""

from __future__ import annotations

import builtins
import contextlib
import errno
import itertools
import mmap
import os
import secrets
import sys
import weakref
from collections.abc import Iterable, Sequence
from stat import S_ISLNK, S_ISREG
from typing import Any

from .backend import Backend, Buffer, Listed, Owner, Readable, Writable


def open_files(most: int, share: int) -> int:
    """How many files one part of the store may keep open: ``most``, or its share of the limit."""
    try:
        import resource
    except ImportError:  # Windows
        return most
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(min(most, soft // share), 4)


# A mapping keeps a file descriptor (before Python 3.13) and an entry in the kernel's table of maps.
# Beyond this many, files are read into memory instead.
MAP_BUDGET = open_files(512, 4)
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
MAP_MINIMUM = 1 << 20  # below this, reading is cheaper than mapping
_WRITE_LIMIT = 1 << 30  # Linux writes at most 2 GB at once

# Nobody's link or named pipe, laid in place of a file of ours, must lead elsewhere or hang us.
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | _NOFOLLOW
_DIRECTORY = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)

_mapped: set[int] = set()  # numbers of the maps that live; a set, so that no lock is needed
_numbers = itertools.count()
_sync = getattr(os, "fdatasync", os.fsync)
if sys.platform == "darwin":
    import fcntl

    def _sync(fd: int) -> None:  # fsync alone leaves the bytes in the drive's cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)


class LocalWriter(Writable):
    """Appends through a bare descriptor: one system call for each write."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o600)

    def write(self, data: Buffer) -> None:
        if len(data) > _WRITE_LIMIT:
            view = memoryview(data).cast("B")
            for start in range(0, len(view), _WRITE_LIMIT):
                self.write(view[start : start + _WRITE_LIMIT])
            return
        written = os.write(self._fd, data)
        while written != len(data):  # short writes come before "no space left"
            data = memoryview(data)[written:]
            written = os.write(self._fd, data)

    def sync(self) -> None:
        _sync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            with contextlib.suppress(OSError):
                self.close()


class LocalReader(Readable):
    """Reads by position, so that threads do not disturb each other."""

    def __init__(self, path: str, directory: int | None = None) -> None:
        self._fd = -1
        self._fd = os.open(path, _READ, dir_fd=directory)
        if not S_ISREG(os.fstat(self._fd).st_mode):
            raise OSError(errno.EINVAL, "It is not a regular file", path)

    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        got = len(data)
        while got < length:
            data = os.pread(self._fd, length - got, offset + got)
            if not data:
                break
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def data_from(self, offset: int) -> int:
        if not hasattr(os, "SEEK_DATA"):
            return offset
        try:
            return os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:  # beyond the last byte that was written, or not known here
            return self.size() if error.errno == errno.ENXIO else offset

    def map(self) -> memoryview:
        return memoryview(self._map(mmap.ACCESS_READ)).toreadonly()

    def map_private(self) -> memoryview:
        return memoryview(self._map(mmap.ACCESS_COPY))

    def stamp(self) -> tuple[int, ...]:
        found = os.fstat(self._fd)
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def owner(self) -> Owner | None:
        found = os.fstat(self._fd)
        return Owner(found.st_uid, found.st_mode & 0o7777)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            self.close()

    def _map(self, access: int) -> mmap.mmap | bytearray:
        size = self.size()
        if size >= MAP_MINIMUM and len(_mapped) < MAP_BUDGET:
            with contextlib.suppress(OSError, ValueError):
                mapped = mmap.mmap(self._fd, size, access=access, **_MAP_OPTIONS)
                number = next(_numbers)
                _mapped.add(number)
                weakref.finalize(mapped, _mapped.discard, number).atexit = False
                return mapped
        return self._read_whole(size)

    def _read_whole(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        at = 0
        while at < size:
            got = os.preadv(self._fd, [view[at : at + _WRITE_LIMIT]], at)
            if not got:
                raise OSError(f"The file ended at {at} of {size} bytes.")
            at += got
        return data


class LocalBackend(Backend):
    """Files and directories of this machine, or of a file system it has mounted."""

    def absolute(self, path: str) -> str:
        return os.path.abspath(path)

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if parent and not os.path.isdir(parent):
            self.make_directory(parent, durable=durable)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        else:
            os.chmod(path, 0o700)  # whatever the umask took away
        if durable:
            self.sync_directory(parent or ".")

    def list(self, path: str) -> Sequence[str]:
        return os.listdir(path)

    def entries(self, path: str) -> builtins.list[Listed]:
        found = []
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    if entry.is_file(follow_symlinks=False):
                        stat = entry.stat(follow_symlinks=False)
                        found.append(Listed(entry.name, stat.st_size, stat.st_mtime))
        return found

    def size_of(self, path: str) -> int | None:
        try:
            found = os.stat(path, follow_symlinks=False)
        except OSError:
            return None
        return found.st_size if S_ISREG(found.st_mode) else None

    def changed(self, path: str) -> int | None:
        try:
            return os.stat(path).st_mtime_ns
        except OSError:
            return None

    def is_link(self, path: str) -> bool:
        return os.path.islink(path)

    def link(self, old: str, new: str) -> None:
        temporary = f"{os.path.dirname(new)}/.tmp-{secrets.token_hex(12)}"
        try:
            os.link(old, temporary)
        except OSError:  # another file system, or one without hard links
            super().link(old, new)
            return
        try:
            os.replace(temporary, new)
        finally:
            self.discard(temporary)  # where both are one file already, replacing does nothing

    def remove_directory(self, path: str) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(path)

    def create(self, path: str) -> Writable:
        return LocalWriter(path)

    def open(self, path: str) -> Readable:
        return LocalReader(path)

    def open_under(self, directory: str, path: str) -> Readable:
        *between, name = path.split("/")
        fd = os.open(directory, _DIRECTORY)  # itself it may be reached through links
        try:
            for part in between:
                inner = os.open(part, _DIRECTORY | _NOFOLLOW, dir_fd=fd)
                os.close(fd)
                fd = inner
            return LocalReader(name, fd)
        finally:
            os.close(fd)

    def rename(self, old: str, new: str) -> None:
        os.replace(old, new)

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def sync_file(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _sync(fd)
        finally:
            os.close(fd)

    def sync_directory(self, path: str) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def owner(self, path: str) -> Owner | None:
        found = os.stat(path)
        if not os.path.isdir(path):
            raise NotADirectoryError(f"{path} is not a directory.")
        return Owner(found.st_uid, found.st_mode & 0o7777)

    def owners(self, path: str) -> Iterable[tuple[str, Owner]]:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if not S_ISLNK(found.st_mode):
                    yield entry.name, Owner(found.st_uid, found.st_mode & 0o7777)
