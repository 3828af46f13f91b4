"""Shared libraries that code reaches through ``ctypes``: your own count by their file.

Rule of this file: a library is code.  One that is built beside a project counts by its content and
by the types that were declared for its functions; one of the system by its name, as the standard
library does.  As an argument it is refused: another process has loaded it somewhere else.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from typing import Any

from ..errors import FileIdentityError
from .files import content_digest
from .lookups import BY_ID
from .origin import PROJECT, origin_of
from .values import BY_CLASS, LAZY, Refused, Walk
from .walk import ORDERED, Expanded

_SYSTEM = ("/usr/", "/lib", "/System/", os.path.realpath(sys.base_prefix) + os.sep)


def _install(top: str) -> None:
    ctypes: Any = sys.modules[top]
    BY_CLASS[ctypes.CDLL] = _library
    BY_CLASS[ctypes._CFuncPtr] = _function


def _library(value: Any, walk: Walk) -> Expanded:
    ctypes: Any = sys.modules["ctypes"]
    if not walk.opaque:
        raise Refused(value, "it is loaded in this process only")
    assumed = [_named(value._FuncPtr._restype_), None, None]
    declared = {  # looking a function up leaves it there, which means nothing
        name: _declared(entry)
        for name, entry in list(vars(value).items())
        if isinstance(entry, ctypes._CFuncPtr) and _declared(entry) != assumed
    }
    return b"v", ORDERED, ["library", *_file(str(value._name or ""), walk), declared]


def _file(name: str, walk: Walk) -> list[Any]:
    """The content of a file of the project; of any other its name."""
    if os.path.isfile(name) and not os.path.realpath(name).startswith(_SYSTEM):
        if walk.inline is BY_ID:  # what is loaded stays what it is
            return []
        with contextlib.suppress(FileIdentityError):
            return [content_digest(name)]
    return [os.path.basename(name)]


def _function(value: Any, walk: Walk) -> Expanded:
    """A function of a library, or one of Python's that is passed to such."""
    if not walk.opaque:
        raise Refused(value, "it is an address in this process")
    behind = []
    for part in (value._objects or {}).values():
        if type(part).__name__ == "CThunkObject":  # shows what it calls to nobody else
            behind += [one for one in gc.get_referents(part) if not isinstance(one, type)]
        else:
            behind.append(part)
    name = getattr(value, "__name__", "")
    return b"v", ORDERED, ["foreign function", name, _declared(value), behind]


def _declared(value: Any) -> list[Any]:
    """What it takes and gives."""
    kinds = None if value.argtypes is None else [_named(kind) for kind in value.argtypes]
    return [_named(value.restype), kinds, getattr(value, "errcheck", None) or None]


def _named(kind: Any) -> Any:
    """A type by its name, and by its code if it is one of the user's."""
    if not isinstance(kind, type):
        return kind
    found = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
    return kind if found is kind and origin_of(kind) == PROJECT else kind.__qualname__


LAZY["ctypes"] = _install
