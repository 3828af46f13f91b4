"""Where a session is kept when nobody says where."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.parse
from collections.abc import Mapping

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_LONGEST = 120


def encoded(name: str) -> str:
    """A name as that of a directory: nothing in it leads elsewhere, and no two names give one.

    >>> encoded("my-run"), encoded("../a b"), encoded("")
    ('my-run', '%2e%2e%2fa%20b', '%')
    """
    bare = name.startswith(".")
    parts = [
        char if char in _PLAIN and not (bare and char == ".") else _escaped(char) for char in name
    ]
    text = "".join(parts) or "%"
    if len(text) > _LONGEST:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        text = f"{text[: _LONGEST - 34]}%-{digest}"
    return text


def _escaped(char: str) -> str:
    return "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


def decoded(directory: str) -> str:
    """The name that a directory was called by; another one, if it is too long to be known.

    >>> decoded("%2e%2e%2fa%20b"), decoded("%")
    ('../a b', '')
    """
    return "" if directory == "%" else urllib.parse.unquote(directory, errors="surrogatepass")


def default_path(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The directory of a session: below ``$PARSL_CKPT_CACHE``, or the user's cache directory."""
    return os.path.join(cache_directory(environment), "checkpoints", encoded(name))


def cache_directory(environment: Mapping[str, str] = os.environ) -> str:
    """``$PARSL_CKPT_CACHE``, or where the platform keeps what programs of the user keep."""
    given = environment.get("PARSL_CKPT_CACHE")
    if given:
        return os.path.expanduser(given)
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "parsl_ckpt")
