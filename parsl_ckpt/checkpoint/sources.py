"""Which checkpoints come with those that a user names: the ones that their runs used.

Rule of this file: a run notes what it used, relative to itself, so that run directories may be
moved; loading a run loads those too, and one that is missing does no harm.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from . import where
from .store import Store


def with_used(named: Sequence[str | os.PathLike[str]], opening: dict[str, Any]) -> list[str]:
    """The checkpoints that are named, and before them those that their runs used.

    Args:
        named: checkpoint directories; missing ones are left for :meth:`Store.open` to tell.
        opening: how they are opened: ``trust``, ``signing_key``, ``backend``.
    """
    given = [where.plain(path) for path in named]
    found: dict[str, str] = {}  # absolute: as it was given
    waiting = list(given)
    while waiting:
        path = waiting.pop()
        place = where.absolute(path)
        if place in found:
            continue
        found[place] = path
        if not where.has_directory(opening.get("backend"), path):
            continue
        with Store.open(None, sources=[path], named=False, **opening) as store:
            for _, run in store.runs():
                for relative in run.data.get("used", ()):
                    used = where.resolve(str(relative), path)
                    if where.has_directory(opening.get("backend"), used):
                        waiting.append(used)
    places = set(map(where.absolute, given))
    return [path for place, path in reversed(found.items()) if place not in places] + given
