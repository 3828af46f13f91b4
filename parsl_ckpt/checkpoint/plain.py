"""The plain codec: values as bytes without pickle.  Pure; no I/O.

Rules of this file:

* Exact types only: a value comes back equal to what went in, types included.  Whatever is not
  carried exactly (subclasses, mutable things referred to twice, cycles, deep nesting) raises
  :class:`NotPlain`, and the caller turns to pickle or says so.
* Decoding runs no code of a value's class: enum members and dataclasses are found by name in
  modules and rebuilt field by field.  A module is imported only if the caller allows it.
* A length is compared with the bytes that are there before anything is allocated for it.

Every value is a tag byte and what it says; lengths are unsigned 32-bit, little-endian.  Large bytes
and arrays are buffers beside the data, referred to by number.

States of restart sessions (:func:`encode_named`) are encoded in the same way, with two differences:
a mutable thing that is met again is written as a reference, so that what was one object comes
back as one; and classes that no name finds are told to the caller, who may know them otherwise.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import fractions
import pathlib
import sys
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from struct import Struct
from struct import error as StructError
from typing import Any

from .dtypes import Unnamed, described, dtype_of
from .registry import Codec, codec_for, registered

BUFFER_MINIMUM = 32 * 1024  # bytes from which a payload stands beside the data
MAX_DEPTH = 100
MOST_VALUES = 20_000_000  # in one state: what tuples share is written out each time
PREFER_PICKLE = 2000  # containers with more nodes than this are faster pickled

_U32 = Struct("<I")
_I64 = Struct("<q")
_F64 = Struct("<d")
_C128 = Struct("<dd")
_TAG_U32 = Struct("<cI")
_TAG_I64 = Struct("<cq")
_TAG_F64 = Struct("<cd")
_DATE = Struct("<HBB")
_TIME = Struct("<BBBIB")
_DELTA = Struct("<iiI")


class NotPlain(Exception):
    """The value is not carried by this codec; the message says which part and why."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


class _Writer:
    """State of one encoding: bytes so far, buffers beside them, mutable things met."""

    __slots__ = (
        "buffers", "depth", "foreign_main", "kept", "limit", "minimum", "nameless", "nodes", "out",
        "refers", "seen",
    )  # fmt: skip

    def __init__(self, limit: int, foreign_main: bool) -> None:
        self.out: list[bytes] = []
        self.buffers: list[Any] = []
        self.seen: dict[int, int] = {}
        self.minimum = BUFFER_MINIMUM
        self.refers = False  # what is met again is written as a reference
        self.nameless: set[type] = set()  # classes that no name finds, where that is allowed
        self.kept: list[Any] = []  # what codecs made, so that no id is used twice
        self.depth = 0
        self.nodes = 0
        self.limit = limit
        self.foreign_main = foreign_main


def encode_plain(
    value: Any, *, limit: int = PREFER_PICKLE, foreign_main: bool = False
) -> tuple[bytes, Sequence[Any]]:
    """The data and the buffers beside it.

    Args:
        value: what to encode.
        limit: number of nodes in containers beyond which :class:`NotPlain` is raised.
        foreign_main: ``__main__`` is not the user's here; its classes are named without looking.

    Raises:
        NotPlain: the value has a part that this codec does not carry.
    """
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value), ()
    writer = _Writer(limit, foreign_main)
    try:
        _put(writer, value)
    except UnicodeError as error:  # a surrogate in a name
        raise NotPlain(str(error)) from None
    return b"".join(writer.out), writer.buffers


def encode_named(
    values: Iterable[tuple[str, Any]], *, minimum: int = BUFFER_MINIMUM
) -> tuple[bytes, list[Any], set[type]]:
    """Several values together, so that what they share comes back as one object.

    Args:
        values: names and values.
        minimum: bytes from which an array stands beside the data.

    Returns:
        The data, the buffers beside it, and the dataclasses and enums that no name finds.

    Raises:
        NotPlain: a value has a part that this codec does not carry; ``name`` says which.
    """
    writer = _Writer(MOST_VALUES, False)
    writer.minimum, writer.refers = minimum, True
    count = 0
    name = ""
    try:
        for name, value in values:
            writer.out.append(_text(name))
            _put(writer, value)
            count += 1
    except NotPlain as reason:
        reason.name = name
        raise
    except (UnicodeError, OverflowError, StructError, RecursionError) as error:
        raise NotPlain(f"what cannot be encoded ({error})", name) from None
    return _U32.pack(count) + b"".join(writer.out), writer.buffers, writer.nameless


# --- encoding -------------------------------------------------------------------------------------


