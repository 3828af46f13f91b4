"""Pandas and Arrow: index, types, columns and values count; blocks, chunks and slices do not."""

from __future__ import annotations

import copy
import pickle
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def numpy() -> Any:
    return import_module("numpy")


def pandas() -> Any:
    return import_module("pandas")


def differ() -> dict[str, Any]:
    return (_pandas_differ() if find_spec("pandas") else {}) | (
        _arrow_differ() if find_spec("pyarrow") else {}
    )


def agree() -> dict[str, Any]:
    return (_pandas_agree() if find_spec("pandas") else {}) | (
        _arrow_agree() if find_spec("pyarrow") else {}
    )


def _pandas_differ() -> dict[str, Any]:
    np, pd = numpy(), pandas()

    frame, series, index = pd.DataFrame, pd.Series, pd.Index

    def categories(*args: Any, **kwargs: Any) -> Any:
        return pd.Categorical(*args, **kwargs)

    def days(start: str, **kwargs: Any) -> Any:
        return pd.date_range(start, periods=3, freq="D", **kwargs)

    def noted(value: Any, **notes: Any) -> Any:
        value.attrs.update(notes)
        return value

    return {
        "frames: values": (lambda: frame({"a": [1, 2]}), lambda: frame({"a": [1, 3]})),
        "frames: names of columns": (lambda: frame({"a": [1]}), lambda: frame({"b": [1]})),
        "frames: order of columns": (
            lambda: frame({"a": [1], "b": [2]}),
            lambda: frame({"b": [2], "a": [1]}),
        ),
        "frames: which column": (
            lambda: frame({"a": [1], "b": [2]}),
            lambda: frame({"a": [2], "b": [1]}),
        ),
        "frames: types of columns": (lambda: frame({"a": [1]}), lambda: frame({"a": [1.0]})),
        "frames: widths of columns": (
            lambda: frame({"a": [1]}, dtype="i4"),
            lambda: frame({"a": [1]}, dtype="i8"),
        ),
        "frames: order of rows": (
            lambda: frame({"a": [1, 2]}),
            lambda: frame({"a": [2, 1]}, index=[1, 0]),
        ),
        "frames: index": (lambda: frame({"a": [1]}), lambda: frame({"a": [1]}, index=[7])),
        "frames: type of the index": (
            lambda: frame({"a": [1]}, index=["0"]),
            lambda: frame({"a": [1]}, index=[0]),
        ),
        "frames: name of the index": (
            lambda: frame({"a": [1]}),
            lambda: frame({"a": [1]}).rename_axis("i"),
        ),
        "frames: name of the columns": (
            lambda: frame({"a": [1]}),
            lambda: frame({"a": [1]}).rename_axis("c", axis=1),
        ),
        "frames: beside dicts": (lambda: frame({"a": [1]}), lambda: {"a": [1]}),
        "frames: beside series": (lambda: frame({"a": [1]}), lambda: series([1], name="a")),
        "frames: of nothing, columns": (lambda: frame(columns=["a"]), lambda: frame(columns=["b"])),
        "frames: of nothing, rows": (lambda: frame(index=[0]), lambda: frame(index=[0, 1])),
        "frames: attributes": (
            lambda: noted(frame({"a": [1]}), unit="m"),
            lambda: noted(frame({"a": [1]}), unit="km"),
        ),
        "frames: missing beside zero": (
            lambda: frame({"a": [1, np.nan]}),
            lambda: frame({"a": [1, 0.0]}),
        ),
        "frames: categories beside texts": (
            lambda: frame({"a": ["x"]}),
            lambda: frame({"a": ["x"]}, dtype="category"),
        ),
        "series: names": (lambda: series([1], name="a"), lambda: series([1], name="b")),
        "series: index": (lambda: series([1, 2]), lambda: series([1, 2], index=[1, 0])),
        "series: beside arrays": (lambda: series([1, 2]), lambda: np.array([1, 2])),
        "series: objects": (
            lambda: series([1, "a"], dtype=object),
            lambda: series([1, "b"], dtype=object),
        ),
        "series: types of objects": (
            lambda: series([1, "a"], dtype=object),
            lambda: series([True, "a"], dtype=object),
        ),
        "extension types: beside numpy's": (
            lambda: series([1, 2], dtype="Int64"),
            lambda: series([1, 2], dtype="int64"),
        ),
        "extension types: widths": (
            lambda: series([1, 2], dtype="Int64"),
            lambda: series([1, 2], dtype="Int32"),
        ),
        "extension types: missing beside zero": (
            lambda: series([1, None], dtype="Int64"),
            lambda: series([1, 0], dtype="Int64"),
        ),
        "extension types: bools": (
            lambda: series([True, None], dtype="boolean"),
            lambda: series([False, None], dtype="boolean"),
        ),
        "extension types: texts beside objects": (
            lambda: series(["a"], dtype="string"),
            lambda: series(["a"], dtype=object),
        ),
        "extension types: texts": (
            lambda: series(["a", None], dtype="string"),
            lambda: series(["a", ""], dtype="string"),
        ),
        "extension types: periods": (
            lambda: pd.period_range("2024-01", periods=2, freq="M"),
            lambda: pd.period_range("2024-02", periods=2, freq="M"),
        ),
        "extension types: lengths of periods": (
            lambda: pd.array([pd.Period("2024-01-01", "D")]),
            lambda: pd.array([pd.Period("2024-01-01", "h")]),
        ),
        "extension types: intervals": (
            lambda: pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
            lambda: pd.arrays.IntervalArray.from_breaks([0, 1, 3]),
        ),
        "extension types: sides of intervals": (
            lambda: pd.arrays.IntervalArray.from_breaks([0, 1], closed="left"),
            lambda: pd.arrays.IntervalArray.from_breaks([0, 1], closed="right"),
        ),
        "extension types: sparse beside dense": (
            lambda: series([0.0, 1.0]),
            lambda: series(pd.arrays.SparseArray([0.0, 1.0], fill_value=0.0)),
        ),
        "extension types: sparse, values": (
            lambda: pd.arrays.SparseArray([0, 0, 1]),
            lambda: pd.arrays.SparseArray([0, 1, 0]),
        ),
        "categories: values": (lambda: categories(["a", "b"]), lambda: categories(["b", "a"])),
        "categories: their order": (
            lambda: categories(["a"], categories=["a", "b"]),
            lambda: categories(["a"], categories=["b", "a"]),
        ),
        "categories: ordered or not": (
            lambda: categories(["a"], ordered=True),
            lambda: categories(["a"], ordered=False),
        ),
        "categories: one that is not used": (
            lambda: categories(["a"]),
            lambda: categories(["a"], categories=["a", "b"]),
        ),
        "categories: missing": (
            lambda: categories(["a", None], categories=["a"]),
            lambda: categories(["a", "a"], categories=["a"]),
        ),
        "indexes: values": (lambda: index([1, 2]), lambda: index([1, 3])),
        "indexes: beside series": (lambda: index([1, 2]), lambda: series([1, 2])),
        "indexes: names": (lambda: index([1], name="a"), lambda: index([1], name="b")),
        "indexes: of several levels": (
            lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
            lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, "c")]),
        ),
        "indexes: names of levels": (
            lambda: pd.MultiIndex.from_tuples([(1, "a")], names=["x", "y"]),
            lambda: pd.MultiIndex.from_tuples([(1, "a")], names=["y", "x"]),
        ),
        "indexes: of times": (lambda: days("2024-01-01"), lambda: days("2024-01-02")),
        "indexes: zones": (
            lambda: days("2024-01-01", tz="UTC"),
            lambda: days("2024-01-01", tz="Europe/Paris"),
        ),
        "indexes: of times beside of numbers": (
            lambda: index(np.array([0], "M8[ns]")),
            lambda: index([0]),
        ),
        "times: of pandas, nanoseconds": (
            lambda: pd.Timestamp("2024-01-01"),
            lambda: pd.Timestamp("2024-01-01") + pd.Timedelta(1, "ns"),
        ),
        "times: of pandas, zones": (
            lambda: pd.Timestamp("2024-01-01", tz="UTC"),
            lambda: pd.Timestamp("2024-01-01"),
        ),
        "times: of pandas, durations": (
            lambda: pd.Timedelta(1, "s"),
            lambda: pd.Timedelta(1, "ms"),
        ),
        "missing values: of pandas": (lambda: pd.NA, lambda: pd.NaT),
        "missing values: beside None": (lambda: pd.NA, lambda: None),
        "missing values: beside NaN": (lambda: pd.NaT, lambda: float("nan")),
    }


