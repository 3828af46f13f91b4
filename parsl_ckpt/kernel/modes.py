"""When records are flushed: each checkpoint mode as a rule from (event, clock) to a decision.

A rule sees what happened, how long ago the last flush was and the period, and says whether to flush
now.  ``task_exit`` says yes to everything, so its records are never held back at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

RESULT = "result"  # a result is ready to be recorded
TICK = "tick"  # time has passed
CHECKPOINT = "checkpoint"  # the user asked for it
END = "end"  # an orderly end

Rule = Callable[[str, float, float], bool]


def _task_exit(event: str, since: float, period: float) -> bool:
    return True


def _periodic(event: str, since: float, period: float) -> bool:
    return event in (CHECKPOINT, END) or since >= period


def _at_end_or_asked(event: str, since: float, period: float) -> bool:
    return event in (CHECKPOINT, END)


def _only_asked(event: str, since: float, period: float) -> bool:
    return event == CHECKPOINT


MODES: Mapping[str | None, Rule] = {
    "task_exit": _task_exit,
    "periodic": _periodic,
    "dfk_exit": _at_end_or_asked,
    "manual": _at_end_or_asked,
    None: _only_asked,
}


def flush_due(mode: str | None, event: str, since: float, period: float) -> bool:
    """Whether to flush now.

    Args:
        mode: a key of :data:`MODES`.
        event: what happened.
        since: seconds since the last flush.
        period: seconds between flushes, for ``periodic``.

    >>> flush_due("periodic", RESULT, since=3599.0, period=3600.0)
    False
    >>> flush_due("periodic", RESULT, since=3600.0, period=3600.0)
    True
    """
    return MODES[mode](event, since, period)
