"""Who is asked in this process for what is in a file that is elsewhere.

Rule of this file: an address is made before it is known where a task runs, so any provider that a
run of this process uses may be asked.  A digest is remembered only beside a stamp.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import FileIdentityError, StagingError

if TYPE_CHECKING:
    from parsl_ckpt.apps.files import File

_KEPT = 65_536
_lock = threading.Lock()
_used: dict[int, tuple[Any, ...]] = {}  # of each owner
_digests: dict[str, tuple[bytes, bytes]] = {}


def use(owner: object, providers: Sequence[Any]) -> None:
    """Ask these as well, before the ready-made ones, as long as their owner lives."""
    if providers:
        with _lock:
            _used[id(owner)] = tuple(providers)
        weakref.finalize(owner, _used.pop, id(owner), None)


def release(owner: object) -> None:
    """Do not ask an owner's any more."""
    _used.pop(id(owner), None)


def reader_of(file: File) -> Any:
    """The provider that can tell what is in a file.

    Raises:
        FileIdentityError: there is none.
    """
    from parsl_ckpt.apps.staging import default_staging

    with _lock:
        providers = [one for own in _used.values() for one in own]
    try:
        for provider in (*providers, *default_staging()):
            if provider.can_stage_in(file):
                return provider
    except StagingError as error:
        raise FileIdentityError(error.message, hint=error.hint, path=file.url) from error
    raise FileIdentityError(
        f"Nobody here can read {file.url}.",
        hint="For other schemes install fsspec (pip install 'parsl_ckpt[remote]'), or name a "
        "Staging provider in Config(storage_access=[...]).",
        path=file.url,
    )


def digest(file: File) -> bytes:
    """The digest of what is in a file that is elsewhere.

    Raises:
        FileIdentityError: it cannot be read.
    """
    provider = reader_of(file)
    try:
        stamp = provider.stamp(file)
        known = _digests.get(file.url)
        if stamp and known is not None and known[0] == stamp:
            return known[1]
        found: bytes = provider.digest(file)
    except StagingError as error:
        raise FileIdentityError(error.message, hint=error.hint, path=file.url) from error
    except Exception as error:
        raise FileIdentityError(
            f"The content of {file.url} cannot be read: {type(error).__name__}: {error}.",
            hint="A file that is an input must exist when the call is made.",
            path=file.url,
        ) from error
    if stamp:
        with _lock:
            if len(_digests) >= _KEPT:
                _digests.clear()
            _digests[file.url] = stamp, found
    return found
