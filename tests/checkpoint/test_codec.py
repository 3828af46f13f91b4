"""What comes back equals what went in, types included; any bytes give a value or an error."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import enum
import fractions
import math
import pathlib
import pickle
import subprocess
import sys
import types
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from decimal import Decimal
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import codec
from parsl_ckpt.checkpoint.codec import DILL, PICKLE, PLAIN, astuple, decode, encode
from parsl_ckpt.errors import FormatError, UnserializableValueError

np = pytest.importorskip("numpy")


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Bits(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Point:
    x: float
    y: Any = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    name: str
    inner: Point | None = None


T = TypeVar("T")


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    hidden: int = dataclasses.field(default=3, init=False, repr=False)


@dataclasses.dataclass
class Strict:
    a: int

    def __post_init__(self) -> None:
        if self.a < 0:
            raise ValueError("negative")


@dataclasses.dataclass
class Failing(Exception):
    code: int = 1


class Sub(dict):  # type: ignore[type-arg]
    pass


Pair = namedtuple("Pair", "a b")


def back(value: Any, **options: Any) -> Any:
    return decode(*astuple(encode(value, **options)), **options)


def same(a: Any, b: Any) -> bool:
    """Equal with types, at every depth; nan equals nan, -0.0 differs from 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, Decimal):
        return str(a) == str(b)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    if isinstance(a, (dt.datetime, dt.time)):
        return a.isoformat() == b.isoformat() and a.fold == b.fold and a.tzinfo == b.tzinfo
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return bool(a == b)


zones = st.one_of(
    st.none(),
    st.just(dt.timezone.utc),
    st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))),
    st.sampled_from(["Europe/Rome", "America/New_York", "UTC"]).map(zoneinfo.ZoneInfo),
)
hashable_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**200), 2**200),
    st.floats(), st.complex_numbers(),
    st.text(st.characters(), max_size=20), st.binary(max_size=20), st.decimals(allow_nan=False),
    st.fractions(), st.dates(), st.timedeltas(), st.uuids(),
    st.datetimes(timezones=zones),
    st.times(timezones=st.one_of(st.none(), st.just(dt.timezone.utc))),
    st.sampled_from([Colour.RED, Colour.GREEN, Bits.A, ..., pathlib.PurePosixPath("/a/../b"),
                     pathlib.Path("x"), pathlib.PureWindowsPath("c:\\x")]),
)  # fmt: skip
hashables = st.recursive(
    hashable_scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple), st.frozensets(inner, max_size=4),
        st.builds(Frozen, st.text(max_size=3)),
    ),
    max_leaves=8,
)  # fmt: skip
values = st.recursive(
    st.one_of(hashables, st.binary(max_size=40).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(hashables, inner, max_size=5), st.sets(hashables, max_size=5),
        st.builds(Point, st.floats(), inner), st.builds(Box, inner),
    ),
    max_leaves=20,
)  # fmt: skip


