"""Input files that change while a call runs: its value is not filed under what they were.

    look ─► digest ─► key ─► the function reads ─► look again: still the same? ─► record

Rule of this file: what tells a change (inode, size, time) is looked at before the content is, so
that whatever happens after the key was made is seen.  It costs two looks for each file, and nothing
where no call has any.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.outputs import FileObject

Looked = tuple[tuple[Any, bytes], ...]


def look_at_futures(inputs: Iterable[Future[Any]]) -> Looked:
    """How the files are that are among the inputs of a task."""
    if not FileObject.any_made:
        return ()
    return _look(one.file_obj for one in inputs if isinstance(one, DataFuture))


def look_at_arguments(args: Iterable[Any], kwargs: Mapping[str, Any]) -> Looked:
    """How the files are that are among arguments, or in builtin containers there."""
    if not FileObject.any_made:
        return ()
    values, seen = [*args, *kwargs.values()], set()
    for value in values:
        kind = type(value)
        if kind in (list, tuple, set, frozenset, dict) and id(value) not in seen:
            seen.add(id(value))
            values += value.values() if kind is dict else value
    return _look(one for one in values if isinstance(one, FileObject))


def changed(looks: Looked, written: Iterable[Any]) -> list[Any]:
    """The files that are not as they were, but for those that the call itself was to write.

    One that has been removed was what it was as long as it could be read.
    """
    changed = [file for file, was in looks if (now := file.state()) and now != was]
    if not changed:
        return []
    own = {os.path.abspath(one.filepath) for one in written if not one.elsewhere}
    return [file for file in changed if os.path.abspath(file.filepath) not in own]


def _look(files: Iterable[Any]) -> Looked:
    return tuple([(file, state) for file in files if (state := file.state())])