def _pandas_agree() -> dict[str, Any]:
    np, pd = numpy(), pandas()

    frame, series, index = pd.DataFrame, pd.Series, pd.Index

    def table() -> Any:
        return frame({"a": [1, 2, 3], "b": [1.5, 2.5, np.nan], "c": ["x", "y", None]})

    def column_by_column() -> Any:
        made = frame(index=pd.RangeIndex(3))
        for name, values in table().items():
            made[name] = values
        return made

    def masked(under: int) -> Any:
        return pd.arrays.IntegerArray(np.array([1, under]), np.array([False, True]))

    return {
        "frames: made column by column": (table, column_by_column),
        "frames: copied": (table, lambda: table().copy()),
        "frames: pickled": (table, lambda: pickle.loads(pickle.dumps(table()))),
        "frames: deeply copied": (table, lambda: copy.deepcopy(table())),
        "frames: rows of a longer one": (
            table,
            lambda: pd.concat([table(), table()], ignore_index=True).iloc[:3],
        ),
        "frames: put together": (
            lambda: frame({"a": [1, 2, 3, 4]}),
            lambda: pd.concat([frame({"a": [1, 2]}), frame({"a": [3, 4]})], ignore_index=True),
        ),
        "frames: columns of a wider one": (
            lambda: table()[["a", "b"]],
            lambda: table().drop(columns="c"),
        ),
        "frames: out of one array": (
            lambda: frame(np.arange(6.0).reshape(3, 2), columns=["a", "b"]),
            lambda: frame({"a": [0.0, 2.0, 4.0], "b": [1.0, 3.0, 5.0]}),
        ),
        "frames: an index written out": (table, lambda: table().set_index(index([0, 1, 2]))),
        "frames: something cached": (table, lambda: _looked_at(table())),
        "frames: sorted": (
            lambda: frame({"a": [1, 2]}, index=[0, 1]),
            lambda: frame({"a": [2, 1]}, index=[1, 0]).sort_index(),
        ),
        "series: a slice": (lambda: series([2, 3], index=[1, 2]), lambda: series([1, 2, 3])[1:]),
        "series: a column": (
            lambda: series([1, 2, 3], name="a"),
            lambda: table()["a"],
        ),
        "series: with strides": (
            lambda: series(np.arange(0, 6, 2)),
            lambda: series(np.arange(6)[::2]),
        ),
        "extension types: what lies under a missing value": (lambda: masked(7), lambda: masked(9)),
        "extension types: missing values": (
            lambda: series([1, None], dtype="Int64"),
            lambda: series([1, pd.NA], dtype="Int64"),
        ),
        "extension types: texts": (
            lambda: series(["a", None], dtype="string"),
            lambda: series(["a", pd.NA, "b"], dtype="string")[:2],
        ),
        "extension types: sparse": (
            lambda: pd.arrays.SparseArray([0, 0, 1]),
            lambda: pd.arrays.SparseArray(np.array([0, 0, 1])),
        ),
        "extension types: periods": (
            lambda: pd.period_range("2024-01", periods=3, freq="M"),
            lambda: pd.PeriodIndex(["2024-01", "2024-02", "2024-03"], freq="M"),
        ),
        "extension types: intervals": (
            lambda: pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
            lambda: pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2)]),
        ),
        "categories: from codes": (
            lambda: pd.Categorical(["b", "a"], categories=["a", "b"]),
            lambda: pd.Categorical.from_codes([1, 0], categories=["a", "b"]),
        ),
        "categories: a part of them dropped": (
            lambda: pd.Categorical(["a"]),
            lambda: pd.Categorical(["a", "b"])[:1].remove_unused_categories(),
        ),
        "indexes: a range beside its numbers": (lambda: pd.RangeIndex(3), lambda: index([0, 1, 2])),
        "indexes: of several levels": (
            lambda: pd.MultiIndex.from_product([[1, 2], ["a", "b"]]),
            lambda: pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a"), (2, "b")]),
        ),
        "indexes: levels that are not used": (
            lambda: pd.MultiIndex.from_tuples([(1, "a")]),
            lambda: pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])[:1],
        ),
        "times: of pandas": (
            lambda: pd.Timestamp("2024-01-02 03:00"),
            lambda: pd.Timestamp("2024-01-02T03:00:00"),
        ),
        "missing values: of pandas": (lambda: [pd.NA, pd.NaT], lambda: [pd.NA, pd.NaT]),
    }


