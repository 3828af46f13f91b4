"""Decoding the plain codec.  See ``plain.py``, its other half, for the rules and the tags."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import fractions
import functools
import importlib
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Sequence
from decimal import Decimal
from struct import error as StructError
from typing import Any, NamedTuple

from parsl_ckpt.errors import FormatError

from .dtypes import dtype_of
from .plain import (
    _C128,
    _DATE,
    _DELTA,
    _F64,
    _I64,
    _TIME,
    _U32,
    MAX_DEPTH,
    _find,
    _schema,
)
from .registry import codec_named


class _Reader:
    """State of one decoding: the data, the place in it, the buffers beside it."""

    __slots__ = (
        "at",
        "buffers",
        "build",
        "data",
        "depth",
        "device",
        "imports",
        "met",
        "neutral",
        "stand_ins",
    )

    def __init__(
        self, data: bytes, at: int, buffers: Sequence[Any], imports: bool, stand_ins: bool
    ) -> None:
        self.data = data
        self.at = at
        self.buffers = buffers
        self.depth = 0
        self.imports = imports
        self.stand_ins = stand_ins
        self.met: list[Any] = []  # mutable things, in the order of their beginning
        self.neutral = False  # classes are not looked for
        self.build: Callable[[Any], Any] | None = None
        self.device: Any = None


def decode_plain(
    data: bytes, buffers: Sequence[Any] = (), *, imports: bool = True, stand_ins: bool = False
) -> Any:
    """The value that was encoded.

    Args:
        data: what ``encode_plain`` gave.
        buffers: the buffers beside it; writable ones become the memory of arrays.
        imports: modules may be imported to find a class; otherwise it must be there already.
        stand_ins: for an instance of a class that is not there, or has other fields now, one with
            the fields that were recorded; for a member of an enum, its name.

    Raises:
        FormatError: the bytes are not an encoded value, or name a class that is not there.
    """
    tag = data[:1]
    try:
        if tag == b"i" and len(data) == 9:
            return _I64.unpack_from(data, 1)[0]
        if tag == b"f" and len(data) == 9:
            return _F64.unpack_from(data, 1)[0]
        reader = _Reader(data, 0, buffers, imports, stand_ins)
        value = _get(reader)
    except FormatError:
        raise
    except (StructError, IndexError, KeyError):
        raise FormatError("The encoded value ends early.") from None
    except Exception as error:
        raise FormatError(f"The encoded value does not decode: {error}.") from error
    if reader.at != len(data):
        raise FormatError("The encoded value is followed by something else.")
    return value


class Recorded:
    """A dataclass instance as it was recorded: what its class was called, and its fields.

    Attributes:
        module, qualname: of the class.
        fields: values by name.
    """

    __slots__ = ("fields", "module", "qualname")

    def __init__(self, module: str, qualname: str) -> None:
        self.module = module
        self.qualname = qualname
        self.fields: dict[str, Any] = {}


class Member(NamedTuple):
    """A member of an enum as it was recorded: by name, or a combination of flags by value."""

    module: str
    qualname: str
    name: str | int


def decode_named(
    data: bytes,
    buffers: Sequence[Any] = (),
    device: Any = None,
    build: Callable[[Any], Any] | None = None,
) -> list[tuple[str, Any]]:
    """What ``encode_named`` encoded; :class:`Recorded` and :class:`Member` stand for instances.

    Args:
        data: what ``encode_named`` gave.
        buffers: the buffers beside it; writable ones become the memory of arrays.
        device: where tensors are put; None leaves that to their library.
        build: makes instances of what stands for them, for codecs that are given some.

    Raises:
        FormatError: the bytes are no such values.
    """
    reader = _Reader(bytes(data), 0, buffers, False, False)
    reader.neutral, reader.device, reader.build = True, device, build
    try:
        values = [(_get_text(reader), _get(reader)) for _ in range(_count(reader))]
    except FormatError:
        raise
    except (StructError, IndexError, KeyError):
        raise FormatError("The encoded values end early.") from None
    except Exception as error:
        raise FormatError(f"The encoded values do not decode: {error}.") from error
    if reader.at != len(data):
        raise FormatError("The encoded values are followed by something else.")
    return values


def _get(reader: _Reader) -> Any:
    at = reader.at
    tag = reader.data[at]
    reader.at = at + 1
    get = _GETTERS.get(tag)
    if get is None:
        raise FormatError(f"There is no plain value with tag {tag}.")
    return get(reader)


def _take(reader: _Reader, size: int) -> bytes:
    at = reader.at
    end = at + size
    if end > len(reader.data):
        raise FormatError("The encoded value ends early.")
    reader.at = end
    return reader.data[at:end]


def _u32(reader: _Reader) -> int:
    at = reader.at
    reader.at = at + 4
    return _U32.unpack_from(reader.data, at)[0]  # type: ignore[no-any-return]


def _count(reader: _Reader) -> int:
    """A number of values to come: each takes a byte at least."""
    count = _u32(reader)
    if count > len(reader.data) - reader.at:
        raise FormatError("A container claims more values than there are bytes.")
    return count


def _deeper(reader: _Reader) -> None:
    reader.depth += 1
    if reader.depth > MAX_DEPTH + 4:
        raise FormatError("The encoded value is nested too deep.")


def _get_i64(reader: _Reader) -> int:
    at = reader.at
    reader.at = at + 8
    return _I64.unpack_from(reader.data, at)[0]  # type: ignore[no-any-return]


def _get_bigint(reader: _Reader) -> int:
    return int.from_bytes(_take(reader, _u32(reader)), "little", signed=True)


def _get_float(reader: _Reader) -> float:
    at = reader.at
    reader.at = at + 8
    return _F64.unpack_from(reader.data, at)[0]  # type: ignore[no-any-return]


def _get_text(reader: _Reader) -> str:
    return str(_take(reader, _u32(reader)), "utf-8", "surrogatepass")


def _get_bytes(reader: _Reader) -> bytes:
    return _take(reader, _u32(reader))


def _get_buffer(reader: _Reader) -> Any:
    number = _u32(reader)
    if number >= len(reader.buffers):
        raise FormatError("The encoded value refers to a buffer that is not there.")
    return reader.buffers[number]


def _get_items(reader: _Reader) -> list[Any]:
    _deeper(reader)
    items = [_get(reader) for _ in range(_count(reader))]
    reader.depth -= 1
    return items


# Things that may be referred to are entered before what is in them, as they were when encoded.


def _met(reader: _Reader, thing: Any) -> Any:
    reader.met.append(thing)
    return thing


def _get_reference(reader: _Reader) -> Any:
    number = _u32(reader)
    if number >= len(reader.met) or reader.met[number] is _UNFINISHED:
        raise FormatError("The encoded value refers to something that is not there.")
    return reader.met[number]


_UNFINISHED = object()


def _get_list(reader: _Reader) -> list[Any]:
    items: list[Any] = _met(reader, [])
    _deeper(reader)
    items.extend(_get(reader) for _ in range(_count(reader)))
    reader.depth -= 1
    return items


def _get_set(reader: _Reader) -> set[Any]:
    items: set[Any] = _met(reader, set())
    items.update(_get_items(reader))
    return items


def _get_dict(reader: _Reader) -> dict[Any, Any]:
    items: dict[Any, Any] = _met(reader, {})
    _deeper(reader)
    for _ in range(_count(reader)):
        key = _get(reader)
        items[key] = _get(reader)
    reader.depth -= 1
    return items


def _get_coded(reader: _Reader) -> Any:
    name = _get_text(reader)
    codec = codec_named(name)
    if codec is None:
        raise FormatError(
            f"There is no codec {name!r} for a value.",
            hint="Register it with register_codec before the value is wanted, or install the "
            "library that it is of.",
        )
    number = len(reader.met)
    reader.met.append(_UNFINISHED)
    _deeper(reader)
    inner = _get(reader)
    reader.depth -= 1
    if reader.build is not None:
        inner = reader.build(inner)
    try:
        value = codec.decode(inner, reader.device) if codec.staged else codec.decode(inner)
    except Exception as error:
        raise FormatError(
            f"The codec {name!r} did not take what was saved of a value: "
            f"{type(error).__name__}: {error}."
        ) from error
    reader.met[number] = value
    return value


def _get_date(reader: _Reader) -> dt.date:
    return dt.date(*_DATE.unpack(_take(reader, _DATE.size)))


def _get_delta(reader: _Reader) -> dt.timedelta:
    return dt.timedelta(*_DELTA.unpack(_take(reader, _DELTA.size)))


def _get_datetime(reader: _Reader) -> dt.datetime:
    year, month, day = _DATE.unpack(_take(reader, _DATE.size))
    hour, minute, second, micro, fold = _TIME.unpack(_take(reader, _TIME.size))
    return dt.datetime(year, month, day, hour, minute, second, micro, _get(reader), fold=fold)


def _get_time(reader: _Reader) -> dt.time:
    hour, minute, second, micro, fold = _TIME.unpack(_take(reader, _TIME.size))
    return dt.time(hour, minute, second, micro, _get(reader), fold=fold)


def _get_offset_zone(reader: _Reader) -> dt.timezone:
    offset = _get(reader)
    name = _get(reader)
    return dt.timezone(offset) if name is None else dt.timezone(offset, name)


def _get_zone(reader: _Reader) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(_get_text(reader))


def _get_decimal(reader: _Reader) -> Decimal:
    return Decimal(_get_text(reader))


def _get_fraction(reader: _Reader) -> fractions.Fraction:
    return fractions.Fraction(_get(reader), _get(reader))


def _get_path(reader: _Reader) -> pathlib.PurePath:
    kind = _PATHS.get(_get_text(reader))
    if kind is None:
        raise FormatError("The encoded path is of a kind that is not known here.")
    return kind(_get_text(reader))


_PATHS: dict[str, type[pathlib.PurePath]] = {
    kind.__name__: kind
    for kind in (pathlib.PurePosixPath, pathlib.PureWindowsPath, type(pathlib.Path()))
}


def _class(reader: _Reader, wanted: type | None) -> Any:
    module_name = _get_text(reader)
    qualname = _get_text(reader)
    if reader.stand_ins:
        try:
            return _class_named(reader, wanted, module_name, qualname)
        except Exception:  # whatever importing a module may raise
            return _StandIn(qualname)
    return _class_named(reader, wanted, module_name, qualname)


class _StandIn(str):
    """The name of a class that is not there."""


def _class_named(reader: _Reader, wanted: type | None, module_name: str, qualname: str) -> Any:
    module = sys.modules.get(module_name)
    if module is None and reader.imports:
        module = importlib.import_module(module_name)
    kind = _find(module, qualname) if module is not None else None
    good = isinstance(kind, wanted) if wanted else isinstance(kind, type) and _schema(kind)
    if not good and not (wanted is None and isinstance(kind, type) and _schema(kind) == ()):
        raise FormatError(
            f"The class {module_name}.{qualname} is not there any more.",
            hint="The record is left aside and what it held is computed again.",
        )
    return kind


def _get_flag(reader: _Reader) -> Any:
    if reader.neutral:
        return Member(_get_text(reader), _get_text(reader), _get(reader))
    kind = _class(reader, enum.EnumMeta)
    value = _get(reader)
    return f"{kind}({value})" if type(kind) is _StandIn else kind(value)


def _get_enum(reader: _Reader) -> Any:
    if reader.neutral:
        return Member(_get_text(reader), _get_text(reader), _get_text(reader))
    kind = _class(reader, enum.EnumMeta)
    name = _get_text(reader)
    if type(kind) is _StandIn or (reader.stand_ins and name not in kind.__members__):
        return f"{getattr(kind, '__qualname__', kind)}.{name}"
    if name not in kind.__members__:
        raise FormatError(f"{kind.__qualname__} has no member {name}.")
    return kind.__members__[name]


def _get_recorded(reader: _Reader) -> Recorded:
    recorded: Recorded = _met(reader, Recorded(_get_text(reader), _get_text(reader)))
    _deeper(reader)
    for _ in range(_count(reader)):
        name = _get_text(reader)
        recorded.fields[name] = _get(reader)
    reader.depth -= 1
    return recorded


def _get_dataclass(reader: _Reader) -> Any:
    if reader.neutral:
        return _get_recorded(reader)
    kind = _class(reader, None)
    _deeper(reader)
    fields = [(_get_text(reader), _get(reader)) for _ in range(_count(reader))]
    reader.depth -= 1
    names = tuple(name for name, _ in fields)
    if type(kind) is _StandIn or (reader.stand_ins and names != _schema(kind)):
        kind = _stand_in(getattr(kind, "__qualname__", kind), names)
    elif names != _schema(kind):
        raise FormatError(f"The fields of {kind.__module__}.{kind.__qualname__} have changed.")
    instance = object.__new__(kind)
    for name, value in fields:
        object.__setattr__(instance, name, value)
    return instance


@functools.lru_cache(256)
def _stand_in(qualname: str, names: tuple[str, ...]) -> Any:
    """A dataclass in place of one that is not there."""
    made = dataclasses.make_dataclass("StandIn", [(f"f{at}", Any) for at in range(len(names))])
    for name, field in zip(names, dataclasses.fields(made), strict=True):
        field.name = name  # which need be no identifier: the bytes may come from anyone
    made.__qualname__ = made.__name__ = qualname
    return made


def _numpy() -> Any:
    return sys.modules.get("numpy") or importlib.import_module("numpy")


def _get_dtype(reader: _Reader) -> Any:
    dtype = dtype_of(_get(reader), _numpy())
    if dtype.hasobject:
        raise FormatError("A numpy type of objects is not plain.")
    return dtype


def _get_numpy_scalar(reader: _Reader) -> Any:
    dtype = _get_dtype(reader)
    data = _get_bytes(reader)
    if len(data) != dtype.itemsize:
        raise FormatError("A numpy scalar is not of its type's size.")
    if dtype.fields is not None:  # which can be changed
        return _met(reader, _numpy().frombuffer(bytearray(data), dtype)[0])
    return _numpy().frombuffer(data, dtype)[0]


def _get_array(reader: _Reader) -> Any:
    number = len(reader.met)
    reader.met.append(_UNFINISHED)
    reader.met[number] = array = _read_array(reader)
    return array


def _read_array(reader: _Reader) -> Any:
    numpy = _numpy()
    order = _take(reader, 1)
    dtype = _get_dtype(reader)
    shape = _get(reader)
    tag = _take(reader, 1)
    if tag not in (b"b", b"B"):
        raise FormatError("An array has no bytes.")
    data = _get_bytes(reader) if tag == b"b" else _get_buffer(reader)
    size = dtype.itemsize
    for extent in shape:
        if type(extent) is not int or extent < 0:
            raise FormatError("An array has an impossible shape.")
        size *= extent
    if memoryview(data).nbytes != size or order not in (b"C", b"F"):
        raise FormatError("An array is not of its shape's size.")
    if not size:
        return numpy.empty(shape, dtype, order=order.decode())
    if memoryview(data).readonly:
        data = bytearray(data)  # arrays are writable
    return numpy.frombuffer(data, numpy.uint8).view(dtype).reshape(shape, order=order.decode())


_GETTERS: dict[int, Callable[[_Reader], Any]] = {
    ord(tag): get
    for tag, get in {
        "N": lambda reader: None,
        "T": lambda reader: True,
        "F": lambda reader: False,
        ".": lambda reader: Ellipsis,
        "i": _get_i64,
        "I": _get_bigint,
        "f": _get_float,
        "c": lambda reader: complex(*_C128.unpack(_take(reader, 16))),
        "s": _get_text,
        "S": lambda reader: _met(reader, str(_get_buffer(reader), "utf-8", "surrogatepass")),
        "b": _get_bytes,
        "B": lambda reader: _met(reader, bytes(_get_buffer(reader))),
        "a": lambda reader: _met(reader, bytearray(_get_bytes(reader))),
        "A": lambda reader: _met(reader, bytearray(_get_buffer(reader))),
        "t": lambda reader: tuple(_get_items(reader)),
        "l": _get_list,
        "e": _get_set,
        "@": _get_reference,
        "X": _get_coded,
        "G": _get_flag,
        "z": lambda reader: frozenset(_get_items(reader)),
        "d": _get_dict,
        "D": _get_date,
        "H": _get_delta,
        "W": _get_datetime,
        "w": _get_time,
        "o": _get_offset_zone,
        "O": _get_zone,
        "Q": _get_decimal,
        "R": _get_fraction,
        "U": lambda reader: uuid.UUID(bytes=_take(reader, 16)),
        "r": lambda reader: range(_get(reader), _get(reader), _get(reader)),
        "P": _get_path,
        "E": _get_enum,
        "C": _get_dataclass,
        "n": _get_array,
        "x": _get_numpy_scalar,
        "y": _get_dtype,
    }.items()
}
