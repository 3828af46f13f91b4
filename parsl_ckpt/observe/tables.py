"""Tables as files: CSV and Parquet, in bounded memory.

    rows ─ first time ─► which columns, of which kinds ─┐
    rows ─ second time ─────────────────────────────────┴─► lines, or groups of rows

Both formats want to know the columns before the first row is written, so values are decoded twice
rather than kept.

Rule of this file: a file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import importlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from parsl_ckpt.errors import MissingLibraryError, TableError
from parsl_ckpt.observe.cells import cell, plain

MOST_COLUMNS = 4096
ROWS, BYTES = 8192, 32 << 20  # of one group of a Parquet file, about
_EXACT = 1 << 53  # integers up to here are floats without loss

Rows = Iterable[Mapping[str, Any]]


def library(name: str, purpose: str) -> Any:
    """An optional library.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise MissingLibraryError(
            f"{top} is needed for {purpose}, and is not installed.",
            hint=f"Install it: pip install {top}; or take the rows as they are, or CSV.",
            library=top,
        ) from error


class Profile:
    """The columns of a table, in the order in which they appear, and the kinds of their values.

    Raises:
        TableError: there are too many.
    """

    def __init__(self, rows: Rows, first: Iterable[str] = ()) -> None:
        self.kinds: dict[str, set[str]] = {name: set() for name in first}
        for row in rows:
            for name, value in row.items():
                kinds = self.kinds.get(name)
                if kinds is None:
                    kinds = self.kinds[name] = set()
                kinds.add(_kind(value))
            if len(self.kinds) > MOST_COLUMNS:
                raise TableError(
                    f"The values have more than {MOST_COLUMNS:,} fields between them, each of "
                    "which would be a column.",
                    hint="Keep values whole with flatten=False (--no-flatten).",
                )

    @property
    def columns(self) -> list[str]:
        """The parameters, the fields of values, and last what is said about calls."""
        return sorted(self.kinds, key=lambda name: name.startswith("call."))


def write_csv(table: Any, target: str | os.PathLike[str] | IO[str], raw: bool) -> int:
    """Write a table as CSV; how many rows."""
    columns = Profile(table, table.parameters).columns
    if not isinstance(target, (str, os.PathLike)):
        return _csv(table, columns, target, raw)
    with (
        whole_file(target) as path,
        open(path, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        return _csv(table, columns, file, raw)


def _csv(table: Rows, columns: list[str], file: IO[str], raw: bool) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name, raw) for name in columns])
    count = 0
    for row in table:
        cells = [cell(row.get(name), raw) for name in columns]
        # A line with nothing in it is no row to most readers.
        writer.writerow(cells if len(cells) > 1 or any(cells) else ['""'.strip('"')])
        count += 1
    return count


def write_parquet(table: Any, target: str | os.PathLike[str]) -> int:
    """Write a table as a Parquet file; how many rows."""
    arrow = library("pyarrow", "Parquet")
    parquet = library("pyarrow.parquet", "Parquet")
    profile = Profile(table, table.parameters)
    made = {name: _column(arrow, profile.kinds[name]) for name in profile.columns}
    schema = arrow.schema([(name, kind) for name, (kind, _) in made.items()])
    count = 0
    with whole_file(target) as path, parquet.ParquetWriter(path, schema) as writer:
        for group in _groups(table, made):
            writer.write_table(arrow.table(group, schema=schema))
            count += len(next(iter(group.values()), ()))
    return count


Column = tuple[Any, Callable[[Any], Any]]


def _groups(table: Rows, made: Mapping[str, Column]) -> Iterator[dict[str, list[Any]]]:
    """The columns of some thousand rows after the other."""
    group: dict[str, list[Any]] = {name: [] for name in made}
    rows = size = 0
    for row in table:
        for name, (_, convert) in made.items():
            value = row.get(name)
            found = None if value is None else convert(value)
            group[name].append(found)
            size += len(found) * 8 if isinstance(found, (str, bytes, list)) else 8
        rows += 1
        if rows >= ROWS or size >= BYTES:
            yield group
            group = {name: [] for name in made}
            rows = size = 0
    if rows:
        yield group


def _kind(value: Any) -> str:
    """What of Parquet's types a value may have."""
    value = plain(value)
    kind = type(value)
    if value is None:
        return "none"
    if kind is int:
        return (
            "int" if abs(value) <= _EXACT else "long" if -(1 << 63) <= value < 1 << 63 else "text"
        )
    if kind is dt.datetime:
        return "moment" if value.tzinfo is None else "instant"
    if kind is list or kind is tuple:
        inner = {"text" if type(part) in (list, tuple) else _kind(part) for part in value}
        if inner <= {"int", "float", "none"}:
            return "floats" if "float" in inner else "ints"
        return "texts" if inner <= {"str", "none"} else "text"
    return _SIMPLE.get(kind, "text")


_SIMPLE = {bool: "bool", float: "float", str: "str", bytes: "bytes", dt.date: "date"}


def _column(arrow: Any, kinds: set[str]) -> Column:
    """The type of a column, and what makes its values of what the rows have."""
    kinds = kinds - {"none"}
    names = frozenset(kinds)
    whole: dict[frozenset[str], Column] = {
        frozenset(): (arrow.null(), plain),
        frozenset({"bool"}): (arrow.bool_(), plain),
        frozenset({"int"}): (arrow.int64(), plain),
        frozenset({"long"}): (arrow.int64(), plain),
        frozenset({"int", "long"}): (arrow.int64(), plain),
        frozenset({"float"}): (arrow.float64(), plain),
        frozenset({"int", "float"}): (arrow.float64(), lambda value: float(plain(value))),
        frozenset({"str"}): (arrow.string(), _valid),
        frozenset({"bytes"}): (arrow.binary(), plain),
        frozenset({"date"}): (arrow.date32(), plain),
        frozenset({"moment"}): (arrow.timestamp("us"), plain),
        frozenset({"instant"}): (arrow.timestamp("us", tz="UTC"), plain),
        frozenset({"ints"}): (arrow.list_(arrow.int64()), _parts(plain)),
        frozenset({"floats"}): (arrow.list_(arrow.float64()), _parts(_float)),
        frozenset({"ints", "floats"}): (arrow.list_(arrow.float64()), _parts(_float)),
        frozenset({"texts"}): (arrow.list_(arrow.string()), _parts(_valid)),
    }
    found = whole.get(names)
    # Of several kinds, or of one that Parquet does not have: as in CSV, but nothing is a formula.
    return found if found is not None else (arrow.string(), lambda value: _valid(cell(value, True)))


def _parts(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: [None if part is None else convert(part) for part in value]


def _float(value: Any) -> float | None:
    value = plain(value)
    return None if value is None else float(value)


def _valid(value: str) -> str:
    """A text without lone surrogates, which UTF-8 does not have."""
    return str.__str__(value).encode("utf-8", "backslashreplace").decode("utf-8")


@contextlib.contextmanager
def whole_file(target: str | os.PathLike[str]) -> Iterator[str]:
    """A path to write to, which becomes ``target`` when everything is written."""
    path = os.fspath(target)
    temporary = f"{path}.part-{os.getpid()}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