def _looked_at(value: Any) -> Any:
    value["a"], value.index.is_unique, value.dtypes, value.a
    hash(len(value.index)), value.loc[0], value.columns.get_loc("b")
    return value


def _arrow_differ() -> dict[str, Any]:
    pa: Any = import_module("pyarrow")

    def stamped(unit: str, zone: str | None = None) -> Any:
        return pa.array([0, 1], pa.timestamp(unit, zone))

    return {
        "arrow: values": (lambda: pa.array([1, 2]), lambda: pa.array([1, 3])),
        "arrow: widths": (lambda: pa.array([1], pa.int32()), lambda: pa.array([1], pa.int64())),
        "arrow: beside lists": (lambda: pa.array([1]), lambda: [1]),
        "arrow: null beside zero": (lambda: pa.array([1, None]), lambda: pa.array([1, 0])),
        "arrow: null beside NaN": (
            lambda: pa.array([1.0, None]),
            lambda: pa.array([1.0, float("nan")]),
        ),
        "arrow: texts": (lambda: pa.array(["a", "b"]), lambda: pa.array(["ab", ""])),
        "arrow: texts beside bytes": (lambda: pa.array(["a"]), lambda: pa.array([b"a"])),
        "arrow: small beside large texts": (
            lambda: pa.array(["a"]),
            lambda: pa.array(["a"], pa.large_string()),
        ),
        "arrow: nested": (lambda: pa.array([[1], [2]]), lambda: pa.array([[1, 2], []])),
        "arrow: null beside an empty list": (
            lambda: pa.array([[1], None]),
            lambda: pa.array([[1], []]),
        ),
        "arrow: structs": (lambda: pa.array([{"a": 1}]), lambda: pa.array([{"b": 1}])),
        "arrow: units of times": (lambda: stamped("s"), lambda: stamped("ms")),
        "arrow: zones of times": (lambda: stamped("s", "UTC"), lambda: stamped("s")),
        "arrow: nanoseconds": (lambda: stamped("ns"), lambda: stamped("ns")[::-1]),
        "arrow: dictionaries beside texts": (
            lambda: pa.array(["a"]).dictionary_encode(),
            lambda: pa.array(["a"]),
        ),
        "arrow: tables, names": (lambda: pa.table({"a": [1]}), lambda: pa.table({"b": [1]})),
        "arrow: tables, order": (
            lambda: pa.table({"a": [1], "b": [2]}),
            lambda: pa.table({"b": [2], "a": [1]}),
        ),
        "arrow: tables, metadata": (
            lambda: pa.table({"a": [1]}),
            lambda: pa.table({"a": [1]}).replace_schema_metadata({"k": "v"}),
        ),
        "arrow: tables, values": (lambda: pa.table({"a": [1]}), lambda: pa.table({"a": [2]})),
        "arrow: scalars": (lambda: pa.scalar(1), lambda: pa.scalar(2)),
        "arrow: scalars, types": (lambda: pa.scalar(1), lambda: pa.scalar(1.0)),
        "arrow: types": (lambda: pa.list_(pa.int32()), lambda: pa.list_(pa.int64())),
        "arrow: fields that may be null": (
            lambda: pa.field("a", pa.int32()),
            lambda: pa.field("a", pa.int32(), nullable=False),
        ),
        "arrow: schemas": (
            lambda: pa.schema({"a": pa.int32()}),
            lambda: pa.schema({"a": pa.int64()}),
        ),
    }


