"""Who is asked in this process for what is in a file that is elsewhere.

Rule of this file: an address is made before it is known where a task runs, so any provider that a
run of this process uses may be asked.  A digest is remembered only beside a stamp.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from parsl_ckpt.errors import FileIdentityError, ParslCkptError

if TYPE_CHECKING:
    from parsl_ckpt.apps.files import File

_KEPT = 65_536
_lock = threading.Lock()
_used: list[Any] = []
_digests: dict[str, tuple[bytes, bytes]] = {}


def use(providers: Sequence[Any]) -> None:
    """Ask these as well, before the ready-made ones."""
    with _lock:
        _used[:0] = providers


def release(providers: Sequence[Any]) -> None:
    """Do not ask these any more."""
    with _lock:
        for provider in providers:
            at = next((at for at, one in enumerate(_used) if one is provider), None)
            if at is not None:
                del _used[at]


def reader_of(file: File) -> Any:
    """The provider that can tell what is in a file.

    Raises:
        FileIdentityError: there is none.
    """
    from parsl_ckpt.apps.staging import default_staging

    with _lock:
        providers = [*_used]
    for provider in (*providers, *default_staging()):
        if provider.can_stage_in(file):
            return provider
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
    except ParslCkptError:
        raise
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
