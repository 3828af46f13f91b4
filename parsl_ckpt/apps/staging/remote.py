"""Files of every scheme that fsspec knows: ``s3://``, ``https://``, ``memory://`` and the rest.

Rule of this file: fsspec is imported on first use only.  A stamp is what the file system itself
uses to tell versions apart (an ETag, a generation); a time alone is no stamp.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from blake3 import blake3

from parsl_ckpt.apps.staging.base import Staging
from parsl_ckpt.errors import StagingError

if TYPE_CHECKING:
    from parsl_ckpt.apps.files import File

_CHUNK = 1 << 20
_STAMPS = ("ETag", "etag", "generation", "md5", "md5Hash", "content_md5", "version_id")


class FsspecStaging(Staging):
    """Fetches and delivers through fsspec, if it is installed.

    Args:
        storage_options: for the file system, as fsspec calls them, such as ``{"profile": "work"}``.
        schemes: the schemes that it takes; None for all that fsspec knows.
    """

    def __init__(
        self,
        storage_options: Mapping[str, Any] | None = None,
        schemes: tuple[str, ...] | list[str] | None = None,
    ) -> None:
        self._options = dict(storage_options or {})
        self._schemes = None if schemes is None else tuple(schemes)

    def can_stage_in(self, file: File) -> bool:
        """Whether it is of a scheme that fsspec knows."""
        if self._schemes is not None:
            return file.scheme in self._schemes
        return file.scheme not in ("file", "zip") and _known(file.scheme)

    can_stage_out = can_stage_in

    def stage_in(self, file: File) -> None:
        assert file.local_path is not None
        with self._opened(file, "rb") as source, open(file.local_path, "wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)

    def stage_out(self, file: File) -> None:
        assert file.local_path is not None
        system, path = self._place(file)
        with contextlib.suppress(NotImplementedError, OSError):  # buckets have no directories
            system.makedirs(system._parent(path), exist_ok=True)
        with open(file.local_path, "rb") as source, self._opened(file, "wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)

    def stamp(self, file: File) -> bytes:
        system, path = self._place(file)
        try:
            info = system.info(path)
        except Exception:
            return b""
        known = [str(info[name]) for name in _STAMPS if info.get(name)]
        return f"{info.get('size')} {' '.join(known)}".encode() if known else b""

    def exists(self, file: File) -> bool:
        system, path = self._place(file)
        found: bool = system.exists(path)
        return found

    def digest(self, file: File) -> bytes:
        hasher = blake3()
        with self._opened(file, "rb") as source:
            while chunk := source.read(_CHUNK):
                hasher.update(chunk)
        return hasher.digest()

    @contextlib.contextmanager
    def _opened(self, file: File, mode: str) -> Iterator[BinaryIO]:
        system, path = self._place(file)
        with system.open(path, mode) as opened:
            yield opened

    def _place(self, file: File) -> tuple[Any, str]:
        try:
            import fsspec  # type: ignore[import-untyped]

            system, path = fsspec.core.url_to_fs(file.url, **self._options)
        except ImportError as error:
            raise StagingError(
                f"{file.url} takes a package that is not installed: {error}.",
                hint="pip install 'parsl_ckpt[remote]', and what fsspec needs for the scheme.",
                url=file.url,
            ) from error
        if getattr(system, "use_listings_cache", None) or hasattr(system, "dircache"):
            system.invalidate_cache()  # what was listed a while ago says nothing of now
        return system, path

    def __repr__(self) -> str:
        return f"FsspecStaging(schemes={self._schemes!r})"  # options may be secrets


@functools.lru_cache(maxsize=256)
def _known(scheme: str) -> bool:
    if importlib.util.find_spec("fsspec") is None:
        return False
    from fsspec.registry import (  # type: ignore[import-untyped]
        known_implementations,
        registry,
    )

    return scheme in known_implementations or scheme in registry
