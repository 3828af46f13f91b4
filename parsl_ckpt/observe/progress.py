"""How far a run has come, on the terminal.

::

    dfk.counts() ◄── polled ten times a second ── painter thread ──► a bar        (terminal)
                                                                └──► plain lines (anything else)

Guarantees:

* Tasks pay nothing: no event is subscribed to, the counts are only looked at while someone shows
  them, and nobody waits for a terminal.
* It cannot break a run.  A closed terminal, another live display, counts that raise: the display
  ends, the run goes on.
* It goes to standard error, so that what a program prints can still be piped.

Assumptions: ``counts`` may be called from any thread and is cheap (a copy of a dozen numbers).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

#: States in which a task is over.
DONE = ("exec_done", "memo_done", "failed", "dep_fail", "cancelled")
#: Tasks counted under another name as well; not states.
TOTALS = ("memo", "run")


class Tally(NamedTuple):
    """The numbers that are shown, folded from counts by state."""

    total: int
    done: int
    running: int
    run: int
    restored: int
    failed: int
    cancelled: int


def tally(counts: Mapping[str, int], expected: int | None = None) -> Tally:
    """Fold counts by state into what is shown.

    Args:
        counts: tasks by state name; ``memo`` and ``run``, where present, are sums over states.
        expected: how many tasks there will be, if that is known; the total is never less than the
            number of tasks already made.

    >>> tally({"exec_done": 2, "memo_done": 5, "running": 1, "pending": 2, "memo": 5, "run": 2})
    Tally(total=10, done=7, running=1, run=2, restored=5, failed=0, cancelled=0)
    """
    made = sum(number for state, number in counts.items() if state not in TOTALS)
    return Tally(
        total=max(made, expected or 0),
        done=sum(counts.get(state, 0) for state in DONE),
        running=counts.get("running", 0),
        run=counts.get("exec_done", 0),
        restored=counts.get("memo_done", 0),
        failed=counts.get("failed", 0) + counts.get("dep_fail", 0),
        cancelled=counts.get("cancelled", 0),
    )


def sentence(now: Tally) -> str:
    """Say what became of the tasks that are over.

    >>> sentence(Tally(total=10, done=8, running=1, run=2, restored=5, failed=1, cancelled=0))
    'run 2, restored 5, failed 1'
    """
    parts = [f"run {now.run:,}", f"restored {now.restored:,}"]
    if now.failed:
        parts.append(f"failed {now.failed:,}")
    if now.cancelled:
        parts.append(f"cancelled {now.cancelled:,}")
    return ", ".join(parts)


class Progress:
    """A context in which the progress of a run is shown.

    Args:
        counts: gives tasks by state name, as ``dfk.counts`` does.
        description: a word or two before the bar.
        total: number of tasks expected, where it is known better than by what was submitted.
        file: where to; standard error by default.
        console: a rich console, instead of ``file``.
        interval: seconds between two looks.
        line_interval: seconds between two lines where there is no terminal.
        enabled: False shows nothing and starts nothing.

    >>> with Progress(lambda: {"exec_done": 3}, "tasks", file=sys.stdout):
    ...     pass
    tasks: 3/3, run 3, restored 0 (0 s)
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, int]],
        description: str = "tasks",
        *,
        total: int | None = None,
        file: IO[str] | None = None,
        console: Console | None = None,
        interval: float = 0.1,
        line_interval: float = 5.0,
        enabled: bool = True,
    ) -> None:
        self._counts = counts
        self._description = description
        self._expected = total
        self._file = file
        self._console = console
        self._interval = interval
        self._line_interval = line_interval
        self._enabled = enabled
        self._stop = threading.Event()
        self._painter: threading.Thread | None = None
        self._display: _Bar | _Lines | None = None

    def __enter__(self) -> Progress:
        if self._enabled:
            try:
                self._display = self._open()
                # A daemon, so that no end of a program ever waits for its picture.
                self._painter = threading.Thread(
                    target=self._paint, name="parsl_ckpt-progress", daemon=True
                )
                self._painter.start()
            except Exception:
                self._give_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._painter is not None:
            self._painter.join(timeout=2.0)  # a terminal that hangs is no reason to hang
        display, self._display = self._display, None
        if display is None:
            return
        try:
            display.show(tally(self._counts(), self._expected), last=True)
        except Exception:
            self._give_up()
        finally:
            display.close()

    def _open(self) -> _Bar | _Lines:
        file = self._file or sys.stderr
        if self._console is not None or _is_terminal(file):
            return _Bar(self._description, self._console, file)
        return _Lines(self._description, file, self._line_interval)

    def _paint(self) -> None:
        while not self._stop.wait(self._interval):
            display = self._display
            if display is None:
                return
            try:
                display.show(tally(self._counts(), self._expected))
            except Exception:
                self._give_up()
                return

    def _give_up(self) -> None:
        logger.debug("The progress display has ended; the run goes on.", exc_info=True)
        display, self._display = self._display, None
        if display is not None:
            display.close()


class _Bar:
    """A rich progress bar, repainted by our own thread only."""

    def __init__(self, description: str, console: Console | None, file: IO[str]) -> None:
        from rich import progress as rich_progress
        from rich.console import Console

        self._rich = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.TextColumn("{task.fields[outcome]}"),
            rich_progress.TimeElapsedColumn(),
            console=console or Console(file=file),
            auto_refresh=False,
            # What is printed meanwhile appears above the bar; but what is piped elsewhere must not
            # be drawn into the terminal.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._task = self._rich.add_task(description, total=None, outcome="")
        self._rich.start()

    def show(self, now: Tally, last: bool = False) -> None:
        self._rich.update(
            self._task,
            total=now.total or None,
            completed=now.done,
            outcome=f"{now.done:,}/{now.total:,}, {sentence(now)}",
            refresh=True,
        )

    def close(self) -> None:
        try:
            self._rich.stop()
        except Exception:
            logger.debug("The progress bar did not stop.", exc_info=True)


class _Lines:
    """One line now and then: for log files, pipes and dumb terminals."""

    def __init__(self, description: str, file: IO[str], interval: float) -> None:
        self._description = description
        self._file = file
        self._interval = interval
        self._began = time.monotonic()
        self._next = self._began + interval
        self._written: Tally | None = None

    def show(self, now: Tally, last: bool = False) -> None:
        clock = time.monotonic()
        if not last and (clock < self._next or now == self._written):
            return
        if now == self._written:
            return
        self._next = clock + self._interval
        self._written = now
        seconds = clock - self._began
        self._file.write(
            f"{self._description}: {now.done:,}/{now.total:,}, {sentence(now)} ({seconds:.0f} s)\n"
        )
        self._file.flush()

    def close(self) -> None:
        """Nothing is held."""


def _is_terminal(file: Any) -> bool:
    try:
        return bool(file.isatty())
    except Exception:
        return False
