"""Arguments of a checkpoint: what is wrong is an error that names it."""

from __future__ import annotations

import operator
import os
from typing import Any

from parsl_ckpt.checkpoint.where import absolute
from parsl_ckpt.errors import ConfigurationError

from .location import default_path
from .pacing import Interval


def place(path: str | os.PathLike[str] | None, name: str) -> str:
    if path is None:
        return absolute(default_path(name))
    try:
        given = os.fspath(path)
    except TypeError:
        given = b""  # type: ignore[assignment]
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"path is {path!r}, which is no path.")
    try:
        return absolute(given)
    except ConfigurationError as error:
        raise ValueError(f"path is {path!r}: {error.message}") from None


def check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field} is {value!r}, which is no text.")
    if not value:
        raise ValueError(f"{field} is empty.")


def check_choice(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed or not isinstance(value, str):
        raise ValueError(f"{field} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")


def whole(field: str, value: Any, least: int, others: str = "") -> int:
    """A whole number, numpy's too; True and False are none."""
    number = _index(value)
    if number is None or number < least:
        or_others = f", or {others}" if others else ""
        raise ValueError(
            f"{field} is {value!r}; it is a whole number of at least {least}{or_others}."
        )
    return number


def _index(value: Any) -> int | None:
    if type(value).__name__ in ("bool", "bool_"):  # some versions of numpy take theirs for numbers
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _level(value: Any) -> int:
    number = _index(value)
    if number not in (0, 1, 2):
        raise ValueError(f"level is {value!r}; it can be 0, 1 or 2.")
    return number


def _check_flag(field: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{field} is {value!r}; it can be True or False.")


def options(
    flush_interval: Any,
    history_size: Any,
    level: Any,
    on_exception: object,
    strict: object,
    stop_on_signal: object,
) -> tuple[Interval, int | None, int]:
    """What a checkpoint and that of a task have in common; interval, size and level as they are
    used.

    Raises:
        ValueError: one is wrong; it is named.
    """
    check_choice("on_exception", on_exception, ("discard", "flush"))
    _check_flag("strict", strict)
    _check_flag("stop_on_signal", stop_on_signal)
    if flush_interval is not None and not _is_auto(flush_interval):
        flush_interval = whole("flush_interval", flush_interval, 1, '"auto" or None')
    if history_size is not None:
        history_size = whole("history_size", history_size, 1, "None")
    return flush_interval, history_size, _level(level)


def _is_auto(value: object) -> bool:
    return isinstance(value, str) and value == "auto"


def ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None or world_size is None:
        from .ranks import detect

        found = detect()
        rank = found[0] if rank is None else rank
        world_size = max(found[1], 1) if world_size is None else world_size
    rank, world_size = whole("rank", rank, 0), whole("world_size", world_size, 1)
    if rank >= world_size:
        raise ValueError(f"rank is {rank}, and world_size is {world_size}: ranks count from 0.")
    return rank, world_size