def _int(value: int) -> bytes:
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _TAG_I64.pack(b"i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    if len(data) >= 1 << 32:
        raise NotPlain("an integer of more than 4 GB")
    return _TAG_U32.pack(b"I", len(data)) + data


def _float(value: float) -> bytes:
    return _TAG_F64.pack(b"f", value)


def _complex(value: complex) -> bytes:
    return b"c" + _C128.pack(value.real, value.imag)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return _U32.pack(len(data)) + data


def _constant(data: bytes) -> Callable[[Any], bytes]:
    return lambda _value: data


def _date(value: dt.date) -> bytes:
    return b"D" + _DATE.pack(value.year, value.month, value.day)


def _delta(value: dt.timedelta) -> bytes:
    return b"H" + _DELTA.pack(value.days, value.seconds, value.microseconds)


def _path(value: pathlib.PurePath) -> bytes:
    return b"P" + _text(type(value).__name__) + _text(str(value))


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): _constant(b"N"),
    type(Ellipsis): _constant(b"."),
    bool: lambda value: b"T" if value else b"F",
    int: _int,
    float: _float,
    complex: _complex,
    Decimal: lambda value: b"Q" + _text(str(value)),
    fractions.Fraction: lambda value: b"R" + _int(value.numerator) + _int(value.denominator),
    dt.date: _date,
    dt.timedelta: _delta,
    uuid.UUID: lambda value: b"U" + value.bytes,
    range: lambda value: b"r" + _int(value.start) + _int(value.stop) + _int(value.step),
    pathlib.PurePosixPath: _path,
    pathlib.PureWindowsPath: _path,
    type(pathlib.Path()): _path,
}


