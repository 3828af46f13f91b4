"""Numpy: shape, dtype and values count; memory order, strides, views and padding do not."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from .project import function

POINT = [("x", "i4"), ("y", "f8")]
LONG = 40_000


def differ() -> dict[str, Any]:
    if find_spec("numpy") is None:
        return {}
    np: Any = import_module("numpy")

    def a(values: Any, dtype: Any = None) -> Any:
        return np.array(values, dtype)

    def changed(size: int, place: int) -> Any:
        made = np.zeros(size)
        made[place] = 1
        return made

    return {
        "arrays: values": (lambda: a([1, 2]), lambda: a([1, 3])),
        "arrays: order": (lambda: a([1, 2]), lambda: a([2, 1])),
        "arrays: beside lists": (lambda: a([1, 2]), lambda: [1, 2]),
        "arrays: beside bytes": (lambda: a([1, 2], "u1"), lambda: b"\1\2"),
        "arrays: width of ints": (lambda: a([1, 2], "i4"), lambda: a([1, 2], "i8")),
        "arrays: sign of ints": (lambda: a([1, 2], "i4"), lambda: a([1, 2], "u4")),
        "arrays: ints beside floats of the same bytes": (
            lambda: a([1.5, 2.5]),
            lambda: a([1.5, 2.5]).view("i8"),
        ),
        "arrays: bools beside bytes": (lambda: a([1, 0], "?"), lambda: a([1, 0], "u1")),
        "arrays: width of floats": (lambda: a([0.5], "f4"), lambda: a([0.5], "f8")),
        "arrays: complex beside two floats": (lambda: a([1 + 2j]), lambda: a([1.0, 2.0])),
        "arrays: byte order, the same values": (lambda: a([1, 2], "<i4"), lambda: a([1, 2], ">i4")),
        "arrays: byte order, the same bytes": (
            lambda: a([1, 2], "<i4"),
            lambda: a([1, 2], "<i4").view(">i4"),
        ),
        "arrays: shape": (lambda: np.arange(6).reshape(2, 3), lambda: np.arange(6).reshape(3, 2)),
        "arrays: flat beside one row": (lambda: np.arange(6), lambda: np.arange(6).reshape(1, 6)),
        "arrays: transposed": (
            lambda: np.arange(4).reshape(2, 2),
            lambda: np.arange(4).reshape(2, 2).T,
        ),
        "arrays: Fortran order, other values": (
            lambda: np.arange(6).reshape(2, 3),
            lambda: np.arange(6).reshape(2, 3, order="F"),
        ),
        "arrays: shapes of nothing": (lambda: np.empty((0, 3)), lambda: np.empty((3, 0))),
        "arrays: types of nothing": (lambda: a([], "i4"), lambda: a([], "f4")),
        "arrays: zero-dimensional beside one value": (lambda: a(1), lambda: a([1])),
        "arrays: zero-dimensional beside scalar": (lambda: a(1.0), lambda: np.float64(1)),
        "arrays: sign of zero": (lambda: a([0.0]), lambda: a([-0.0])),
        "arrays: NaN beside zero": (lambda: a([np.nan]), lambda: a([0.0])),
        "arrays: long, the first value": (lambda: np.zeros(LONG), lambda: changed(LONG, 0)),
        "arrays: long, in the middle": (lambda: np.zeros(LONG), lambda: changed(LONG, LONG // 2)),
        "arrays: long, the last value": (lambda: np.zeros(LONG), lambda: changed(LONG, -1)),
        "arrays: very long, in the middle": (
            lambda: np.zeros(500_000),
            lambda: changed(500_000, 250_001),
        ),
        "arrays: long with strides, one value": (
            lambda: np.zeros(2 * LONG)[::2],
            lambda: changed(2 * LONG, LONG)[::2],
        ),
        "arrays: width of texts": (lambda: a(["a"], "U1"), lambda: a(["a"], "U2")),
        "arrays: texts beside bytes": (lambda: a(["a"]), lambda: a([b"a"])),
        "arrays: texts": (lambda: a(["a", "b"]), lambda: a(["a", "c"])),
        "arrays: units of times": (lambda: a([1], "M8[s]"), lambda: a([1], "M8[ms]")),
        "arrays: times beside durations": (lambda: a([1], "M8[s]"), lambda: a([1], "m8[s]")),
        "arrays: no time beside a time": (lambda: a(["NaT"], "M8[s]"), lambda: a([0], "M8[s]")),
        "arrays: of objects, values": (lambda: a([1, "a"], object), lambda: a([1, "b"], object)),
        "arrays: of objects, types": (lambda: a([1, "a"], object), lambda: a([True, "a"], object)),
        "arrays: of objects, beside ints": (lambda: a([1, 2], object), lambda: a([1, 2])),
        "arrays: of objects, shape": (
            lambda: a([[1, 2]], object),
            lambda: a([[1], [2]], object),
        ),
        "arrays: of objects, nested": (
            lambda: a([None, [1]], object),
            lambda: a([None, [2]], object),
        ),
        "arrays: structured, values": (lambda: a([(1, 2)], POINT), lambda: a([(1, 3)], POINT)),
        "arrays: structured, names": (
            lambda: a([(1, 2)], POINT),
            lambda: a([(1, 2)], [("x", "i4"), ("z", "f8")]),
        ),
        "arrays: structured, types": (
            lambda: a([(1, 2)], POINT),
            lambda: a([(1, 2)], [("x", "i4"), ("y", "i8")]),
        ),
        "arrays: structured, order": (
            lambda: a([(1, 1)], [("x", "i4"), ("y", "i4")]),
            lambda: a([(1, 1)], [("y", "i4"), ("x", "i4")]),
        ),
        "arrays: structured beside tuples": (lambda: a([(1, 2)], POINT), lambda: [(1, 2.0)]),
        "arrays: masks": (
            lambda: np.ma.array([1, 2], mask=[0, 1]),
            lambda: np.ma.array([1, 2], mask=[1, 0]),
        ),
        "arrays: masks of records, field by field": (
            lambda: np.ma.array(a([(1, 2)], POINT), mask=[(0, 1)]),
            lambda: np.ma.array(a([(1, 2)], POINT), mask=[(1, 0)]),
        ),
        "arrays: functions over elements": (
            lambda: np.frompyfunc(function("def f(x): return x + 1"), 1, 1),
            lambda: np.frompyfunc(function("def f(x): return x + 2"), 1, 1),
        ),
        "arrays: masked beside plain": (lambda: np.ma.array([1, 2]), lambda: a([1, 2])),
        "arrays: masked, values": (
            lambda: np.ma.array([1, 2], mask=[0, 1]),
            lambda: np.ma.array([3, 2], mask=[0, 1]),
        ),
        "arrays: records beside structured": (
            lambda: a([(1, 2)], POINT),
            lambda: a([(1, 2)], POINT).view(np.recarray),
        ),
        "arrays: in lists": (lambda: [a([1]), a([2])], lambda: [a([1, 2])]),
        "arrays: in dicts": (lambda: {"a": a([1])}, lambda: {"a": a([2])}),
        "scalars: beside Python's int": (lambda: np.int64(1), lambda: 1),
        "scalars: beside Python's float": (lambda: np.float64(1), lambda: 1.0),
        "scalars: beside Python's bool": (lambda: np.bool_(True), lambda: True),
        "scalars: beside Python's text": (lambda: np.str_("a"), lambda: "a"),
        "scalars: widths": (lambda: np.int32(1), lambda: np.int64(1)),
        "scalars: values": (lambda: np.float32(1), lambda: np.float32(2)),
        "scalars: of times": (lambda: np.datetime64(1, "s"), lambda: np.datetime64(1, "ms")),
        "scalars: structured": (lambda: a([(1, 2)], POINT)[0], lambda: a([(1, 3)], POINT)[0]),
        "dtypes: widths": (lambda: np.dtype("i4"), lambda: np.dtype("i8")),
        "dtypes: byte orders": (lambda: np.dtype("<i4"), lambda: np.dtype(">i4")),
        "dtypes: beside their names": (lambda: np.dtype("i4"), lambda: "int32"),
        "dtypes: structured": (
            lambda: np.dtype(POINT),
            lambda: np.dtype([("x", "i4"), ("z", "f8")]),
        ),
        "dtypes: beside scalar types": (lambda: np.dtype("i4"), lambda: np.int32),
        "random: seeds of numpy": (
            lambda: np.random.default_rng(1),
            lambda: np.random.default_rng(2),
        ),
        "random: states of numpy": (
            lambda: np.random.default_rng(1),
            lambda: _drawn(np.random.default_rng(1)),
        ),
        "random: kinds of numpy generators": (
            lambda: np.random.Generator(np.random.PCG64(1)),
            lambda: np.random.Generator(np.random.Philox(1)),
        ),
        "functions: of numpy": (lambda: np.add, lambda: np.subtract),
        "functions: of numpy in Python": (lambda: np.mean, lambda: np.median),
        "objects: polynomials": (
            lambda: np.polynomial.Polynomial([1, 2]),
            lambda: np.polynomial.Polynomial([1, 3]),
        ),
    }


def agree() -> dict[str, Any]:
    if find_spec("numpy") is None:
        return {}
    np: Any = import_module("numpy")

    def grid() -> Any:
        return np.arange(12.0).reshape(3, 4)

    def big() -> Any:
        return np.arange(120_000.0).reshape(300, 400)

    def padded(filler: int) -> Any:
        dtype = np.dtype([("x", "i1"), ("y", "i8")], align=True)
        made = np.frombuffer(bytes([filler]) * dtype.itemsize * 2, dtype).copy()
        made["x"], made["y"] = [1, 2], [3, 4]
        return made

    def read_only(value: Any) -> Any:
        value.flags.writeable = False
        return value

    def objects() -> Any:
        made = np.empty(2, object)
        made[:] = [1, [2, "x"]]
        return made

    return {
        "arrays: Fortran order": (grid, lambda: np.asfortranarray(grid())),
        "arrays: Fortran order, long": (big, lambda: np.asfortranarray(big())),
        "arrays: transposed twice": (grid, lambda: grid().T.copy().T),
        "arrays: strides": (lambda: np.arange(0, 12, 2), lambda: np.arange(12)[::2]),
        "arrays: strides, long": (lambda: big()[:, ::2].copy(), lambda: big()[:, ::2]),
        "arrays: backwards": (lambda: np.array([2, 1, 0]), lambda: np.arange(3)[::-1]),
        "arrays: a slice": (lambda: np.array([1, 2]), lambda: np.arange(5)[1:3]),
        "arrays: a slice of columns": (lambda: grid()[:, 1:3].copy(), lambda: grid()[:, 1:3]),
        "arrays: broadcast": (lambda: np.ones((3, 4)), lambda: np.broadcast_to(1.0, (3, 4))),
        "arrays: broadcast, long": (
            lambda: np.ones((300, 400)),
            lambda: np.broadcast_to(np.ones(400), (300, 400)),
        ),
        "arrays: more axes, moved": (
            lambda: np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1).copy(),
            lambda: np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        ),
        "arrays: read-only": (grid, lambda: read_only(grid())),
        "arrays: over another buffer": (
            lambda: np.array([1, 2], "u1"),
            lambda: np.frombuffer(b"\1\2", "u1"),
        ),
        "arrays: long doubles, what pads them": (
            lambda: np.array([1.5, 2.5], "g"),
            lambda: _padded_with_ones(np, [1.5, 2.5]),
        ),
        "arrays: not aligned": (
            lambda: np.arange(3.0),
            lambda: np.frombuffer(b"x" + np.arange(3.0).tobytes(), "u1")[1:].view("f8"),
        ),
        "arrays: computed": (lambda: np.array([2.0, 4.0]), lambda: np.array([1.0, 2.0]) * 2),
        "arrays: copied": (grid, lambda: copy.deepcopy(grid())),
        "arrays: pickled": (grid, lambda: pickle.loads(pickle.dumps(grid()))),
        "arrays: of nothing": (lambda: np.empty((0, 3)), lambda: np.ones((5, 3))[5:]),
        "arrays: zero-dimensional": (
            lambda: np.array(1.5),
            lambda: np.array([1.5])[0:1].reshape(()),
        ),
        "arrays: byte order by another name": (
            lambda: np.array([1], "=i4"),
            lambda: np.array([1], "i4"),
        ),
        "arrays: foreign byte order, with strides": (
            lambda: np.arange(0, 6, 2).astype(">i4"),
            lambda: np.arange(6).astype(">i4")[::2],
        ),
        "arrays: NaNs": (lambda: np.array([np.nan, 1]), lambda: np.array([float("nan"), 1])),
        "arrays: of objects": (objects, objects),
        "arrays: of objects, Fortran order": (
            lambda: np.array([[1, "a"], [None, 2.5]], object),
            lambda: np.array([[1, "a"], [None, 2.5]], object, order="F"),
        ),
        "arrays: of objects, with strides": (
            lambda: np.array([1, "b"], object),
            lambda: np.array([1, "a", "b"], object)[::2],
        ),
        "arrays: of objects, shared parts": (
            lambda: np.array([None, (1,), (1,)], object),
            lambda: np.array([None, *[(1,)] * 2], object),
        ),
        "arrays: structured, what lies between fields": (lambda: padded(0), lambda: padded(255)),
        "arrays: structured, with strides": (
            lambda: np.array([(1, 2), (5, 6)], POINT),
            lambda: np.array([(1, 2), (3, 4), (5, 6)], POINT)[::2],
        ),
        "arrays: masked, what lies under the mask": (
            lambda: np.ma.array([1, 2], mask=[0, 1]),
            lambda: np.ma.array([1, 9], mask=[0, 1]),
        ),
        "arrays: masked records, what lies under the mask": (
            lambda: np.ma.array(np.array([(1, 2)], POINT), mask=[(0, 1)]),
            lambda: np.ma.array(np.array([(1, 9)], POINT), mask=[(0, 1)]),
        ),
        "arrays: functions over elements": (
            lambda: np.frompyfunc(function("def f(x): return x + 1"), 1, 1),
            lambda: np.frompyfunc(function("def f(x): return (x) + 1  # same"), 1, 1),
        ),
        "arrays: masked, the constant": (lambda: np.ma.masked, lambda: np.ma.masked),
        "arrays: masked, no mask or one of zeros": (
            lambda: np.ma.array([1, 2]),
            lambda: np.ma.array([1, 2], mask=[0, 0]),
        ),
        "arrays: times": (
            lambda: np.array(["2024-01-02"], "M8[D]"),
            lambda: np.array(["2024-01-01"], "M8[D]") + 1,
        ),
        "arrays: texts": (lambda: np.array(["a", "bc"]), lambda: np.array(["bc", "a"])[::-1]),
        "arrays: in lists, shared": (
            lambda: [np.arange(3), np.arange(3)],
            lambda: [np.arange(3)] * 2,
        ),
        "arrays: in lists, views of one": (
            lambda: [np.arange(2), np.arange(2, 4)],
            lambda: [*np.arange(4).reshape(2, 2)],
        ),
        "scalars: taken out of arrays": (lambda: np.float64(1.5), lambda: np.array([1.5])[0]),
        "scalars: NaN": (lambda: np.float64("nan"), lambda: -np.float64("nan")),
        "scalars: by another name": (lambda: np.float64(2), lambda: np.double(2)),
        "dtypes: by another name": (lambda: np.dtype("i4"), lambda: np.dtype(np.int32)),
        "dtypes: structured": (lambda: np.dtype(POINT), lambda: np.array([], POINT).dtype),
        "random: states of numpy": (
            lambda: np.random.default_rng(1),
            lambda: copy.deepcopy(np.random.default_rng(1)),
        ),
        "functions: of numpy": (lambda: np.add, lambda: vars(np)["add"]),
    }


def _padded_with_ones(np: Any, values: list[float]) -> Any:
    """Long doubles over memory that was all ones before; only what is a value is written."""
    made = np.array(values, "g")
    if np.finfo("g").nmant == 63:
        made.view("u1").reshape(len(values), -1)[:, 10:] = 255
    return made


def _drawn(generator: Any) -> Any:
    generator.random()
    return generator
