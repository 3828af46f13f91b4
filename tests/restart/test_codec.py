"""The codec of states: what goes in comes back, kinds included, and nothing else goes in."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime as dt
import enum
import math
import pathlib
import random
import struct
import zoneinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt.checkpoint.plain import NotPlain, encode_named
from parsl_ckpt.checkpoint.registry import register_codec
from parsl_ckpt.checkpoint.unplain import decode_named
from parsl_ckpt.errors import FormatError
from parsl_ckpt.restart.hydrate import Hydration

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Size(enum.IntEnum):
    SMALL = 1


@dataclasses.dataclass
class Point:
    x: Any = 0
    y: Any = 0


@dataclasses.dataclass(frozen=True)
class Pair:
    left: int
    right: int


def through(value: Any) -> Any:
    """A value after a way to bytes and back."""
    data, buffers, _ = encode_named([("value", value)], minimum=64)
    copies = [bytearray(buffer) for buffer in buffers]
    [(name, found)] = decode_named(bytes(data), copies)
    assert name == "value"
    return Hydration().value(found, Any, "value")


def told(value: Any) -> str:
    """All there is to tell of a value: kinds, order, bits; the same text for equal sets."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        inside = repr(value)
    elif isinstance(value, float):
        inside = struct.pack("<d", value).hex()
    elif isinstance(value, complex):
        inside = told(value.real) + told(value.imag)
    elif isinstance(value, (list, tuple)):
        inside = ",".join(map(told, value))
    elif isinstance(value, dict):
        inside = ",".join(told(key) + ":" + told(item) for key, item in value.items())
    elif isinstance(value, (set, frozenset)):
        inside = ",".join(sorted(map(told, value)))
    elif isinstance(value, np.generic):
        inside = f"{value.dtype!r} {value.tobytes().hex()}"
    elif dataclasses.is_dataclass(value):
        inside = told(vars(value))
    elif isinstance(value, (dt.datetime, dt.time)):
        inside = f"{value!r} {value.fold}"
    else:
        inside = ascii(value)
    return f"{kind.__qualname__}({inside})"


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, kinds, order, bits and all."""
    return told(one) == told(other)


zones = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(minutes=-90), "odd"), zoneinfo.ZoneInfo("UTC")]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(1 << 300), max_value=1 << 300)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters())
    | st.binary(max_size=100)
    | st.dates()
    | st.datetimes(timezones=zones)
    | st.times(timezones=zones)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.sampled_from([*Colour, *Access, Access.READ | Access.WRITE, Access(0), *Size])
    | st.sampled_from([pathlib.PurePosixPath("/a/b"), pathlib.Path("x"), range(2, 9, 3), ...])
    | st.builds(Pair, st.integers(), st.integers())
)
hashable = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3)
)
TAGS = st.sampled_from(
    ["@", "X", "C", "__type__", "dataclass", "$ref", "n", "module", "", "\udc80"]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable | TAGS, inner, max_size=4)
        | st.sets(hashable, max_size=4)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=60)
def test_what_goes_in_comes_back(value):
    assert same(through(value), value)


PLAIN_TYPES = "? b B h H i I q Q e f d g F D G >i4 <f8 >f8 S5 U3 V7 M8[ns] M8[D] m8[us] m8[3h] M8"
dtypes = st.sampled_from(
    [
        *map(np.dtype, PLAIN_TYPES.split(" ")),
        np.dtype([("a", "<i2"), ("b", ">f8", (2, 3))]),
        np.dtype([("a", "i1"), ("b", "f8")], align=True),
        np.dtype({"names": ["b", "a"], "formats": ["u1", "S3"], "offsets": [9, 1], "itemsize": 12}),
    ]
)
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@given(dtypes, shapes, st.sampled_from(["C", "F", "strided"]), st.randoms(use_true_random=False))
@settings(max_examples=150)
def test_arrays_of_every_dtype_and_order(dtype, shape, order, dice):
    size = math.prod(shape) * dtype.itemsize
    array = np.frombuffer(bytearray(dice.randbytes(size)), dtype).reshape(shape) if size else (
        np.empty(shape, dtype)
    )  # fmt: skip
    if order == "F":
        array = np.asfortranarray(array)
    elif order == "strided":
        array = array[..., ::2] if array.ndim else array
    back = through(array)
    assert type(back) is np.ndarray and repr(back.dtype) == repr(array.dtype)
    assert back.shape == array.shape
    for name in dtype.names or ():  # not what lies between them
        assert back[name].tobytes() == array[name].tobytes()
    assert dtype.names or back.tobytes() == array.tobytes()
    assert back.flags.writeable
    if array.flags.c_contiguous or array.flags.f_contiguous:
        assert back.flags.f_contiguous == array.flags.f_contiguous


@given(dtypes, st.randoms(use_true_random=False))
def test_numpy_scalars_are_kept_as_such(dtype, dice):
    array = np.frombuffer(dice.randbytes(max(dtype.itemsize, 1)), np.uint8)[: dtype.itemsize]
    scalar = array.view(dtype)[0]
    if not isinstance(scalar, np.generic):
        return
    if type(scalar) is not dtype.type or not scalar.dtype.itemsize:
        return  # text of no length
    assert same(through(scalar), scalar)


def test_a_numpy_dtype_is_a_value():
    for dtype in ("f4", "M8[ns]", [("a", "i4")]):
        assert through(np.dtype(dtype)) == np.dtype(dtype)


@pytest.mark.parametrize("key", ["@", "X", "__class__", "module", "fields", "\udcff", "", "C\0"])
def test_no_key_of_the_users_is_taken_for_a_tag(key):
    value = {key: {key: [1], "module": "os", "qualname": "system", "fields": {key: 2}}}
    assert through(value) == value


def test_what_was_one_object_comes_back_as_one():
    array, inner = np.arange(100.0), [1]
    inner.append(inner)
    back = through({"a": array, "b": [array, inner], "c": inner, "d": Point(array, inner)})
    assert back["a"] is back["b"][0] is back["d"].x
    assert back["c"] is back["b"][1] is back["d"].y is back["c"][1]


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_a_numpy_generator_draws_what_it_would_have_drawn(kind):
    generator = np.random.Generator(getattr(np.random, kind)(np.random.SeedSequence([7, 8])))
    generator.standard_normal(5, dtype="f4")  # leaves half of a number behind
    generator.bit_generator.seed_seq.spawn(2)
    back = through({"g": generator, "bits": generator.bit_generator})
    assert back["g"].bit_generator is back["bits"]
    assert back["g"].random(9).tolist() == generator.random(9).tolist()
    assert back["g"].integers(9, dtype="u1") == generator.integers(9, dtype="u1")
    child, other = back["bits"].seed_seq.spawn(1)[0], generator.bit_generator.seed_seq.spawn(1)[0]
    assert child.generate_state(4).tolist() == other.generate_state(4).tolist()


def test_older_generators_go_on_as_well():
    legacy, plain = np.random.RandomState(5), random.Random(6)
    legacy.standard_normal()  # one is left over
    plain.gauss(0, 1)
    states = through([legacy, plain, legacy.get_state(), plain.getstate()])
    assert states[0].standard_normal(3).tolist() == legacy.standard_normal(3).tolist()
    assert [states[1].gauss(0, 1), states[1].random()] == [plain.gauss(0, 1), plain.random()]
    assert len(states[2]) == 5 and len(states[3][1]) == 625


def test_containers_of_collections():
    ordered = collections.OrderedDict([("b", [1]), ("a", 2)])
    ordered._metadata = {"version": 1}
    counter, queue = collections.Counter(a=2, b=-1), collections.deque([1, [2]], maxlen=3)
    back = through([ordered, counter, queue, ordered])
    assert back[:3] == [ordered, counter, queue] and back[3] is back[0]
    assert [type(one) for one in back[:3]] == [type(one) for one in (ordered, counter, queue)]
    assert list(back[0]) == ["b", "a"] and back[0]._metadata == {"version": 1}
    assert back[2].maxlen == 3


class Unknown:
    pass


@pytest.mark.parametrize(
    "value",
    [
        Unknown(), object(), lambda: 0, iter([]), np.array([None]), np.ma.array([1]), type,
        collections.defaultdict(list), collections.ChainMap(), open, Exception("x"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_not_carried_is_refused(value):
    for around in (value, [value], {"k": (value,)}, Point(1, {"deep": value})):
        with pytest.raises(NotPlain):
            through(around)


def test_what_is_nested_too_deep_is_refused():
    value: list = []
    for _ in range(2000):
        value = [value]
    with pytest.raises(NotPlain):
        through(value)


class Grid:
    def __init__(self, n):
        self.n = n


class Mesh:
    def __init__(self, grid, points):
        self.grid, self.points = grid, points


register_codec(Grid, lambda grid: {"n": grid.n}, lambda plain: Grid(**plain), name="tests.Grid")
register_codec(Mesh, lambda mesh: (mesh.grid, mesh.points), lambda plain: Mesh(*plain))


def test_other_types_have_codecs_of_their_own():
    grid = Grid(3)
    back = through([Mesh(grid, np.arange(40)), grid])
    assert back[0].grid is back[1] and back[1].n == 3
    assert back[0].points.tolist() == list(range(40))


def test_a_codec_that_refuses_says_why():
    class Proud:
        pass

    def refuse(_):
        raise ValueError("not today")

    register_codec(Proud, refuse, refuse, name="tests.Proud")
    with pytest.raises(NotPlain, match="not today"):
        through(Proud())


def test_a_codec_that_is_not_registered_is_named():
    data, _, _ = encode_named([("value", Grid(1))])
    with pytest.raises(FormatError, match=r"tests\.Grie"):
        decode_named(data.replace(b"tests.Grid", b"tests.Grie"))


def test_names_of_codecs_are_not_taken_over():
    with pytest.raises(ValueError, match=r"tests\.Grid"):
        register_codec(Mesh, str, Mesh, name="tests.Grid")
    with pytest.raises(ValueError, match="parsl_ckpt:x"):
        register_codec(Mesh, str, Mesh, name="parsl_ckpt:x")
    with pytest.raises(TypeError, match="int"):
        register_codec(int, str, int)
    with pytest.raises(TypeError, match="no type"):
        register_codec("int", str, int)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="encode is 3"):
        register_codec(Mesh, 3, Mesh)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="decode is None"):
        register_codec(Mesh, str, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name is 3"):
        register_codec(Mesh, str, Mesh, name=3)  # type: ignore[arg-type]


@given(values, st.data())
@settings(max_examples=60)
def test_bytes_that_were_cut_or_changed_decode_to_an_error_or_a_value(value, data):
    encoded, buffers, _ = encode_named([("value", value)], minimum=64)
    at = data.draw(st.integers(0, len(encoded) - 1))
    hurt = data.draw(
        st.just(encoded[:at])
        | st.integers(0, 255).map(lambda byte: encoded[:at] + bytes([byte]) + encoded[at + 1 :])
    )
    with contextlib.suppress(FormatError):
        decode_named(hurt, [bytearray(buffer) for buffer in buffers])


def test_lengths_are_compared_with_what_is_there_before_anything_is_allocated():
    for tag in (b"l", b"d", b"e", b"t", b"z", b"s", b"b", b"I", b"@", b"B"):
        with pytest.raises(FormatError):
            decode_named(b"\1\0\0\0" + b"\0\0\0\0" + tag + b"\xff\xff\xff\xff")


def test_large_data_stands_beside():
    text, array = "x" * 100_000, np.arange(10_000)
    data, buffers, _ = encode_named([("t", text), ("a", array), ("again", text)])
    assert len(data) < 200 and [memoryview(b).nbytes for b in buffers] == [100_000, 80_000]
    assert dict(decode_named(data, [bytearray(b) for b in buffers]))["again"] == text


def test_torch_values():
    torch = pytest.importorskip("torch")
    bits = torch.arange(64, dtype=torch.uint8)
    dtypes = {v for v in vars(torch).values() if isinstance(v, torch.dtype)}
    for dtype in dtypes:
        if str(dtype).startswith(("torch.q", "torch.bits")) or dtype is torch.bool:
            continue
        try:
            tensor = bits.view(dtype).reshape(2, -1)
        except RuntimeError:
            continue
        back = through(tensor)
        assert back.dtype == dtype and back.shape == tensor.shape
        assert back.reshape(-1).view(torch.uint8).tolist() == bits.tolist()
    flags = torch.tensor([True, False])
    for tensor in (flags, torch.zeros(()), torch.zeros(0, 3), torch.arange(6).reshape(2, 3).T):
        back = through(tensor)
        assert torch.equal(back, tensor) and back.dtype == tensor.dtype
    generator = torch.Generator().manual_seed(7)
    torch.rand(3, generator=generator)
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    back = through([generator, parameter, parameter, torch.float16, torch.device("cpu")])
    assert torch.equal(torch.rand(5, generator=back[0]), torch.rand(5, generator=generator))
    assert type(back[1]) is torch.nn.Parameter and back[1].requires_grad and back[1] is back[2]
    assert back[3:] == [torch.float16, torch.device("cpu")]
    assert through(torch.ones(2).shape) == torch.Size([2])
    data, buffers, _ = encode_named([("t", torch.ones(3))])
    assert dict(decode_named(data, buffers, device="meta"))[
        "t"
    ].is_meta  # staged where it is wanted
    with pytest.raises(NotPlain, match="layout"):
        through(torch.eye(3).to_sparse())
    with pytest.raises(NotPlain, match="detach"):
        through(parameter * 2)


def test_jax_values():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    for array in (jnp.arange(5), jnp.ones((2, 3), jnp.bfloat16), jnp.zeros(()), jnp.zeros((0, 2))):
        back = through(array)
        assert type(back) is type(array) and back.dtype == array.dtype
        assert back.shape == array.shape and (back == array).all()
    key = jax.random.key(3)
    assert jax.random.uniform(through(key)) == jax.random.uniform(key)
    old = jax.random.PRNGKey(4)
    assert jax.random.uniform(through(old)) == jax.random.uniform(old)


def test_decimals_that_are_no_numbers():
    assert str(through(Decimal("sNaN12"))) == "sNaN12"
