"""Calls over iterables, a bounded number of them under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


def map_calls(
    call: Callable[..., Future[Any]],
    arguments: Iterator[tuple[Any, ...]],
    max_in_flight: int | None,
    ordered: bool,
) -> Iterator[Any]:
    """Results of ``call(*a)`` for each ``a`` of ``arguments``.

    Args:
        call: gives a future.
        arguments: taken only as far as there is room.
        max_in_flight: how many futures may be unfinished, or finished and not yet given, at once.
        ordered: whether the results come in the order of the calls.
    """
    run = _in_order if ordered else _as_completed
    under_way: set[Future[Any]] = set()
    try:
        yield from run(call, arguments, max_in_flight or float("inf"), under_way)
    finally:
        for future in list(under_way):
            future.cancel()


def _in_order(
    call: Callable[..., Future[Any]],
    arguments: Iterator[tuple[Any, ...]],
    room: float,
    under_way: set[Future[Any]],
) -> Iterator[Any]:
    queue: deque[Future[Any]] = deque()
    exhausted = False
    while queue or not exhausted:
        while not exhausted and len(queue) < room:
            following = next(arguments, None)
            if following is None:
                exhausted = True
            else:
                future = call(*following)
                queue.append(future)
                under_way.add(future)
        if queue:
            future = queue.popleft()
            value = future.result()
            under_way.discard(future)
            del future  # the value is the caller's now, and nobody else's
            yield value
            del value


def _as_completed(
    call: Callable[..., Future[Any]],
    arguments: Iterator[tuple[Any, ...]],
    room: float,
    under_way: set[Future[Any]],
) -> Iterator[Any]:
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    exhausted = False
    while under_way or not exhausted:
        while not exhausted and len(under_way) < room:
            following = next(arguments, None)
            if following is None:
                exhausted = True
            else:
                future = call(*following)
                under_way.add(future)
                future.add_done_callback(done.put)
        if under_way:
            future = done.get()
            under_way.discard(future)
            value = future.result()
            del future
            yield value
            del value
