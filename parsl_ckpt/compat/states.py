"""The states of a task by Parsl's names."""

from __future__ import annotations

from parsl_ckpt.kernel.records import States

FINAL_FAILURE_STATES = {States.failed, States.dep_fail}
FINAL_STATES = {States.exec_done, States.memo_done, States.cancelled, *FINAL_FAILURE_STATES}

__all__ = ["FINAL_FAILURE_STATES", "FINAL_STATES", "States"]
