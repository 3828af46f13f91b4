"""What ``plan.run()`` gives: the futures that are wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, overload

from .trim import Trim

if TYPE_CHECKING:
    from .naming import Persisting


class Outcomes(Sequence["Future[Any]"]):
    """The futures that a plan was to find out, in the order in which they were wanted.

    Attributes:
        trim: what was restored, run and cut.
        persisted: what becomes of the names that outcomes are to have in a named set; None if they
            are to have none.

    >>> outcomes = plan.run()  # doctest: +SKIP
    >>> outcomes.results()  # doctest: +SKIP
    [3.5, 2.0]
    """

    def __init__(
        self, futures: Sequence[Future[Any]], trim: Trim, persisted: Persisting | None = None
    ) -> None:
        self._futures = tuple(futures)
        self.trim = trim
        self.persisted = persisted

    def results(self, timeout: float | None = None) -> list[Any]:
        """Their values; waits for them, and until what is to be persisted is.

        Args:
            timeout: seconds to wait at most, for all of them.

        Raises:
            TimeoutError: ``timeout`` seconds have passed.
            BaseException: what the first one raised that failed.
        """
        ends = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if ends is None else max(0.0, ends - time.monotonic())

        found = [future.result(left()) for future in self._futures]
        if self.persisted is not None:
            self.persisted.result(left())
        return found

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
