"""What went wrong beside the tasks: told once per cause, and remembered for the end.

A problem of the store never fails a task.  It is a warning at once, an event for observers, and an
error from ``dfk.checkpoint()`` and at the end of the run.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import Counter

from parsl_ckpt.errors import CheckpointNotSavedError
from parsl_ckpt.kernel.events import Event, Events

logger = logging.getLogger(__name__)


class CheckpointWarning(UserWarning):
    """A result is not saved, or a saved one cannot be used; the run goes on."""


class Problems:
    """The problems of one run.

    Args:
        events: who is told beside the user.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._unsaved: Counter[tuple[str, str]] = Counter()
        self._new = 0

    def warn(self, app: str, text: str) -> None:
        """Tell of something once per app and kind of trouble."""
        self._tell(f"{app}: {text.split('(')[0]}", app, text)

    def warn_once(self, cause: str, app: str, text: str) -> None:
        """Tell of something once per cause."""
        self._tell(cause, app, text)

    def announce(self, app: str, text: str, error: BaseException, incident: int = 0) -> None:
        """Tell of a failure of the store, once per cause, and again if it had recovered."""
        cause = f"{text}: {type(error).__name__} {incident}"
        self._tell(cause, app, f"{_sentence(text)}: {error}")

    def unsaved(self, app: str, tid: int, error: BaseException) -> None:
        """Tell of a result that cannot be recorded, once per app, and count it."""
        with self._lock:
            self._unsaved[app, type(error).__name__] += 1
            self._new += 1
        self._tell(
            f"unsaved {app}: {type(error).__name__}",
            app,
            f"A result of {app} (task {tid}) is not recorded: {error}",
        )

    def unreadable(self, app: str, tid: int, error: BaseException, *, again: bool = True) -> None:
        """Tell of a record that is there and cannot be used; another is, or the task runs again."""
        so = f"task {tid} runs again" if again else f"task {tid} takes an earlier one"
        self._tell(
            f"unreadable {app}: {type(error).__name__}",
            app,
            f"A recorded result of {app} cannot be read, so {so}: {error}",
        )

    def _tell(self, cause: str, app: str, text: str) -> None:
        with self._lock:
            if cause in self._told:
                return
            self._told.add(cause)
        self._events.emit(Event("problem", app=app, text=text))
        try:
            warnings.warn(text, CheckpointWarning, stacklevel=4)
        except BaseException:  # an error here, or a hook that raises: it must not fail a task
            logger.error("%s", text)

    def not_saved(self, directory: str, held: int, lost: int, new: bool) -> Exception | None:
        """The error that says what is not in the checkpoint, or None if all is.

        Args:
            directory: the checkpoint.
            held: records that could not be written and are still in memory.
            lost: records that could not even be held.
            new: speak only of results unsaved since the last time this was asked.
        """
        with self._lock:
            unsaved = self._new if new else sum(self._unsaved.values())
            self._new = 0
            apps = ", ".join(f"{n} of {app} ({kind})" for (app, kind), n in self._unsaved.items())
        parts = []
        if unsaved:
            parts.append(f"{unsaved} result(s) that cannot be recorded: {apps}")
        if held:
            parts.append(f"{held} result(s) that could not be written and are held in memory")
        if lost:
            parts.append(f"{lost} result(s) that could be neither written nor held")
        if not parts:
            return None
        return CheckpointNotSavedError(
            f"The checkpoint {directory} does not hold {'; '.join(parts)}.",
            hint="The warning above says why; everything else is saved.",
            path=directory,
            unsaved=unsaved,
            held=held,
            lost=lost,
        )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
