"""Secret keys: where they come from, and that they are secret.

Rule of this file: a key is never kept beside the data, is never shown, and a file that others can
read is no key.  What is used is never the key itself but 32 bytes derived from it for one purpose,
so that what one part of the library reveals says nothing about another.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable
from typing import Union

from blake3 import blake3

from ..errors import KeyFileError

SIGNING = "parsl_ckpt signing of checkpoints 1"  # purposes, as BLAKE3 derives keys
SECRETS = "parsl_ckpt digests of secret arguments 1"

VARIABLE = "PARSL_CKPT_KEY"
MINIMUM = 16  # bytes; fewer can be guessed
_HEX = re.compile(rb"[0-9a-fA-F]{32,}")
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_LARGEST = 1 << 16

KeySource = Union[bytes, str, "os.PathLike[str]"]


def signing_secret(source: KeySource | None, outside: Iterable[str] = ()) -> bytes | None:
    """The secret that a user has given, or None if there is none.

    Args:
        source: the secret itself as bytes; or the path of a file that holds it, raw or in
            hexadecimal digits; or None for what the environment variable PARSL_CKPT_KEY says: a
            path, if it contains a slash, else hexadecimal digits.
        outside: directories that the file must not be in, because the data are there.

    Raises:
        KeyFileError: it cannot be read, is too short, others can read it, or it is with the data.
    """
    if source is None:
        given = os.environ.get(VARIABLE)
        if not given:
            return None
        if "/" not in given and os.sep not in given:
            return _checked(os.fsencode(given), f"The variable {VARIABLE}", True)
        source = given
    if isinstance(source, (bytes, bytearray)):
        return _checked(bytes(source), "The key", False)
    path = os.path.expanduser(os.fspath(source))
    real = os.path.realpath(path)
    for directory in outside:
        if real.startswith(os.path.realpath(directory) + os.sep):
            raise KeyFileError(
                f"The key file {path} is kept with the data that it signs, in {directory}.",
                hint="Keep it where who may change the data cannot: ~/.config/parsl_ckpt/.",
                path=path,
            )
    return _checked(read_private(path), f"The key file {path}", False)


def derive(secret: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose."""
    return blake3(secret, derive_key_context=purpose).digest()


def user_secret() -> bytes:
    """This user's own secret, made at its first use and kept outside of every store.

    It stands in ``~/.config/parsl_ckpt/secret.key`` (``$XDG_CONFIG_HOME`` in place of ``~/.config``
    where that is set).

    Raises:
        KeyFileError: it can be neither read nor made.
    """
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    path = os.path.join(base, "parsl_ckpt", "secret.key")
    if not os.path.exists(path):
        try:
            _make(path)
        except OSError as error:
            raise KeyFileError(
                f"No key for secret arguments can be kept at {path}: {error}.",
                hint="Give Config(signing_key=...), or set XDG_CONFIG_HOME.",
                path=path,
            ) from error
    return _checked(read_private(path), f"The key file {path}", False)


def read_private(path: str) -> bytes:
    """The bytes of a file that nobody but its owner can read.

    Raises:
        KeyFileError: it is missing, is not a file, or others can read it or write to it.
    """
    try:
        fd = os.open(path, _READ)
        try:
            found = os.fstat(fd)
            data = os.read(fd, _LARGEST + 1) if stat.S_ISREG(found.st_mode) else b""
        finally:
            os.close(fd)
    except OSError as error:
        raise KeyFileError(
            f"The key file {path} cannot be read: {error}.",
            hint="Name a file that holds the key, readable by you alone.",
            path=path,
        ) from error
    if not stat.S_ISREG(found.st_mode) or len(data) > _LARGEST:
        raise KeyFileError(f"{path} is not a file that holds a key.", path=path)
    if hasattr(os, "geteuid"):
        if found.st_uid not in (os.geteuid(), 0):
            raise KeyFileError(
                f"The key file {path} belongs to user {found.st_uid}.",
                hint="Use a key of your own.",
                path=path,
            )
        if found.st_mode & 0o077:
            raise KeyFileError(
                f"The key file {path} is open to others (mode {found.st_mode & 0o777:04o}).",
                hint=f"Use chmod 600 {path}; if others may have read it, make a new key.",
                path=path,
            )
    return data


def _checked(data: bytes, what: str, hexadecimal: bool) -> bytes:
    text = data.strip()
    if _HEX.fullmatch(text) and len(text) % 2 == 0:
        data = bytes.fromhex(text.decode())
    elif hexadecimal:
        data = b""
    if len(data) < MINIMUM:
        raise KeyFileError(
            f"{what} does not hold at least {MINIMUM} bytes ({2 * MINIMUM} hexadecimal digits).",
            hint="Make one: python -c 'import secrets; print(secrets.token_hex(32))'",
        )
    return data


def _make(path: str) -> None:
    """Create the file with a new key, whole or not at all; several processes may try at once."""
    parent = os.path.dirname(path)
    os.makedirs(parent, 0o700, exist_ok=True)
    temporary = os.path.join(parent, f".tmp-{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(fd, secrets.token_hex(32).encode() + b"\n")
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            os.link(temporary, path)  # unlike a rename, it replaces nobody's key
        except FileExistsError:
            pass
        except OSError:  # no hard links here
            if not os.path.exists(path):
                os.rename(temporary, path)
                return
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
