"""Spans of time as users write them."""

from __future__ import annotations

import datetime
import re
from typing import Union

Span = Union[str, float, int, datetime.timedelta]  # noqa: UP007 (runtime, 3.10)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*")
_PARTS = re.compile(rf"(?:{_PART.pattern})+")
_CLOCK = re.compile(r"(\d+):([0-5]\d):([0-5]\d)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def seconds_of(span: Span) -> float | None:
    """A span of time in seconds; None if it is none.

    Args:
        span: ``"7d"``, ``"12h"``, ``"30m"``, ``"45s"``, ``"2w"`` or a sum of these (``"1d 12h"``),
            ``"HH:MM:SS"``, a timedelta, or a number of seconds, as text too.

    >>> seconds_of("1d 12h"), seconds_of("00:00:30"), seconds_of(2.5), seconds_of("soon")
    (129600.0, 30.0, 2.5, None)
    """
    if isinstance(span, datetime.timedelta):
        return span.total_seconds()
    if isinstance(span, (int, float)) and not isinstance(span, bool):
        return float(span)
    if not isinstance(span, str):
        return None
    text = span.strip().lower()
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        hours, minutes, seconds = map(int, clock.groups())
        return float(3600 * hours + 60 * minutes + seconds)
    if _NUMBER.fullmatch(text):
        return float(text)
    if _PARTS.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return None
