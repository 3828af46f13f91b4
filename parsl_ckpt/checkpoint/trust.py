"""Whose checkpoints are opened: a checkpoint with pickles in it is code of whoever could write it.

Rule: ours are those that belong to this user (or to root, who can do anything anyway) and that
nobody else can write to, the directory and the files in it.  One listing of the directory tells;
blobs, of which there may be many, are asked when they are opened (:func:`foreign`).  Symbolic links
inside a checkpoint are never followed, by whoever they are, so their target's owner is not asked.
"""

from __future__ import annotations

import os
from typing import Literal

from parsl_ckpt.errors import ConfigurationError, UntrustedCheckpointError

from .backend import Backend, Owner

Trust = Literal["owner", "any"]
_OURS = (".seg", ".idx")


def distrusted(backend: Backend, path: str, trust: Trust = "owner") -> str | None:
    """Why a checkpoint is not to be opened, as half a sentence; None if it may be.

    Args:
        backend: where the directory is.
        path: the directory.
        trust: ``"owner"`` asks that it and its files be ours alone, ``"any"`` asks nothing.

    Raises:
        FileNotFoundError: there is no such directory.
    """
    if trust not in ("owner", "any"):
        raise ConfigurationError(
            f"trust is {trust!r}.", hint='Use "owner" or "any".', field="trust"
        )
    owner = backend.owner(path)
    if owner is None or trust == "any":
        return None
    reason = foreign(owner)
    if reason is not None:
        return reason
    for name, owner in backend.owners(path):
        if name.endswith(_OURS) or name == "blobs":
            reason = foreign(owner)
            if reason is not None:
                return f"holds {name}, which {reason}"
    return None


def foreign(owner: Owner | None) -> str | None:
    """Why a file is not ours alone, as half a sentence; None if it is, or if nobody can tell."""
    if owner is None or not hasattr(os, "geteuid"):
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
        hint=f"If you know what is in it, take it over (chown -R, chmod -R go-w {path}), "
        "or open it with trust='any'.",
        path=path,
    )
