"""Codecs for types of which the plain codec knows nothing: how each is made of plain values.

Rule of this file: a type is matched exactly, never by its bases; a value comes back equal to what
went in, or is refused.  Names are recorded, so they must not change.  What libraries bring along is
in ``tensors.py`` and ``generators.py`` (and ``collected.py``), imported when such a value is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Codec", "codec_for", "codec_named", "register_codec", "registered"]


class Codec(NamedTuple):
    """How a type is made plain.

    Attributes:
        name: what is recorded.
        encode: gives plain values; whatever it raises refuses the value.
        decode: gives the value back.
        staged: ``decode`` takes the device as well.
    """

    name: str
    encode: Callable[[Any], Any]
    decode: Callable[..., Any]
    staged: bool = False


#: What users have registered; this comes before everything but numpy's and the builtin types.
registered: dict[type, Codec] = {}
_known: dict[type, Codec] = {}
_named: dict[str, Codec] = {}
_LAZY = {
    "collections": "collected", "numpy": "generators", "random": "generators", "torch": "tensors",
    "jax": "tensors", "jaxlib": "tensors",
}  # fmt: skip


def register_codec(
    kind: type,
    encode: Callable[[Any], Any],
    decode: Callable[[Any], Any],
    *,
    name: str | None = None,
) -> None:
    """Have values of a type recorded without pickle.

    Args:
        kind: the type; its subclasses are not meant.
        encode: takes a value and gives plain ones: scalars, containers, dataclasses, arrays, or
            what other codecs carry.
        decode: takes those and gives the value back.
        name: what is recorded, and by which the codec is found when the value is read; module and
            name of the type, unless given.  It must be registered again before that.

    Raises:
        TypeError: ``kind`` is no type, or one that is carried as it is; ``encode`` or ``decode``
            cannot be called.
        ValueError: the name belongs to another type.

    >>> class Grid:
    ...     def __init__(self, n): self.n = n
    >>> register_codec(Grid, lambda grid: grid.n, Grid, name="example.Grid")
    """
    from .plain import _SCALARS, _STRUCTURED

    if not isinstance(kind, type):
        raise TypeError(f"kind is {kind!r}, which is no type.")
    if kind in _SCALARS or kind in _STRUCTURED:
        raise TypeError(f"{kind.__qualname__} is carried as it is.")
    for said, given in (("encode", encode), ("decode", decode)):
        if not callable(given):
            raise TypeError(f"{said} is {given!r}, which cannot be called.")
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name is {name!r}, which is no text.")
    name = f"{kind.__module__}.{kind.__qualname__}" if name is None else name
    before = _named.get(name)
    if name.partition(":")[0] == "parsl_ckpt" or (
        # A class that is defined again, in a notebook, takes the place of its former self.
        before is not None
        and not any(
            codec is before
            and (one.__module__, one.__qualname__) == (kind.__module__, kind.__qualname__)
            for one, codec in registered.items()
        )
    ):
        raise ValueError(f"The name {name!r} belongs to another type.")
    registered[kind] = _named[name] = Codec(name, encode, decode)


def provide(
    kind: type, name: str, encode: Callable[[Any], Any], decode: Callable[..., Any], staged: bool
) -> None:
    """Register what comes with this library."""
    _known[kind] = _named[f"parsl_ckpt:{name}"] = Codec(
        f"parsl_ckpt:{name}", encode, decode, staged
    )


def codec_for(kind: type) -> Codec | None:
    """The codec of a type that comes with this library."""
    found = _known.get(kind)
    if found is None:
        root = kind.__module__.partition(".")[0]
        if _load(root):
            found = _known.get(kind)
    return found


def codec_named(name: str) -> Codec | None:
    """The codec of a recorded name."""
    found = _named.get(name)
    if found is None and name.startswith("parsl_ckpt:"):
        _load(name.partition(":")[2].partition(".")[0])
        found = _named.get(name)
    return found


def _load(root: str) -> bool:
    module = _LAZY.get(root)
    if module is None:
        return False
    provided: Any = importlib.import_module(f"{__package__}.{module}")
    try:
        provided.load(root)
    except ImportError:
        return False
    return True
