"""The log of a run, ``RUN_DIR/parsl_ckpt.log``: how it began, went on, what failed, how it ended.

::

    the run ─ begin, end ────────────────────────┐
    kernel ─ failures, retries, problems ─► observer thread ─► file
    timer ─ how many tasks are where, if that has changed ─────┘
    logging ─ warnings of the library and of concurrent.futures┘

*Guarantees.*  A task that succeeds costs nothing: counts are looked at now and then, and nothing
listens to single tasks.  A million failures make no large file: of each app the first few are
written with their tracebacks, and the others are counted.  The logging configuration of the program
is left alone.  A log that cannot be written ends; the run goes on.

*Assumptions.*  ``counts`` may be called from any thread and is cheap.

Who wants a line for each step of each task lets the logger ``parsl_ckpt.tasks`` speak
(``logging.getLogger("parsl_ckpt").setLevel(logging.DEBUG)``, before the run begins), and pays for
it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parsl_ckpt.checkpoint.rundir import LOG
from parsl_ckpt.kernel.events import Event, Events
from parsl_ckpt.kernel.timer import Clock
from parsl_ckpt.observe.progress import sentence, tally

logger = logging.getLogger(__name__)
tasks_logger = logging.getLogger("parsl_ckpt.tasks")

LOGGERS = ("parsl_ckpt", "concurrent.futures")  # callbacks that raise are told by the latter
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
TRACEBACKS = 10  # of each app; further failures are counted


class RunLog:
    """The log file of one run.

    Args:
        path: the file.
        counts: gives tasks by state name.
        clock: has the counts looked at.
    """

    def __init__(self, path: str, counts: Callable[[], Mapping[str, int]], clock: Clock) -> None:
        self.path = path
        self._file: Any = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._counts = counts
        self._clock = clock
        self._failures: Counter[str] = Counter()
        self._written: Mapping[str, int] = counts()
        self._seconds = FIRST_SECONDS
        self._handler = _Handler(self)
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self._handler)
        clock.call_later(self._seconds, self._look)

    def write(self, text: str, level: str = "INFO", when: float | None = None) -> None:
        """Add a line, or several that belong together."""
        if os.getpid() != self._pid:
            return  # a forked child has a copy of this, and no part in the run
        moment = time.time() if when is None else when
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        try:
            with self._lock:
                if self._file is not None:
                    self._file.write(f"{stamp}.{int(moment % 1 * 1000):03d} {level} {text}\n")
                    self._file.flush()
        except OSError:
            self._file = None  # a full disk is told of by the checkpoint

    def hear(self, event: Event) -> None:
        """Listen to the kernel."""
        if event.kind == "failure":
            self._hear_failure(event)
        elif event.kind in ("problem", "breaker"):
            self.write(event.text, "WARNING")

    def _hear_failure(self, event: Event) -> None:
        self._failures[event.app] += 1
        count = self._failures[event.app]
        if count > TRACEBACKS:
            return
        again = "; it is tried again" if event.state == "fail_retryable" else ""
        more = "; further failures of this app are counted only" if count == TRACEBACKS else ""
        self.write(
            f"Task {event.tid} ({event.app}) failed{again}{more}: {event.text}\n{_trace(event)}"
            .rstrip(),
            "ERROR",
        )  # fmt: skip

    def _look(self) -> None:
        """Write how many tasks are where, if that has changed; ever more seldom."""
        if self._file is None:
            return
        counts = self._counts()
        if counts != self._written:
            self._written = counts
            self.write(f"Tasks: {described(counts)}")
        self._seconds = min(2 * self._seconds, LONGEST_SECONDS)
        self._clock.call_later(self._seconds, self._look)

    def close(self) -> None:
        """Say what has not been said, and write no more."""
        for app, count in self._failures.items():
            if count > TRACEBACKS:
                self.write(
                    f"{app} failed {count:,} times in all; the first {TRACEBACKS} are above.",
                    "ERROR",
                )
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._handler)
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


class _Handler(logging.Handler):
    """Takes what the library says by way of logging into the log of a run."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "in_run_log", False):
            return
        try:
            text = self.format(record)
        except Exception:
            text = str(record.msg)
        self._log.write(text, record.levelname, record.created)


