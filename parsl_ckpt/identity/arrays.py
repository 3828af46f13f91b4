"""Identities of arrays and tables: numpy, pandas, pyarrow, torch.

Rule of this file: shape, dtype and values count, and how they lie in memory does not (order,
strides, chunks, padding, what is under a mask). Contiguous data is digested where it lies, without
a copy. Floats count by their bits, so that a pass for NaNs is saved; a NaN that carries a sign or a
payload is another NaN here. No library is imported: each is registered when one of its types is
first met.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

from .kinds import walk_class
from .values import _FALLBACK, BY_CLASS, BY_TYPE, LAZY, Refused, Walk, leaf, named
from .walk import ORDERED, Expanded, Known, join_leaves, seal, seal_buffers

_SMALL = 65536
_BLOCK = 16 << 20

# --- numpy ----------------------------------------------------------------------------------------


def _install_numpy(np: Any) -> None:
    BY_CLASS[np.ndarray] = _ndarray
    BY_CLASS[np.generic] = _scalar
    BY_CLASS[np.dtype] = _dtype
    BY_CLASS[np.ufunc] = _ufunc
    BY_CLASS[np.random.Generator] = lambda v, walk: (
        b"v", ORDERED, ["Generator", v.bit_generator.state]
    )  # fmt: skip
    BY_CLASS[np.random.BitGenerator] = lambda v, walk: (
        b"v", ORDERED, ["BitGenerator", type(v).__name__, v.state]
    )  # fmt: skip


def _ndarray(value: Any, walk: Walk) -> Expanded:
    np = sys.modules["numpy"]
    kind = type(value)
    if kind is np.ndarray:
        return array_part(value, walk)
    if kind is np.memmap:  # an array that happens to lie in a file
        return array_part(value.view(np.ndarray), walk)
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(value, masked.MaskedArray):
        return _masked(value, walk)
    attributes = getattr(value, "__dict__", None) or None
    return b"v", ORDERED, ["ndarray", walk_class(value, walk), attributes, value.view(np.ndarray)]


def array_part(array: Any, walk: Walk) -> Expanded:
    """An array of exactly ``numpy.ndarray``."""
    dtype = array.dtype
    if dtype.names is not None:  # field by field: there may be padding between them
        fields = [array[name] for name in dtype.names]
        return b"v", ORDERED, ["structured", list(array.shape), dtype, fields]
    if dtype.hasobject or dtype.kind == "T":
        walk.weight += array.size
        return b"v", ORDERED, ["objects", list(array.shape), dtype, array.ravel().tolist()]
    walk.weight += array.nbytes >> 8
    if dtype.char in "gG":
        array = _without_padding(array)
    kind = dtype.str if dtype.isbuiltin != 2 else f"{dtype.str} {dtype.name}"
    head = join_leaves([leaf(kind), leaf(array.shape)])
    if array.nbytes < _SMALL:
        return seal(b"a", head + array.tobytes())
    return seal_buffers(b"a", _blocks(head, array))


def _blocks(head: bytes, array: Any) -> Iterator[Any]:
    """The bytes of an array in C order, without a copy where they lie so."""
    np = sys.modules["numpy"]
    yield head
    if array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
        return
    rows = max(1, _BLOCK * array.shape[0] // array.nbytes)
    for start in range(0, array.shape[0], rows):
        block = np.ascontiguousarray(array[start : start + rows])
        yield block.reshape(-1).view(np.uint8).data


def _without_padding(array: Any) -> Any:
    """Long doubles of ten bytes in sixteen: what is in the other six is left over from before."""
    np = sys.modules["numpy"]
    size = np.dtype("g").itemsize
    if np.finfo("g").nmant != 63 or size == 10:
        return array
    raw = np.array(array, order="C", copy=True).reshape(-1).view(np.uint8).reshape(-1, size)
    raw[:, 10:] = 0
    return raw.reshape(-1).view(array.dtype).reshape(array.shape)


def _scalar(value: Any, walk: Walk) -> Expanded:
    np = sys.modules["numpy"]
    dtype = value.dtype
    if dtype.names is not None or dtype.hasobject:
        return b"v", ORDERED, ["scalar", np.asarray(value)]
    if dtype.kind == "f" and value != value:
        value = dtype.type("nan")
    if dtype.char in "gG":
        value = _without_padding(np.asarray(value))
    return seal(b"g", join_leaves([leaf(dtype.str), leaf(dtype.name), leaf(value.tobytes())]))


def _ufunc(value: Any, walk: Walk) -> Expanded:
    """By name, as what is compiled; what ``numpy.frompyfunc`` made is somebody's function.

    It shows that function to nobody but the garbage collector.
    """
    inner = [part for part in gc.get_referents(value) if callable(part)]
    if inner:
        return b"v", ORDERED, ["frompyfunc", value.nin, value.nout, value.identity, *inner]
    if getattr(value, "__module__", None):  # numpy tells its own since 2.2
        return _FALLBACK[0](value, walk)
    from .living import compiled  # as in kinds.py

    return compiled(value, named(b"n", "ufunc", value.__name__))


def _dtype(value: Any, walk: Walk) -> Expanded:
    if value.names is not None:
        fields = [
            [name, value.fields[name][1], value.fields[name][0], *value.fields[name][2:]]
            for name in value.names
        ]
        return b"v", ORDERED, ["dtype", fields, value.itemsize, value.isalignedstruct]
    if value.subdtype is not None:
        return b"v", ORDERED, ["dtype", value.subdtype[0], list(value.subdtype[1])]
    if value.kind == "T":
        missing = getattr(value, "na_object", None)
        return b"v", ORDERED, ["dtype", "T", value.coerce, missing]
    return named(b"v", "dtype", value.str, value.name)


def _masked(value: Any, walk: Walk) -> Expanded:
    np = sys.modules["numpy"]
    if value is np.ma.masked:
        return named(b"v", "numpy.ma.masked")
    mask = np.ma.getmaskarray(value)
    data = np.array(value.data, subok=False, copy=True)
    _clear(data, mask)
    return b"v", ORDERED, ["masked", walk_class(value, walk), data, mask, value.fill_value]


def _clear(data: Any, mask: Any) -> None:
    """What is under a mask is no value; of records each field has a mask of its own."""
    if data.dtype.names is None:
        data[mask] = sys.modules["numpy"].zeros((), data.dtype)
        return
    for name in data.dtype.names:
        _clear(data[name], mask[name])


# --- pandas ---------------------------------------------------------------------------------------


def _install_pandas(pd: Any) -> None:
    base = pd.api.extensions.ExtensionArray
    BY_CLASS[pd.DataFrame] = _frame
    BY_CLASS[pd.Series] = _series
    BY_CLASS[pd.Index] = _index
    BY_CLASS[pd.MultiIndex] = _multi_index
    BY_CLASS[base] = _extension
    BY_CLASS[pd.Categorical] = lambda v, walk: (
        b"v", ORDERED, ["pandas.Categorical", v.categories, bool(v.ordered), v.codes]
    )  # fmt: skip
    BY_CLASS[pd.CategoricalDtype] = lambda v, walk: (
        b"v", ORDERED, ["pandas.CategoricalDtype", v.categories, v.ordered]
    )  # fmt: skip
    BY_CLASS[pd.api.extensions.ExtensionDtype] = lambda v, walk: (
        b"v", ORDERED, ["pandas.dtype", type(v).__qualname__, repr(v)]
    )  # fmt: skip
    BY_CLASS[pd.Timestamp] = lambda v, walk: (
        b"v", ORDERED, ["pandas.Timestamp", v.value, getattr(v, "unit", "ns"), v.tz, v.fold]
    )  # fmt: skip
    BY_CLASS[pd.Timedelta] = lambda v, walk: (
        b"v", ORDERED, ["pandas.Timedelta", v.value, getattr(v, "unit", "ns")]
    )  # fmt: skip
    BY_TYPE[type(pd.NaT)] = lambda v, walk: named(b"v", "pandas.NaT")
    BY_TYPE[type(pd.NA)] = lambda v, walk: named(b"v", "pandas.NA")


def _frame(value: Any, walk: Walk) -> Expanded:
    columns = [value.iloc[:, place].array for place in range(value.shape[1])]
    parts = ["pandas", walk_class(value, walk), value.columns, columns, value.index]
    return b"v", ORDERED, parts + _extras(value)


def _series(value: Any, walk: Walk) -> Expanded:
    parts = ["pandas", walk_class(value, walk), value.name, value.array, value.index]
    return b"v", ORDERED, parts + _extras(value)


def _extras(value: Any) -> list[Any]:
    extras = [dict(value.attrs) or None, value.flags.allows_duplicate_labels]
    pd = sys.modules["pandas"]
    usual = {*pd.DataFrame._metadata, *pd.Series._metadata}
    own = sorted({*value._metadata} - usual)  # what a subclass adds and pickle keeps
    if own:
        extras.append([[name, getattr(value, name, None)] for name in own])
    return extras


def _index(value: Any, walk: Walk) -> Expanded:
    pd = sys.modules["pandas"]
    # A RangeIndex is an index of those integers that was written shorter.
    kind = pd.Index if isinstance(value, pd.RangeIndex) else type(value)
    frequency = getattr(value, "freq", None)
    name = kind.__name__, None if frequency is None else str(frequency.freqstr)
    return b"v", ORDERED, ["pandas.index", *name, value.name, value.array]


def _multi_index(value: Any, walk: Walk) -> Expanded:
    levels = [value.get_level_values(place).array for place in range(value.nlevels)]
    return b"v", ORDERED, ["pandas.multiindex", list(value.names), levels]


def _extension(value: Any, walk: Walk) -> Expanded:
    np, pd = sys.modules["numpy"], sys.modules["pandas"]
    dtype = value.dtype
    head = ["pandas.array", dtype]
    mask = getattr(value, "_mask", None)
    data = getattr(value, "_data", None)
    if isinstance(dtype, np.dtype):
        return b"v", ORDERED, [*head, np.asarray(value)]
    if isinstance(dtype, pd.PeriodDtype) or hasattr(value, "asi8"):
        return b"v", ORDERED, [*head, value.asi8]
    if isinstance(dtype, pd.IntervalDtype):
        return b"v", ORDERED, [*head, value.left, value.right]
    if isinstance(dtype, pd.SparseDtype):
        return b"v", ORDERED, [*head, value.to_dense()]
    if isinstance(mask, np.ndarray) and isinstance(data, np.ndarray):
        filled = data.copy()
        filled[mask] = np.zeros((), data.dtype)
        return b"v", ORDERED, [*head, filled, mask]
    if hasattr(value, "__arrow_array__") and hasattr(value, "_pa_array"):
        return b"v", ORDERED, [*head, value._pa_array]
    if isinstance(dtype, pd.StringDtype):
        return b"v", ORDERED, [*head, value.to_numpy(dtype=object)]
    from .kinds import reduced

    return reduced(value, walk)


# --- pyarrow --------------------------------------------------------------------------------------


def _install_pyarrow(pa: Any) -> None:
    BY_CLASS[pa.Array] = _arrow_array
    BY_CLASS[pa.ChunkedArray] = _arrow_array
    BY_CLASS[pa.Table] = _arrow_table
    BY_CLASS[pa.RecordBatch] = _arrow_table
    BY_CLASS[pa.Scalar] = lambda v, walk: (
        b"v", ORDERED, ["arrow.scalar", str(v.type), sys.modules["pyarrow"].array([v], v.type)]
    )  # fmt: skip
    BY_CLASS[pa.DataType] = lambda v, walk: named(b"v", "arrow.type", str(v))
    BY_CLASS[pa.Field] = _arrow_field
    BY_CLASS[pa.Schema] = lambda v, walk: (
        b"v", ORDERED, ["arrow.schema", list(v), dict(v.metadata or {})]
    )  # fmt: skip


def _arrow_field(value: Any, walk: Walk) -> Expanded:
    parts = ["arrow.field", value.name, str(value.type), value.nullable, dict(value.metadata or {})]
    return b"v", ORDERED, parts


def _arrow_table(value: Any, walk: Walk) -> Expanded:
    name = "arrow.table" if hasattr(value, "to_batches") else "arrow.batch"
    return b"v", ORDERED, [name, value.schema, [value.column(n) for n in range(value.num_columns)]]


def _arrow_array(value: Any, walk: Walk) -> Expanded:
    """Values, not buffers: slices, chunks and what lies under a null do not count."""
    pa = sys.modules["pyarrow"]
    types = sys.modules.get("pyarrow.types") or pa.types
    chunked = isinstance(value, pa.ChunkedArray)
    head = ["arrow", "chunked" if chunked else "array", str(value.type)]
    if types.is_temporal(value.type) and not types.is_interval(value.type):
        width = pa.int32() if value.type.bit_width == 32 else pa.int64()
        value = value.cast(width)
    if value.null_count == 0 and (types.is_integer(value.type) or types.is_floating(value.type)):
        return b"v", ORDERED, [*head, value.to_numpy()]
    return b"v", ORDERED, [*head, value.to_pylist()]


# --- torch ----------------------------------------------------------------------------------------


def _install_torch(torch: Any) -> None:
    BY_CLASS[torch.Tensor] = _tensor
    BY_TYPE[torch.dtype] = lambda v, walk: named(b"v", "torch.dtype", str(v))
    BY_TYPE[torch.device] = lambda v, walk: named(b"v", "torch.device", str(v))
    BY_TYPE[torch.Size] = lambda v, walk: (b"v", ORDERED, ["torch.Size", list(v)])
    BY_TYPE[torch.Generator] = lambda v, walk: (
        b"v", ORDERED, ["torch.Generator", str(v.device), v.get_state()]
    )  # fmt: skip


def _tensor(value: Any, walk: Walk) -> Expanded:
    torch = sys.modules["torch"]
    head = ["torch", walk_class(value, walk), str(value.dtype), value.device.type]
    head.append(bool(value.requires_grad))
    if value.layout is not torch.strided:
        if value.layout is torch.sparse_coo:
            tidy = value.detach().coalesce()
            return b"v", ORDERED, [*head, list(value.shape), tidy.indices(), tidy.values()]
        raise Refused(value, f"tensors of layout {value.layout} are not known")
    plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
    raw = plain.reshape(-1).view(torch.uint8) if plain.numel() else plain.new_empty(0)
    walk.weight += plain.numel() * plain.element_size() >> 8
    shape = leaf(tuple(value.shape))
    content = seal_buffers(b"a", (shape, raw.numpy().data if plain.numel() else b""))
    return b"v", ORDERED, [*head, Known(content)]


_INSTALL: dict[str, Callable[[Any], None]] = {
    "numpy": _install_numpy,
    "pandas": _install_pandas,
    "pyarrow": _install_pyarrow,
    "torch": _install_torch,
}


def _install(top: str) -> None:
    _INSTALL[top](sys.modules[top])


for _top in _INSTALL:
    LAZY[_top] = _install
