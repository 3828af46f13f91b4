"""What ``plan.run()`` gives: the futures that are wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, overload

from .trim import Trim


class Outcomes(Sequence["Future[Any]"]):
    """The futures that a plan was to find out, in the order in which they were wanted.

    Attributes:
        trim: what was restored, run and cut.

    >>> outcomes = plan.run()  # doctest: +SKIP
    >>> outcomes.results()  # doctest: +SKIP
    [3.5, 2.0]
    """

    def __init__(self, futures: Sequence[Future[Any]], trim: Trim) -> None:
        self._futures = tuple(futures)
        self.trim = trim

    def results(self, timeout: float | None = None) -> list[Any]:
        """Their values; waits for them.

        Args:
            timeout: seconds to wait at most, for all of them.

        Raises:
            TimeoutError: ``timeout`` seconds have passed.
            BaseException: what the first one raised that failed.
        """
        if timeout is None:
            return [future.result() for future in self._futures]
        ends = time.monotonic() + timeout
        return [future.result(max(0.0, ends - time.monotonic())) for future in self._futures]

    def __len__(self) -> int:
        return len(self._futures)

    @overload
    def __getitem__(self, at: int) -> Future[Any]: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Future[Any]]: ...
    def __getitem__(self, at: int | slice) -> Future[Any] | Sequence[Future[Any]]:
        return self._futures[at]

    def __repr__(self) -> str:
        counted = (
            f"{len(self.trim.run)} run, {len(self.trim.restored)} restored, "
            f"{len(self.trim.cut)} cut"
        )
        return f"<Outcomes: {len(self)} wanted; {counted}>"