class Reporter:
    """What a run says of itself, to its log file and to the program's own logging.

    Args:
        wish: ``Config.initialize_logging``: True for the log file, False for none, or an object
            whose ``initialize_logging(log_dir=..., log_name=...)`` sets logging up and returns what
            undoes that.
        directory: where the log file goes; None for nowhere (a remote run directory).
        shown: the run's directory as users know it.
        counts: gives tasks by state name.
        clock, events: the kernel's.
    """

    def __init__(
        self,
        wish: Any,
        directory: str | None,
        shown: str,
        counts: Callable[[], Mapping[str, int]],
        clock: Clock,
        events: Events,
    ) -> None:
        self._shown = shown
        self._counts = counts
        self._began = time.monotonic()
        self._log: RunLog | None = None
        self._undo: list[Callable[[], object]] = []
        if wish is True and directory is not None:
            try:
                self._log = RunLog(os.path.join(directory, LOG), counts, clock)
            except OSError as error:
                logger.warning("The run %s has no log file: %s", shown, error)
            else:
                self._undo.append(self._log.close)
                self._undo.append(events.subscribe(self._log.hear, tasks=False))
        elif not isinstance(wish, bool) and directory is not None:
            self._undo.append(
                wish.initialize_logging(log_dir=Path(directory), log_name="parsl_ckpt")
            )
        self._events = events
        self._logs_tasks = False
        self.log_tasks()

    def log_tasks(self) -> None:
        """Log each step of each task from now on, if anybody wants that."""
        if not self._logs_tasks and tasks_logger.isEnabledFor(logging.DEBUG):
            self._logs_tasks = True
            self._undo.append(self._events.subscribe(_tell_task))

    def begin(self, config: Any) -> None:
        """Say what is run, and how."""
        version = getattr(sys.modules.get("parsl_ckpt"), "__version__", "")
        command = " ".join(map(str, getattr(sys, "orig_argv", None) or sys.argv))
        self.say(
            f"Run {self._shown} begins: parsl_ckpt {version}, Python "
            f"{sys.version.split()[0]}, process {os.getpid()}: {command}"
        )
        self.say(f"Configuration: {config!r}")

    def say(self, text: str) -> None:
        """Tell something that is no problem."""
        logger.info("%s", text, extra={"in_run_log": True})
        if self._log is not None:
            self._log.write(text)

    def end(self) -> None:
        """Sum up, and undo what was set up; further calls do nothing."""
        undo, self._undo = self._undo, []
        seconds = time.monotonic() - self._began
        counts = self._counts()
        self.say(f"Run {self._shown} ended after {seconds:.1f} s. Summary of tasks:")
        for state, number in counts.items():
            if number:
                self.say(f"Tasks in state {state}: {number:,}")
        self.say("End of summary")
        for call in reversed(undo):
            try:
                call()
            except Exception:
                logger.exception("Logging could not be undone.")


def described(counts: Mapping[str, int]) -> str:
    """How a run stands, in a sentence.

    >>> described({"exec_done": 3, "running": 1})
    '3 of 4 done (run 3, restored 0), 1 running'
    """
    now = tally(counts)
    running = f", {now.running:,} running" if now.running else ""
    return f"{now.done:,} of {now.total:,} done ({sentence(now)}){running}"


def _trace(event: Event) -> str:
    error = event.error
    if error is None or event.state == "dep_fail":
        return ""  # it raised nowhere; what did is above
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        return ""


def _tell_task(event: Event) -> None:
    if event.kind == "task":
        tasks_logger.debug("Task %d (%s): %s", event.tid, event.app, event.state)
