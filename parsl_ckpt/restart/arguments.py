"""Arguments of a checkpoint: what is wrong is an error that names it."""

from __future__ import annotations

import os

from parsl_ckpt.checkpoint.where import is_url

from .location import default_path


def place(path: str | os.PathLike[str] | None, name: str) -> str:
    if path is None:
        return default_path(name)
    try:
        given = os.fspath(path)
    except TypeError:
        given = b""  # type: ignore[assignment]
    if not isinstance(given, str) or not given or "\0" in given:
        raise ValueError(f"path is {path!r}, which is no path.")
    return given if is_url(given) else os.path.abspath(given)


def check_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{field} is {value!r}, which is no text.")
    if not value:
        raise ValueError(f"{field} is empty.")


def check_choice(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed or not isinstance(value, str):
        raise ValueError(f"{field} is {value!r}; it can be {' or '.join(map(repr, allowed))}.")


def check_number(field: str, value: object, least: int, others: str = "None") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{field} is {value!r}; it is a number of {least} or more, or {others}.")


def check_level(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value not in (0, 1, 2):
        raise ValueError(f"level is {value!r}; it can be 0, 1 or 2.")


def ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None or world_size is None:
        from .ranks import detect

        found = detect()
        rank = found[0] if rank is None else rank
        world_size = max(found[1], 1) if world_size is None else world_size
    for field, value, least in (("rank", rank, 0), ("world_size", world_size, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{field} is {value!r}; it is a number of {least} or more.")
    if rank >= world_size:
        raise ValueError(f"rank is {rank}, and world_size is {world_size}: ranks count from 0.")
    return rank, world_size
