"""Whether a failed task is tried again: pure decisions, made outside the kernel's turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.errors import AppException, ConfigurationError, ParslCkptError, WorkerLostError

# Of our own errors, those that another try may mend.
_MENDABLE = (WorkerLostError, AppException)

RetryHandler = Callable[[Exception, Mapping[str, Any]], float]


@dataclass(frozen=True)
class RetryPolicy:
    """How often a task is tried again.

    Attributes:
        retries: the sum of costs up to which a failure is retried; without a handler each failure
            costs 1.
        handler: takes the exception and the task's record, gives what this failure costs.
    """

    retries: float = 0
    handler: RetryHandler | None = None

    def cost(self, error: BaseException, record: Mapping[str, Any]) -> float:
        """What a failure costs; infinite for what is never retried.

        Args:
            error: what the attempt raised.
            record: the task, by Parsl's names (``id``, ``func_name``, ``args``, ``kwargs``,
                ``try_id``, ``fail_count``, ``fail_cost``).

        Raises:
            Exception: whatever the user's handler raises.
            ConfigurationError: it gave no number.
        """
        if not isinstance(error, Exception):  # KeyboardInterrupt, SystemExit: a wish to stop
            return float("inf")
        if isinstance(error, ParslCkptError) and not isinstance(error, _MENDABLE):
            return float("inf")
        if self.handler is None:
            return 1.0
        cost: Any = self.handler(error, record)
        try:
            number = float("nan") if isinstance(cost, (str, bytes)) else float(cost)
        except (TypeError, ValueError):
            number = float("nan")
        if number != number:
            raise ConfigurationError(
                f"Config.retry_handler gave {cost!r:.80} for a failure of "
                f"{record.get('func_name')}, which is no cost.",
                hint="Return a number, 1 for one of the retries; more than these for no other try.",
                field="retry_handler",
            )
        return number

    def allows(self, total: float) -> bool:
        """Whether a task whose failures cost ``total`` in all is tried again."""
        return total <= self.retries
