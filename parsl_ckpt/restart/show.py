"""A catalog as a table, for terminals and notebooks.  Pure."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence
from typing import Any

from .entry import CheckpointEntry

_WIDEST = 40
_ROWS = 60


def table(
    entries: Sequence[CheckpointEntry], now: dt.datetime
) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the rows as text; of a long catalog the first and the last rows.

    Only those are looked into: there may be a million.

    Args:
        entries: the rows of the catalog.
        now: what ages are counted from.
    """
    places = list(range(len(entries)))
    cut = len(places) > _ROWS
    if cut:
        places = places[: _ROWS // 2] + places[-_ROWS // 2 :]
    seen = [entries[place] for place in places]
    labels = sorted({name for entry in seen for name in entry.labels})
    keys = sorted({name for entry in seen for name in entry.metadata_keys})
    columns = ["row", *labels, "writes", *keys, "states", "saved"]
    rows = []
    for place, entry in zip(places, seen, strict=True):
        rows.append(
            [
                str(place),
                *[shown(entry.labels[name]) if name in entry.labels else "" for name in labels],
                str(entry.write_count),
                *[_metadata(entry, name) for name in keys],
                str(len(entry.state_ids)),
                f"{in_words(now - entry.saved_at)} ago",
            ]
        )
    if cut:
        rows.insert(_ROWS // 2, ["..."] * len(columns))
    return [shown(name) for name in columns], rows


def as_text(title: Sequence[str], entries: Sequence[CheckpointEntry], now: dt.datetime) -> str:
    """The table in lines of text."""
    lines = list(title)
    if not entries:
        return "\n".join([*lines, "catalog: empty"])
    columns, rows = table(entries, now)
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in [columns, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_html(title: Sequence[str], entries: Sequence[CheckpointEntry], now: dt.datetime) -> str:
    """The table as HTML; whatever users have named is escaped."""
    head = "".join(f"<div>{html.escape(line)}</div>" for line in title)
    if not entries:
        return f"<div>{head}<div>catalog: empty</div></div>"
    columns, rows = table(entries, now)
    body = _html_row("th", columns) + "".join(_html_row("td", row) for row in rows)
    return f"<div>{head}<table>{body}</table></div>"


def shown(value: Any) -> str:
    """A value in one short line; durations in words."""
    if isinstance(value, dt.timedelta):
        return in_words(value)
    if type(value).__module__ == "numpy" and type(value).__name__ == "timedelta64":
        return _numpy_duration(value)
    if type(value).__module__ == "numpy" and type(value).__name__ == "ndarray":
        return f"array {value.dtype} {'x'.join(map(str, value.shape))}"
    text = value if isinstance(value, str) else _repr(value)
    line = " ".join(text.split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= _WIDEST else line[: _WIDEST - 3] + "..."


def in_words(duration: dt.timedelta) -> str:
    """A duration as one would say it, by its two greatest units.

    >>> in_words(dt.timedelta(hours=30)), in_words(dt.timedelta(seconds=1))
    ('1 day 6 hours', '1 second')
    """
    micros = duration // dt.timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    parts = []
    for name, size in _UNITS:
        count, micros = divmod(micros, size)
        if count:
            parts.append(f"{count} {name}" + ("s" if count > 1 else ""))
    if not parts:
        return "0 seconds"
    if parts[0].endswith(("second", "seconds")) and len(parts) > 1:
        parts = parts[:1]
    return sign + " ".join(parts[:2])


_UNITS = (
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
    ("millisecond", 1000),
    ("microsecond", 1),
)


def _numpy_duration(value: Any) -> str:
    try:
        python = value.astype("timedelta64[us]").item()
    except Exception:  # years and months have no length
        return str(value)
    return in_words(python) if isinstance(python, dt.timedelta) else str(value)


def _metadata(entry: CheckpointEntry, name: str) -> str:
    if name not in entry.metadata_keys:
        return ""
    try:
        return shown(entry.metadata[name])
    except Exception:  # a table is shown whatever is in it
        return "(unreadable)"


def _repr(value: Mapping[str, Any] | Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"({type(value).__name__})"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