@given(values)
@settings(max_examples=300, deadline=None)
@example("\ud800")
@example(Decimal("sNaN12"))
@example(dt.datetime(2021, 10, 31, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Rome")))
@example(dt.timezone(dt.timedelta(hours=1), "named"))
def test_what_comes_back_equals_what_went_in(value: Any) -> None:
    assert same(back(value), value)


@given(values)
@settings(max_examples=100, deadline=None)
def test_without_pickle_the_same_values_come_back(value: Any) -> None:
    encoded = encode(value, pickle=False)
    assert encoded.codec == PLAIN
    assert same(decode(*astuple(encoded), pickle=False), value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(12).reshape(3, 4)),
        np.arange(24)[::2], np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0), np.zeros((0, 3)),
        np.array(5), np.array(["a", "bcd"]), np.array([b"x"]), np.ones(3, ">i4"),
        np.ones(3, bool), np.array([1 + 2j], "complex64"), np.zeros(2, "datetime64[ns]"),
        np.zeros(3, [("a", "<i4"), ("b", ">f8", (2,))]),
        np.zeros(3, {"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8]}),
        np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
        np.array([None, {}], object), np.ma.masked_array([1, 2], [0, 1]),
        np.zeros((2, 0, 3), order="F"),
        np.random.default_rng(0).random((300, 300)), np.broadcast_to(np.ones(3), (4, 3)),
    ],
)  # fmt: skip
def test_arrays_come_back_writable_with_type_shape_and_contents(array: Any) -> None:
    found = back(array)
    assert type(found) is type(array)
    assert found.dtype == array.dtype and found.shape == array.shape
    assert np.array_equal(np.asarray(found), np.asarray(array))
    assert found.flags.writeable


@pytest.mark.parametrize(
    "scalar",
    [np.float32(1.5), np.int8(-3), np.bool_(True), np.str_("é"), np.bytes_(b"a"), np.complex128(1j),
     np.datetime64("2020-01-01", "D"), np.timedelta64(3, "s"), np.float64("nan"), np.str_(""),
     np.zeros(1, "i4,f8")[0], np.longdouble(2)],
)  # fmt: skip
def test_numpy_scalars_keep_their_type(scalar: Any) -> None:
    found = back(scalar)
    assert type(found) is type(scalar) and found.dtype == scalar.dtype
    assert found == scalar or found != found


def test_dtypes_come_back() -> None:
    for dtype in (np.dtype("i4"), np.dtype("M8[us]"), np.dtype([("a", "f4")]), np.dtype(object)):
        assert back(dtype) == dtype


def test_large_payloads_stand_beside_the_data_without_a_copy() -> None:
    array = np.arange(100_000.0)
    encoded = encode({"a": array, "b": b"x" * 100_000})
    assert encoded.codec == PLAIN and len(encoded.data) < 200 and len(encoded.buffers) == 2
    assert np.shares_memory(np.frombuffer(encoded.buffers[0], "u1"), array)
    pickled = encode([array, array[:2], object])
    assert pickled.codec == PICKLE and len(pickled.buffers) == 1


def test_arrays_use_writable_buffers_as_their_memory() -> None:
    encoded = encode(np.arange(100_000))
    memory = bytearray(encoded.buffers[0])
    found = decode(encoded.codec, encoded.data, [memoryview(memory)])
    found[0] = 77
    assert memory[0] == 77


@pytest.mark.parametrize(
    "value",
    [Sub(a=1), OrderedDict(a=1), Pair(1, 2), Bits.A | Bits.B, [Colour, len], Failing(3),
     types.SimpleNamespace(a=1), True.real, dt.datetime],
)  # fmt: skip
def test_what_plain_does_not_carry_exactly_is_pickled(value: Any) -> None:
    found = back(value)
    assert type(found) is type(value)
    if isinstance(value, Failing):
        assert found.code == 3
    else:
        assert found == value


def test_things_referred_to_twice_stay_one() -> None:
    shared = [1]
    assert (found := back([shared, shared]))[0] is found[1]
    inner = bytearray(b"x")
    assert (found := back((inner, {"a": inner})))[0] is found[1]["a"]
    loop: list[Any] = []
    loop.append(loop)
    assert (found := back(loop))[0] is found
    point = Point(1.0)
    assert (found := back([point, point]))[0] is found[1]


def test_an_instance_with_more_than_its_fields_keeps_it() -> None:
    point = Point(1.0)
    point.extra = 5  # type: ignore[attr-defined]
    assert back(point).extra == 5


def test_rebuilding_a_dataclass_runs_none_of_its_code() -> None:
    strict = Strict(1)
    strict.a = -1
    assert back(strict) == strict


def test_functions_that_pickle_refuses_go_to_dill() -> None:
    n = 3
    encoded = encode(lambda x: x + n)
    assert encoded.codec == DILL
    assert decode(*astuple(encoded))(4) == 7


def test_deep_nesting_is_an_error_or_a_value_and_never_a_crash() -> None:
    deep: Any = ()
    for _ in range(100_000):
        deep = (deep,)
    with pytest.raises(UnserializableValueError):
        encode(deep)
    with pytest.raises(UnserializableValueError):
        encode(deep, pickle=False)
    moderate: Any = ()
    for _ in range(150):
        moderate = (moderate,)
    assert back(moderate) == moderate


def test_sharing_does_not_blow_up() -> None:
    value: Any = (1,)
    for _ in range(60):
        value = (value, value)
    assert encode(value).codec == PICKLE


def test_a_value_whose_reduce_raises_is_refused_with_its_type() -> None:
    class Bad:
        def __reduce__(self) -> Any:
            raise RuntimeError("no")

    with pytest.raises(UnserializableValueError, match="RuntimeError: no") as caught:
        encode([Bad()])
    assert caught.value.type == "builtins.list"  # type: ignore[attr-defined]


def test_without_pickle_other_values_are_refused_both_ways() -> None:
    with pytest.raises(UnserializableValueError, match="without pickle"):
        encode(Sub(), pickle=False)
    encoded = encode(Sub())
    with pytest.raises(FormatError, match="not allowed"):
        decode(*astuple(encoded), pickle=False)


def test_a_class_that_has_changed_is_a_typed_error() -> None:
    encoded = encode(Point(1.0))
    for changed in (
        encoded.data.replace(b"Point", b"Poimt"),
        encoded.data.replace(b"\x01\x00\x00\x00y", b"\x01\x00\x00\x00z"),
        encode(Colour.RED).data.replace(b"RED", b"RAD"),
    ):
        with pytest.raises(FormatError):
            decode(PLAIN, changed)


def test_decoding_without_pickle_imports_nothing() -> None:
    data = encode(Colour.RED).data.replace(
        len(__name__).to_bytes(4, "little") + __name__.encode(), (4).to_bytes(4, "little") + b"this"
    )
    assert "this" not in sys.modules
    with pytest.raises(FormatError):
        decode(PLAIN, data, pickle=False)
    assert "this" not in sys.modules


def test_an_encoding_travels_between_processes() -> None:
    encoded = encode([np.arange(100_000), b"y" * 50_000])
    travelled = pickle.loads(pickle.dumps(encoded, 5))
    assert same(decode(*astuple(travelled)), decode(*astuple(encoded)))


SCRIPT = """
import dataclasses, enum, sys
from parsl_ckpt.checkpoint.codec import *

@dataclasses.dataclass
class P:
    x: int

class E(enum.Enum):
    A = 1

class Plain:
    def __eq__(self, other): return type(other) is Plain

def f(x): return x

for value in (P(3), E.A, Plain(), f, P, [f, lambda: 3]):
    encoded = encode(value)
    found = decode(encoded.codec, encoded.data)
    if type(value) is list:
        assert found[0] is f
    else:
        assert found == value and type(found) is type(value)

# As in a worker whose __main__ is another one:
import types
there = {}
for value in (P(3), E.A, Plain(), f):
    main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
    encoded = encode(value, foreign_main=True)
    sys.modules["__main__"] = main
    found = decode(encoded.codec, encoded.data)
    assert found == value and type(found) is type(value), value
"""


def test_what_main_defines_is_named_and_comes_home_as_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@given(st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_a_value_or_a_typed_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        decode(PLAIN, data, [bytearray(b"abcd")], pickle=False)


@given(values, st.data())
@settings(max_examples=200, deadline=None)
def test_changed_bytes_give_a_value_or_a_typed_error(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(encode(value, pickle=False).data)
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FormatError):
        decode(PLAIN, bytes(encoded), [], pickle=False)


@pytest.mark.parametrize("tag", b"slbtzedIaC")
def test_absurd_lengths_allocate_nothing(tag: int) -> None:
    with pytest.raises(FormatError):
        decode(PLAIN, bytes([tag]) + b"\xff\xff\xff\x7f" + b"x" * 20)


def test_absurd_shapes_allocate_nothing() -> None:
    data = encode(np.arange(3, dtype="u1")).data
    shape = encode((3,)).data
    for extent in (2**62, -1, 2**40):
        with pytest.raises(FormatError):
            decode(PLAIN, data.replace(shape, encode((extent,)).data))


def test_uuid_range_and_fraction_are_plain() -> None:
    for value in (uuid.UUID(int=5), range(1, 9, 2), fractions.Fraction(1, 3)):
        assert encode(value).codec == PLAIN and back(value) == value


def test_codecs_have_names() -> None:
    assert set(codec.CODEC_NAMES) == {PLAIN, PICKLE, DILL}