def _put(writer: _Writer, value: Any) -> None:
    kind = type(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        writer.out.append(scalar(value))
        return
    put = _STRUCTURED.get(kind)
    if put is not None:
        put(writer, value)
        return
    _put_other(writer, value, kind)


def _put_str(writer: _Writer, value: str) -> None:
    data = value.encode("utf-8", "surrogatepass")
    if len(data) >= BUFFER_MINIMUM:
        if not _again(writer, value):
            _put_buffer(writer, b"S", data)
    else:
        writer.out.append(_TAG_U32.pack(b"s", len(data)) + data)


def _put_bytes(writer: _Writer, value: bytes) -> None:
    if len(value) >= BUFFER_MINIMUM:
        if not _again(writer, value):
            _put_buffer(writer, b"B", value)
    else:
        writer.out.append(_TAG_U32.pack(b"b", len(value)) + value)


def _put_bytearray(writer: _Writer, value: bytearray) -> None:
    if _again(writer, value):
        return
    # A copy, because the caller may change it before it is written.
    data = bytes(value)
    if len(data) >= BUFFER_MINIMUM:
        _put_buffer(writer, b"A", data)
    else:
        writer.out.append(_TAG_U32.pack(b"a", len(data)) + data)


def _put_buffer(writer: _Writer, tag: bytes, buffer: Any) -> None:
    writer.out.append(_TAG_U32.pack(tag, len(writer.buffers)))
    writer.buffers.append(buffer)


def _again(writer: _Writer, value: Any) -> bool:
    """Whether a thing was met before, and is written as a reference, if references may be.

    Else it is refused: the copies that come back would no longer be one.
    """
    seen = writer.seen
    number = len(seen)
    before = seen.setdefault(id(value), number)
    if before == number:
        return False
    if not writer.refers:
        raise NotPlain(f"a {type(value).__name__} that is referred to more than once")
    writer.out.append(_TAG_U32.pack(b"@", before))
    return True


def _enter(writer: _Writer, nodes: int) -> None:
    writer.depth += 1
    writer.nodes += nodes + 1
    if writer.depth > MAX_DEPTH:
        raise NotPlain(f"containers nested more than {MAX_DEPTH} deep")
    if writer.nodes > writer.limit:
        raise NotPlain(f"more than {writer.limit} values in containers")


def _put_items(writer: _Writer, tag: bytes, items: Any) -> None:
    _enter(writer, len(items))
    out = writer.out
    out.append(_TAG_U32.pack(tag, len(items)))
    for item in items:
        scalar = _SCALARS.get(type(item))
        if scalar is not None:
            out.append(scalar(item))
        else:
            _put(writer, item)
    writer.depth -= 1


def _put_tuple(writer: _Writer, value: tuple[Any, ...]) -> None:
    _put_items(writer, b"t", value)  # sharing a tuple does not show; sharing what is in it does


def _put_frozenset(writer: _Writer, value: frozenset[Any]) -> None:
    _put_items(writer, b"z", value)


def _put_list(writer: _Writer, value: list[Any]) -> None:
    if not _again(writer, value):
        _put_items(writer, b"l", value)


def _put_set(writer: _Writer, value: set[Any]) -> None:
    if not _again(writer, value):
        _put_items(writer, b"e", value)


def _put_dict(writer: _Writer, value: dict[Any, Any]) -> None:
    if _again(writer, value):
        return
    _enter(writer, 2 * len(value))
    writer.out.append(_TAG_U32.pack(b"d", len(value)))
    for key, item in value.items():
        _put(writer, key)
        _put(writer, item)
    writer.depth -= 1


def _put_datetime(writer: _Writer, value: dt.datetime) -> None:
    writer.out.append(
        b"W"
        + _DATE.pack(value.year, value.month, value.day)
        + _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    )
    _put_zone(writer, value.tzinfo)


def _put_time(writer: _Writer, value: dt.time) -> None:
    writer.out.append(
        b"w" + _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    )
    _put_zone(writer, value.tzinfo)


def _put_zone(writer: _Writer, zone: dt.tzinfo | None) -> None:
    if zone is None:
        writer.out.append(b"N")
    elif type(zone) is dt.timezone:
        given = zone.__getinitargs__()  # type: ignore[attr-defined]
        writer.out.append(b"o" + _delta(given[0]))
        _put(writer, given[1] if len(given) > 1 else None)
    elif type(zone) is zoneinfo.ZoneInfo and zone.key is not None:
        # Those not from the cache (no_cache, a file) are other objects, and differ by identity.
        if zoneinfo.ZoneInfo(zone.key) is not zone:
            raise NotPlain(f"a time zone {zone.key} that is not the shared one")
        writer.out.append(b"O" + _text(zone.key))
    else:
        raise NotPlain(f"a time zone of type {type(zone).__name__}")


_STRUCTURED: dict[type, Callable[[_Writer, Any], None]] = {
    str: _put_str,
    bytes: _put_bytes,
    bytearray: _put_bytearray,
    tuple: _put_tuple,
    list: _put_list,
    set: _put_set,
    frozenset: _put_frozenset,
    dict: _put_dict,
    dt.datetime: _put_datetime,
    dt.time: _put_time,
    dt.timezone: _put_zone,
    zoneinfo.ZoneInfo: _put_zone,
}


def _put_other(writer: _Writer, value: Any, kind: type) -> None:
    numpy = sys.modules.get("numpy")
    if numpy is not None and _put_numpy(writer, value, kind, numpy):
        return
    if kind in registered:  # a user's own, for whatever class
        _put_coded(writer, value, registered[kind])
    elif isinstance(kind, enum.EnumMeta):
        _put_enum(writer, value, kind)
    elif dataclasses.is_dataclass(kind):
        _put_dataclass(writer, value, kind)
    elif (codec := codec_for(kind)) is not None:
        _put_coded(writer, value, codec)
    else:
        raise NotPlain(f"a value of type {kind.__module__}.{kind.__qualname__}")


def _put_coded(writer: _Writer, value: Any, codec: Codec) -> None:
    """What a codec of its own makes plain: the codec's name, and what it made."""
    if _again(writer, value):
        return
    try:
        made = codec.encode(value)
    except NotPlain:
        raise
    except Exception as error:
        raise NotPlain(f"a {type(value).__name__} that its codec refused ({error})") from error
    writer.kept.append(made)
    writer.out.append(b"X" + _text(codec.name))
    _enter(writer, 0)
    _put(writer, made)
    writer.depth -= 1


def _put_enum(writer: _Writer, value: Any, kind: Any) -> None:
    name = value._name_
    place = _text(kind.__module__) + _text(kind.__qualname__)
    if name is not None and kind.__members__.get(name) is value:
        _check_reference(writer, kind)
        writer.out.append(b"E" + place + _text(name))
    elif isinstance(value, enum.Flag) and kind(value._value_) == value:
        _check_reference(writer, kind)
        writer.out.append(b"G" + place + _int(value._value_))
    else:
        raise NotPlain(f"a member of {kind.__qualname__} that has no name")


def _put_dataclass(writer: _Writer, value: Any, kind: Any) -> None:
    names = _schema(kind)
    if names is None:
        raise NotPlain(f"an instance of {kind.__qualname__}, which is more than its fields")
    _check_reference(writer, kind)
    if _again(writer, value):
        return
    state = getattr(value, "__dict__", None)
    if state is not None and not state.keys() <= set(names):
        raise NotPlain(f"an instance of {kind.__qualname__} with attributes that are no fields")
    try:
        fields = [(name, _GET(value, name)) for name in names]
    except AttributeError:
        raise NotPlain(f"an instance of {kind.__qualname__} that lacks a field") from None
    _enter(writer, len(names))
    writer.out.append(
        b"C" + _text(kind.__module__) + _text(kind.__qualname__) + _U32.pack(len(names))
    )
    for name, item in fields:
        writer.out.append(_text(name))
        _put(writer, item)
    writer.depth -= 1


_GET = object.__getattribute__
_SPECIAL = (
    "__reduce_ex__", "__reduce__", "__new__", "__getattribute__", "__getnewargs__",
    "__getnewargs_ex__", "__getstate__", "__setstate__",
)  # fmt: skip


def _schema(kind: Any) -> tuple[str, ...] | None:
    """Names of a dataclass's fields, if its instances are nothing but their fields."""
    if "__dataclass_fields__" not in kind.__dict__:
        return None  # a plain subclass of a dataclass may hold more
    for special in _SPECIAL:
        if getattr(kind, special, None) is not getattr(object, special, None):
            if special in ("__getstate__", "__setstate__") and _generated(kind, special):
                continue
            return None
    if not all(base is object or _transparent(base) for base in kind.__mro__):
        return None
    names = tuple(field.name for field in dataclasses.fields(kind))
    if any(_computed(kind, name) for name in names):
        return None
    return names


def _computed(kind: Any, name: str) -> bool:
    """Whether setting a field runs code (a property or another descriptor in its place)."""
    for base in kind.__mro__:
        if name in base.__dict__:
            found = base.__dict__[name]
            return hasattr(type(found), "__set__") and type(found) is not types.MemberDescriptorType
    return False


def _generated(kind: Any, name: str) -> bool:
    """Whether dataclasses itself wrote the method (for frozen classes with slots)."""
    return getattr(getattr(kind, name), "__module__", None) == "dataclasses"


def _transparent(base: type) -> bool:
    """Whether a base adds no state that the fields do not show."""
    if base.__module__ in ("typing", "abc", "builtins"):
        return base.__name__ in ("Generic", "Protocol", "ABC")
    slots = base.__dict__.get("__slots__", ())
    slots = {slots} if isinstance(slots, str) else set(slots)
    fields = base.__dict__.get("__dataclass_fields__", {})
    return slots <= {*fields, "__dict__", "__weakref__"}


def _check_reference(writer: _Writer, kind: type) -> None:
    module, name = kind.__module__, kind.__qualname__
    if writer.refers:
        if "<locals>" in name or _find(sys.modules.get(module), name) is not kind:
            writer.nameless.add(kind)
        return
    if "<locals>" in name:
        raise NotPlain(f"an instance of {name}, a class that cannot be found by name")
    if module == "__main__" and writer.foreign_main:
        return
    if _find(sys.modules.get(module), name) is not kind:
        raise NotPlain(f"an instance of {module}.{name}, a name that now means something else")


def _find(module: Any, qualname: str) -> Any:
    """What a name means, looked up in dictionaries only: no code runs."""
    found = module
    for part in qualname.split("."):
        try:
            found = vars(found).get(part)
        except TypeError:
            return None
    return found


# --- numpy ----------------------------------------------------------------------------------------


def _put_numpy(writer: _Writer, value: Any, kind: type, numpy: Any) -> bool:
    if kind is numpy.ndarray:
        _put_array(writer, value, numpy)
    elif issubclass(kind, numpy.generic):
        dtype = value.dtype
        if dtype.itemsize == 0 or dtype.type is not kind:
            raise NotPlain(f"a numpy scalar of type {dtype}")
        if dtype.fields is not None and _again(writer, value):
            return True
        writer.out.append(b"x")
        _put_dtype(writer, dtype, numpy)
        data = value.tobytes()
        writer.out.append(_U32.pack(len(data)) + data)
    elif isinstance(value, numpy.dtype):
        writer.out.append(b"y")
        _put_dtype(writer, value, numpy)
    else:
        return False
    return True


def _put_dtype(writer: _Writer, dtype: Any, numpy: Any) -> None:
    if dtype.hasobject or dtype.metadata:
        raise NotPlain(f"the numpy type {dtype}")
    try:
        words = described(dtype)
        if dtype_of(words, numpy) != dtype or repr(dtype_of(words, numpy)) != repr(dtype):
            raise NotPlain(f"the numpy type {dtype}")
    except (TypeError, ValueError, Unnamed):
        raise NotPlain(f"the numpy type {dtype}") from None
    _put(writer, words)


def _put_array(writer: _Writer, value: Any, numpy: Any) -> None:
    if _again(writer, value):
        return
    order = b"C"
    array = value
    if not value.flags.c_contiguous:
        if value.flags.f_contiguous:
            order, array = b"F", value.T
        else:
            array = numpy.ascontiguousarray(value)
    writer.out.append(b"n" + order)
    _put_dtype(writer, value.dtype, numpy)
    _put(writer, tuple(value.shape))
    if not value.nbytes:
        writer.out.append(b"b" + _U32.pack(0))
    elif value.nbytes >= writer.minimum:
        _put_buffer(writer, b"B", array.reshape(-1).view(numpy.uint8).data)
    else:
        writer.out.append(_TAG_U32.pack(b"b", value.nbytes) + array.tobytes())