def _arrow_agree() -> dict[str, Any]:
    pa: Any = import_module("pyarrow")

    def table() -> Any:
        return pa.table({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [[1], [], None]})

    def under(buffer: bytes) -> Any:
        """Two numbers, the second of them null, with something under the null."""
        valid = pa.py_buffer(b"\1")
        return pa.Array.from_buffers(pa.int8(), 2, [valid, pa.py_buffer(buffer)], 1)

    return {
        "arrow: a slice": (lambda: pa.array([2, 3]), lambda: pa.array([1, 2, 3, 4])[1:3]),
        "arrow: a slice of texts": (
            lambda: pa.array(["b", None]),
            lambda: pa.array(["a", "b", None])[1:],
        ),
        "arrow: chunks": (
            lambda: pa.chunked_array([[1, 2, 3]]),
            lambda: pa.chunked_array([[1], [2, 3], []]),
        ),
        "arrow: tables put together": (
            lambda: pa.concat_tables([table(), table()]).combine_chunks(),
            lambda: pa.concat_tables([table(), table()]),
        ),
        "arrow: tables, a slice": (lambda: table().slice(1), lambda: table().take([1, 2])),
        "arrow: tables, pickled": (table, lambda: pickle.loads(pickle.dumps(table()))),
        "arrow: what lies under a null": (lambda: under(b"\1\2"), lambda: under(b"\1\3")),
        "arrow: no nulls, with or without a bitmap": (
            lambda: pa.array([1, 2]),
            lambda: pa.array([1, 2, None])[:2],
        ),
        "arrow: dictionaries in another order": (
            lambda: pa.DictionaryArray.from_arrays([0, 1], ["a", "b"]),
            lambda: pa.DictionaryArray.from_arrays([1, 0], ["b", "a"]),
        ),
        "arrow: scalars out of arrays": (lambda: pa.scalar(1), lambda: pa.array([1])[0]),
        "arrow: schemas": (
            lambda: pa.schema({"a": pa.int32()}),
            lambda: pa.schema([pa.field("a", pa.int32())]),
        ),
    }
