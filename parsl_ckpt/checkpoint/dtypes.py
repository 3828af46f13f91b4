"""Numpy's types as plain values.  Pure."""

from __future__ import annotations

import sys
from typing import Any

from parsl_ckpt.errors import FormatError


class Unnamed(Exception):
    """A type has something that a description does not say."""


def described(dtype: Any) -> Any:
    """A dtype as nested tuples: its string, or its fields, or its base and shape."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("sub", described(base), tuple(shape))
    if dtype.fields is None:
        # long long is another type than long, of the same size
        numpy = sys.modules["numpy"]
        same = dtype.kind not in "iu" or numpy.dtype(dtype.str).char == dtype.char
        return dtype.str if same else dtype.byteorder.replace("=", "") + dtype.char
    fields = []
    for name in dtype.names:
        entry = dtype.fields[name]
        if len(entry) > 2:
            raise Unnamed("a numpy type with titles")
        fields.append((name, described(entry[0]), int(entry[1])))
    tag = "aligned" if dtype.isalignedstruct else "struct"
    return (tag, tuple(fields), int(dtype.itemsize))


def dtype_of(words: Any, numpy: Any) -> Any:
    """The dtype that was described.

    Raises:
        FormatError: it is not described as it must be.
    """
    if type(words) is str:
        return numpy.dtype(words)
    if type(words) is tuple and len(words) == 3:
        tag, first, second = words
        if tag == "sub":
            return numpy.dtype((dtype_of(first, numpy), second))
        if tag in ("struct", "aligned"):
            return numpy.dtype(
                {
                    "names": [name for name, _, _ in first],
                    "formats": [dtype_of(inner, numpy) for _, inner, _ in first],
                    "offsets": [offset for _, _, offset in first],
                    "itemsize": second,
                },
                align=tag == "aligned",
            )
    raise FormatError("A numpy type is not described as it must be.")
