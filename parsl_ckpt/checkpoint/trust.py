"""Whose checkpoints are opened: a checkpoint with pickles in it is code of whoever could write it.

Rule: ours are those that belong to this user (or to root, who can do anything anyway) and that
    nobody
else can write to.
"""

from __future__ import annotations

import os
from typing import Literal

from parsl_ckpt.errors import ConfigurationError, UntrustedCheckpointError

from .backend import Backend

Trust = Literal["owner", "any"]


def distrusted(backend: Backend, path: str, trust: Trust = "owner") -> str | None:
    """Why a directory is not to be opened, as half a sentence; None if it may be.

    Args:
        backend: where the directory is.
        path: the directory.
        trust: ``"owner"`` asks that it be ours alone, ``"any"`` asks nothing.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    if trust not in ("owner", "any"):
        raise ConfigurationError(
            f"trust is {trust!r}.", hint='Use "owner" or "any".', field="trust"
        )
    owner = backend.owner(path)
    if owner is None or trust == "any" or not hasattr(os, "geteuid"):
        return None
    if owner.uid not in (os.geteuid(), 0):
        return f"belongs to user {owner.uid}"
    if owner.mode & 0o022:
        return f"can be written to by others (mode {owner.mode:04o})"
    return None


def refuse(path: str, reason: str) -> UntrustedCheckpointError:
    """The error for a checkpoint that was named and is not trusted."""
    return UntrustedCheckpointError(
        f"The checkpoint {path} {reason}, and checkpoints may hold code.",
        hint=f"Take it over (chown, chmod go-w {path}) or open it with trust='any'.",
        path=path,
    )
