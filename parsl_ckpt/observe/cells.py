"""Values as the cells of a table in text, such as a CSV file.

Numbers as Python writes them, times in ISO 8601, what has parts as JSON, nothing for None.  A text
that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets write it.

Rule of this file: pure; a cell says what a large array or an object is, not all that is in it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import math
import os
import re
import sys
import uuid
from collections.abc import Mapping, Set
from typing import Any

from parsl_ckpt.observe.flatten import fields_of

LARGEST_ARRAY = 1000  # elements that are written out
LONGEST_REPR = 200
DEEPEST = 50
_FORMULA = re.compile(r"\A[\s]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)


def plain(value: Any) -> Any:
    """A scalar of numpy or pandas as Python's own; everything else as it is."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(kind, "item") and getattr(value, "ndim", 1) == 0:
        try:
            found = value.item()
        except (TypeError, ValueError):
            return value
        return found if not isinstance(found, kind) else value
    if kind.__module__.startswith("pandas."):
        if kind.__name__ in ("NAType", "NaTType"):
            return None
        if kind.__name__ == "Timestamp":
            return value.to_pydatetime(warn=False)
        if kind.__name__ == "Timedelta":
            return value.to_pytimedelta()
    return value


def cell(value: Any, raw: bool = False) -> str:
    """A value as the text of a cell.

    Args:
        value: any value.
        raw: leave texts alone that look like formulas.

    >>> cell(None), cell(-1.5), cell("=1+1"), cell({"a": [1, True]}), cell("-7"), cell("a\\nb")
    ('', '-1.5', "'=1+1", '{"a": [1, true]}', '-7', 'a\\nb')
    """
    text = _text(plain(value))
    if raw or type(value) in (int, float, bool):
        return text
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return str.__str__(value)
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, enum.Enum):
        return _number(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    simple = _simple(value)
    if simple is not None:
        return simple
    whole = jsonable(value)
    return whole if isinstance(whole, str) else json.dumps(whole, ensure_ascii=False)


def _number(value: Any) -> str:
    if type(value) is int and value.bit_length() > 10_000:  # beyond which Python refuses decimals
        return hex(value)
    return repr(value) if type(value) in (bool, int, float, complex) else str(value)


def _simple(value: Any) -> str | None:
    """The text of a value that has no parts; None for others."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, fractions.Fraction, uuid.UUID, dt.timedelta)):
        return str(value)
    if hasattr(type(value), "__fspath__"):
        try:
            return os.fsdecode(value)
        except Exception:
            return _about(value)
    return None


def jsonable(value: Any, above: tuple[int, ...] = ()) -> Any:
    """What JSON has for a value; a text that says what it is, where it has nothing.

    Args:
        value: any value.
        above: what it is in, by ``id``: a value may contain itself.
    """
    value = plain(value)
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    simple = _simple(value)
    if simple is not None:
        return simple
    if len(above) > DEEPEST or id(value) in above:
        return "..."
    above = (*above, id(value))
    if isinstance(value, dict):
        return {_key(key): jsonable(part, above) for key, part in value.items()}
    fields: Mapping[str, Any] | None = fields_of(value)
    if fields is not None:
        return {name: jsonable(part, above) for name, part in fields.items()}
    if dataclasses.is_dataclass(value):
        return {}
    if isinstance(value, (list, tuple)):
        return [jsonable(part, above) for part in value]
    if isinstance(value, Set):
        return sorted((jsonable(part, above) for part in value), key=repr)
    if _is_array(value) and value.size <= LARGEST_ARRAY:
        return jsonable(value.tolist(), above)
    return _about(value)


def _key(key: Any) -> str:
    return key if type(key) is str else _text(plain(key))


def _is_array(value: Any) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and isinstance(value, np.ndarray)


def _about(value: Any) -> str:
    """What an object is, in a few words."""
    kind = type(value).__qualname__
    shape = getattr(value, "shape", None)
    if type(shape) is tuple:
        dtype = getattr(value, "dtype", None)
        return f"<{dtype if dtype is not None else kind} {shape}>"
    try:
        text = repr(value)
    except Exception:
        text = ""
    if not text or " object at 0x" in text:  # an address says nothing, and another every time
        return f"<{kind}>"
    return text if len(text) <= LONGEST_REPR else f"<{kind}: {text[:LONGEST_REPR]}...>"
