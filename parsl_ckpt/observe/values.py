"""Two values, and by how much they differ: numbers and arrays by their largest deviation.

Rule of this file: pure, and bounded: a value of a million parts is gone through once, and what
differs is told by its extremes.  numpy is used where a value is one of its arrays already.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

DEEPEST = 50
LONGEST = 60  # characters of a value that are shown


@dataclass(frozen=True)
class Deviation:
    """One place at which two values differ.

    Attributes:
        path: where, as Python would write it; empty for the whole value.
        old, new: what stands there, as text.
        absolute: for numbers and arrays: the (largest) absolute difference.
        relative: the (largest) difference in relation to the larger of the two numbers.
        note: what differs besides, or what the numbers are about.
    """

    path: str
    old: str
    new: str
    absolute: float | None = None
    relative: float | None = None
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.path or 'value'}: {self.note or f'{self.old} → {self.new}'}"
        if self.absolute is not None and self.relative is not None:
            largest = "largest " if self.note else ""
            text += f" ({largest}difference {self.absolute:.3g}, relative {self.relative:.3g})"
        return text

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is not known is left out."""
        return {name: value for name, value in vars(self).items() if value not in ("", None)}


def deviations(old: Any, new: Any) -> Iterator[Deviation]:
    """The places at which two values differ, in order.

    Args:
        old, new: any values; a NaN equals another.

    >>> print(*deviations({"a": 1.0, "b": [1, 2]}, {"a": 1.5, "b": [1, 2]}))
    ["a"]: 1.0 → 1.5 (difference 0.5, relative 0.333)
    """
    return _walk(old, new, "", 0)


def _walk(old: Any, new: Any, path: str, depth: int) -> Iterator[Deviation]:
    if old is new:
        return
    if type(old) is not type(new):
        if _is_number(old) and _is_number(new) and not isinstance(old, bool | type(None)):
            yield from _number(old, new, path, f"{type(old).__name__} and {type(new).__name__}")
        else:
            kinds = f"{_text(old)} ({type(old).__name__}) → {_text(new)} ({type(new).__name__})"
            yield Deviation(path, _text(old), _text(new), note=kinds)
    elif _is_array(old):
        yield from _arrays(old, new, path)
    elif _is_number(old):
        yield from _number(old, new, path)
    elif depth < DEEPEST and (parts := _parts(old)) is not None:
        yield from _containers(parts, _parts(new) or {}, path, depth)
    elif not _same(old, new):
        yield Deviation(path, _text(old), _text(new))


def _containers(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str, depth: int
) -> Iterator[Deviation]:
    for step, part in old.items():
        if step in new:
            yield from _walk(part, new[step], path + step, depth + 1)
        else:
            yield Deviation(path + step, _text(part), "", note=f"gone; it was {_text(part)}")
    for step, part in new.items():
        if step not in old:
            yield Deviation(path + step, "", _text(part), note=f"new; it is {_text(part)}")


def _number(old: Any, new: Any, path: str, note: str = "") -> Iterator[Deviation]:
    if _same(old, new) and not note:
        return
    try:
        absolute = float(abs(old - new))
        largest = float(max(abs(old), abs(new)))
    except (TypeError, ValueError, ArithmeticError):
        absolute = largest = math.nan
    relative = absolute / largest if largest else 0.0
    note = f"{_text(old)} → {_text(new)}, {note}" if note else ""
    yield Deviation(path, _text(old), _text(new), absolute, relative, note)


def _arrays(old: Any, new: Any, path: str) -> Iterator[Deviation]:
    np: Any = sys.modules["numpy"]
    if old.shape != new.shape or old.dtype != new.dtype:
        yield Deviation(path, f"{old.dtype} {old.shape}", f"{new.dtype} {new.shape}")
        return
    if old.dtype.kind not in "biufc":
        if not np.array_equal(old, new):
            yield Deviation(path, "", "", note=f"{old.dtype} {old.shape}, other values")
        return
    with np.errstate(all="ignore"):
        differs = (old != new) & ~((old != old) & (new != new))  # a NaN equals another
        count = int(np.count_nonzero(differs))
        if not count:
            return
        before, after = old[differs], new[differs]
        wide = complex if old.dtype.kind == "c" else float
        before, after = before.astype(wide), after.astype(wide)
        gaps = np.abs(before - after)
        sizes = np.maximum(np.abs(before), np.abs(after))
        gap = float(np.max(gaps))
        relative = float(np.max(np.where(sizes > 0, gaps / sizes, 0.0)))
    where = tuple(int(axis[0]) for axis in np.nonzero(np.atleast_1d(differs)))
    note = f"{count:,} of {old.size:,} elements differ, the first at {list(where)}"
    yield Deviation(path, f"{old.dtype} {old.shape}", "", gap, relative, note)


def _parts(value: Any) -> dict[str, Any] | None:
    """The parts of a container or object by the step that leads to them; None for others."""
    if isinstance(value, dict):
        return {_key(key): part for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return {f"[{place}]": part for place, part in enumerate(value)}
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        return {f".{f.name}": getattr(value, f.name, None) for f in dataclasses.fields(value)}
    state = getattr(value, "__dict__", None)
    if type(state) is dict and state and type(value).__module__.partition(".")[0] not in _OPAQUE:
        return {f".{name}": part for name, part in state.items()}
    return None


_OPAQUE = frozenset({"pandas", "pyarrow", "torch", "polars", "xarray", "scipy"})


def _key(key: Any) -> str:
    return f"[{json.dumps(key, ensure_ascii=False) if type(key) is str else _text(key)}]"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _is_array(value: Any) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and isinstance(value, np.ndarray)


def _same(old: Any, new: Any) -> bool:
    equals = getattr(old, "equals", None)  # of data frames, whose == gives a data frame
    try:
        if callable(equals):
            return bool(equals(new))
        return bool(old == new) or bool(old != old and new != new)
    except Exception:
        return _text(old, 10_000) == _text(new, 10_000)


def _text(value: Any, longest: int = LONGEST) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= longest else text[: longest - 3] + "..."
