"""Dates, decimals, paths, ranges, patterns and the other values of the standard library."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import functools
import ipaddress
import operator
import pathlib
import random
import re
import types
import uuid
import zoneinfo
from typing import Any

UTC = dt.timezone.utc
HOUR = dt.timedelta(hours=1)
D = decimal.Decimal
F = fractions.Fraction


def _paris() -> dt.tzinfo:
    return zoneinfo.ZoneInfo.no_cache("Europe/Paris")


def _advanced(steps: int) -> random.Random:
    made = random.Random(7)
    for _ in range(steps):
        made.random()
    return made


def _zones() -> bool:
    """Whether there are zones here: neither Windows nor a bare container has any."""
    try:
        _paris()
    except zoneinfo.ZoneInfoNotFoundError:
        return False
    return True


def _winter(zone: dt.tzinfo | None, **changes: int) -> dt.datetime:
    return dt.datetime(2024, 1, 2, 3, 4, 5, 6, zone).replace(**changes)  # type: ignore[arg-type]


def differ() -> dict[str, Any]:
    found: dict[str, Any] = {
        "dates: days": (lambda: dt.date(2024, 1, 2), lambda: dt.date(2024, 2, 1)),
        "dates: beside midnight": (lambda: dt.date(2024, 1, 2), lambda: dt.datetime(2024, 1, 2)),
        "dates: beside their text": (lambda: dt.date(2024, 1, 2), lambda: "2024-01-02"),
        "times: microseconds": (lambda: _winter(None), lambda: _winter(None, microsecond=7)),
        "times: without a zone beside UTC": (lambda: _winter(None), lambda: _winter(UTC)),
        "times: the same instant in two zones": (
            lambda: _winter(UTC),
            lambda: _winter(dt.timezone(HOUR), hour=4),
        ),
        "times: name of a zone": (
            lambda: _winter(dt.timezone(HOUR)),
            lambda: _winter(dt.timezone(HOUR, "CET")),
        ),
        "times: fold": (lambda: _winter(None), lambda: _winter(None, fold=1)),
        "times: of day, zone": (lambda: dt.time(1, 2), lambda: dt.time(1, 2, tzinfo=UTC)),
        "times: of day, fold": (lambda: dt.time(1, 2), lambda: dt.time(1, 2, fold=1)),
        "times: of day beside date and time": (
            lambda: dt.time(1, 2),
            lambda: dt.datetime(1900, 1, 1, 1, 2),
        ),
        "durations: seconds": (lambda: dt.timedelta(days=1), lambda: dt.timedelta(seconds=86401)),
        "durations: beside seconds": (lambda: dt.timedelta(seconds=5), lambda: 5.0),
        "durations: sign": (lambda: HOUR, lambda: -HOUR),
        "zones: offsets": (lambda: dt.timezone(HOUR), lambda: dt.timezone(-HOUR)),
        "decimals: trailing zero": (lambda: D("1.0"), lambda: D("1.00")),
        "decimals: beside float": (lambda: D("0.5"), lambda: 0.5),
        "decimals: beside int": (lambda: D(1), lambda: 1),
        "decimals: beside text": (lambda: D("1.5"), lambda: "1.5"),
        "decimals: sign of zero": (lambda: D("0"), lambda: D("-0")),
        "decimals: kinds of NaN": (lambda: D("NaN"), lambda: D("sNaN")),
        "decimals: the thirtieth digit": (lambda: D("1." + "0" * 29 + "1"), lambda: D(1)),
        "fractions: turned over": (lambda: F(2, 3), lambda: F(3, 2)),
        "fractions: beside int": (lambda: F(2), lambda: 2),
        "fractions: beside a tuple": (lambda: F(2, 3), lambda: (2, 3)),
        "ranges: end": (lambda: range(3), lambda: range(4)),
        "ranges: step": (lambda: range(0, 10, 2), lambda: range(0, 10, 3)),
        "ranges: beside lists": (lambda: range(3), lambda: [0, 1, 2]),
        "ranges: beside slices": (lambda: range(1, 2, 3), lambda: slice(1, 2, 3)),
        "slices: end": (lambda: slice(1, 2), lambda: slice(1, 3)),
        "slices: open beside zero": (lambda: slice(None, 3), lambda: slice(0, 3)),
        "slices: beside tuples": (lambda: slice(1, 2, 3), lambda: (1, 2, 3)),
        "paths: names": (lambda: pathlib.Path("a"), lambda: pathlib.Path("b")),
        "paths: beside text": (lambda: pathlib.Path("a"), lambda: "a"),
        "paths: pure beside concrete": (lambda: pathlib.Path("a"), lambda: pathlib.PurePath("a")),
        "paths: systems": (
            lambda: pathlib.PurePosixPath("a"),
            lambda: pathlib.PureWindowsPath("a"),
        ),
        "paths: parent's parts": (
            lambda: pathlib.PurePosixPath("b"),
            lambda: pathlib.PurePosixPath("a/../b"),
        ),
        "paths: absolute": (
            lambda: pathlib.PurePosixPath("a"),
            lambda: pathlib.PurePosixPath("/a"),
        ),
        "patterns: text": (lambda: re.compile("a"), lambda: re.compile("b")),
        "patterns: flags": (lambda: re.compile("a"), lambda: re.compile("a", re.IGNORECASE)),
        "patterns: of bytes": (lambda: re.compile("a"), lambda: re.compile(b"a")),
        "uuids: values": (lambda: uuid.UUID(int=1), lambda: uuid.UUID(int=2)),
        "uuids: beside text": (lambda: uuid.UUID(int=1), lambda: str(uuid.UUID(int=1))),
        "addresses: versions": (
            lambda: ipaddress.ip_address("0.0.0.1"),
            lambda: ipaddress.ip_address("::1"),
        ),
        "addresses: networks": (
            lambda: ipaddress.ip_network("10.0.0.0/8"),
            lambda: ipaddress.ip_network("10.0.0.0/16"),
        ),
        "namespaces: values": (
            lambda: types.SimpleNamespace(a=1),
            lambda: types.SimpleNamespace(a=2),
        ),
        "namespaces: beside dicts": (lambda: types.SimpleNamespace(a=1), lambda: {"a": 1}),
        "exceptions: types": (lambda: ValueError("a"), lambda: TypeError("a")),
        "exceptions: arguments": (lambda: ValueError("a"), lambda: ValueError("b")),
        "exceptions: causes": (
            lambda: _caused(ValueError("a"), KeyError("b")),
            lambda: _caused(ValueError("a"), KeyError("c")),
        ),
        "random: seeds": (lambda: random.Random(1), lambda: random.Random(2)),
        "random: states": (lambda: _advanced(0), lambda: _advanced(1)),
        "getters: of items": (lambda: operator.itemgetter(0), lambda: operator.itemgetter(1)),
        "getters: of attributes": (
            lambda: operator.attrgetter("a"),
            lambda: operator.attrgetter("b"),
        ),
        "user containers: beside builtin": (lambda: collections.UserDict(a=1), lambda: {"a": 1}),
    }
    if _zones():
        found |= {
            "zones: by name, the same offset": (
                lambda: _winter(_paris()),
                lambda: _winter(zoneinfo.ZoneInfo("Europe/Berlin")),
            ),
            "zones: by name beside their offset": (
                lambda: _winter(_paris()),
                lambda: _winter(dt.timezone(HOUR)),
            ),
        }
    return found


def agree() -> dict[str, Any]:
    found: dict[str, Any] = {
        "dates: computed": (
            lambda: dt.date(2024, 3, 1),
            lambda: dt.date(2024, 2, 28) + dt.timedelta(2),
        ),
        "dates: parsed": (lambda: dt.date(2024, 1, 2), lambda: dt.date.fromisoformat("2024-01-02")),
        "times: computed": (lambda: _winter(UTC), lambda: _winter(UTC, hour=2) + HOUR),
        "times: UTC written otherwise": (
            lambda: _winter(UTC),
            lambda: _winter(dt.timezone(dt.timedelta(0))),
        ),
        "durations: hours and seconds": (lambda: HOUR, lambda: dt.timedelta(seconds=3600)),
        "durations: negative": (lambda: -HOUR, lambda: dt.timedelta(days=-1, hours=23)),
        "zones: offsets": (lambda: dt.timezone(HOUR), lambda: dt.timezone(dt.timedelta(0, 3600))),
        "decimals: computed": (lambda: D("1.10"), lambda: D("0.55") * 2),
        "decimals: from a tuple": (lambda: D("-1.5"), lambda: D((1, (1, 5), -1))),
        "decimals: exponents": (lambda: D("1E+3"), lambda: D("1e3")),
        "fractions: reduced": (lambda: F(2, 3), lambda: F(4, 6)),
        "fractions: signs": (lambda: F(-2, 3), lambda: F(2, -3)),
        "fractions: from decimals": (lambda: F(1, 4), lambda: F("0.25")),
        "ranges: defaults written out": (lambda: range(3), lambda: range(0, 3, 1)),
        "ranges: sliced": (lambda: range(2, 8, 2), lambda: range(0, 100, 2)[1:4]),
        "slices: defaults written out": (lambda: slice(3), lambda: slice(None, 3, None)),
        "paths: joined": (lambda: pathlib.Path("a/b"), lambda: pathlib.Path("a") / "b"),
        "paths: dots and slashes": (lambda: pathlib.Path("a/b"), lambda: pathlib.Path("./a//b/.")),
        "paths: parent": (lambda: pathlib.Path("a"), lambda: pathlib.Path("a/b").parent),
        "paths: looked at": (lambda: pathlib.Path("a/b.c"), lambda: _looked_at("a/b.c")),
        "patterns: flags written otherwise": (
            lambda: re.compile("a", re.IGNORECASE | re.MULTILINE),
            lambda: re.compile("a", re.M | re.I),
        ),
        "uuids: from text": (lambda: uuid.UUID(int=1), lambda: uuid.UUID("0" * 31 + "1")),
        "addresses: from numbers": (
            lambda: ipaddress.ip_address("0.0.0.1"),
            lambda: ipaddress.ip_address(b"\0\0\0\1"),
        ),
        "namespaces: order": (
            lambda: types.SimpleNamespace(a=1, b=2),
            lambda: types.SimpleNamespace(b=2, a=1),
        ),
        "exceptions: raised": (lambda: ValueError("a", 1), lambda: _raised(ValueError("a", 1))),
        "random: states": (lambda: _advanced(3), lambda: _advanced(3)),
        "partials: of library functions": (
            lambda: functools.partial(int, base=2),
            lambda: functools.partial(int, base=2),
        ),
        "getters: of items": (lambda: operator.itemgetter(0, 1), lambda: operator.itemgetter(0, 1)),
        "user containers: dicts": (
            lambda: collections.UserDict(a=1, b=2),
            lambda: collections.UserDict({"b": 2, "a": 1}),
        ),
    }
    if _zones():
        found |= {
            "zones: by name, made twice": (lambda: _winter(_paris()), lambda: _winter(_paris())),
            "zones: by name, after use": (
                lambda: _winter(_paris()),
                lambda: _winter(zoneinfo.ZoneInfo("Europe/Paris")).astimezone(
                    zoneinfo.ZoneInfo("Europe/Paris")
                ),
            ),
        }
    return found


def _looked_at(name: str) -> pathlib.Path:
    path = pathlib.Path(name)
    hash(path), path.parts, path.suffix, str(path), path.name
    return path


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught
