"""Outcomes of a plan get names in a set.

    run ─┬─ restored ─► names, by reference ────────────────────────┬─► pins ─► flushed ─► done
         └─ begun ─ concluded, its record written (Persisting) ─────┘

*Guarantees.*  A name is written after the record that it names, so it never promises what is not
there; whoever dies in between has the record, and the next plan gives the name.  The end of the
run waits for all names.  Nothing of a value is copied, and no value is decoded.

*Assumptions.*  ``settle`` is called once for each future that is begun, after its conclusion; or
the end of the run makes up for that.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FuturesTimeoutError  # its own class before 3.11
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.pins import Named
from parsl_ckpt.kernel import modes
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Hit

from .job import listed, shown
from .sets import Sets

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.task import Task

    from .drawing import Drawn

FLUSH_SECONDS = 300.0
_AT_ONCE = 4096


@dataclass
class Persisted:
    """What was persisted to a named set.

    Attributes:
        set: its id.
        named: the names that stand for an outcome which they did not stand for before.
        unchanged: the names that stood for it already, for which nothing was to be done.
        missing: the names that were to be given and are not, with the reason.
    """

    set: str
    named: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        number = len(self.named)
        were = "name was" if number == 1 else "names were"
        told = [f"{number} {were} given in the set {shown(self.set)}."]
        if self.unchanged:
            told.append(
                f"{len(self.unchanged)} stood for the same outcome already, so nothing was to be "
                f"done: {listed(self.unchanged)}."
            )
        for reason in sorted(set(self.missing.values())):
            names = [name for name, why in self.missing.items() if why == reason]
            was = "was" if len(names) == 1 else "were"
            told.append(f"{len(names)} {was} not given, because {reason}: {listed(names)}.")
        return "\n".join(told)


class Persisting:
    """Gives names to the outcomes of a plan that runs.

    Args:
        kernel: the kernel.
        sets: the sets.
        of: the set that is persisted to.
        names: for the number of each call whose outcome is to have names, these.
    """

    def __init__(
        self, kernel: Kernel, sets: Sets, of: str, names: Mapping[int, tuple[str, ...]]
    ) -> None:
        self._kernel = kernel
        self._known = dict(sets.names(of))
        self._sets = sets
        self._pins = sets.pins
        self._names = names
        self._lock = threading.Lock()
        self._open: dict[int, AppFuture] = {}  # begun, and not known to be over
        self._given = threading.Event()  # what is known at once
        self._done = kernel.runtime.signal()
        self._persisted = Persisted(of)
        self._fresh: dict[str, None] = {}
        self._same: dict[str, None] = {}
        self._referred: list[str] = []  # that stand for what others have recorded

    @property
    def done(self) -> bool:
        """Whether all names are given, and written where they last."""
        return self._done.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all names are given, and written where they last.

        Returns:
            False if ``timeout`` seconds passed first.
        """
        return self._done.wait(timeout)

    def result(self, timeout: float | None = None) -> Persisted:
        """What was persisted; waits for it.

        Raises:
            TimeoutError: ``timeout`` seconds have passed.
        """
        if not self.wait(timeout):
            raise FuturesTimeoutError
        told = self._persisted
        told.named, told.unchanged = list(self._fresh), list(self._same)
        return told

    # -- for the plan ------------------------------------------------------------------------------

    def begin(
        self,
        restored: Iterable[tuple[AppFuture, Named]],
        begun: Iterable[AppFuture],
        missing: Mapping[int, str],
    ) -> None:
        """Say what has become of the calls; before those that are begun can end.

        Args:
            restored: futures whose records are there.
            begun: futures of calls that run.
            missing: why others have no outcome, by their numbers.
        """
        kernel = self._kernel
        there = list(restored)
        self._referred = [name for future, _ in there for name in self._names[future.tid]]
        for future in begun:
            self._open[future.tid] = future
        kernel.hear(self._open, self.settle)
        for future, _ in there:
            if type(hit := future._lazy) is Hit:
                future._lazy = _NamedHit(kernel, hit.spec, hit.arguments, hit.stored, self)
        for tid, why in missing.items():
            self._persisted.missing.update(dict.fromkeys(self._names[tid], why))
        kernel.at_end.append(self.finish)
        kernel.porter.carry(kernel.errands.run, lambda: self._begin(there))

    def settle(self, future: AppFuture) -> None:
        """A call is over: its outcome gets its names, if there is a record of it."""
        named = target_of(future)
        names = self._names[future.tid]
        if named is not None:
            self._give(dict.fromkeys(names, named))
        else:
            self._persisted.missing.update(dict.fromkeys(names, _why_not(future)))
        with self._lock:
            last = self._open.pop(future.tid, None) is not None and self._complete()
        if last:
            self._flush()

    def finish(self) -> None:
        """At the end of the run, when no task is under way any more: make up for what is left."""
        self._given.wait(FLUSH_SECONDS)
        for future in list(self._open.values()):
            self.settle(future)

    # -- inside ------------------------------------------------------------------------------------

    def _begin(self, restored: list[tuple[AppFuture, Named]]) -> None:
        try:
            for start in range(0, len(restored), _AT_ONCE):
                some = restored[start : start + _AT_ONCE]
                self._give(
                    {name: named for future, named in some for name in self._names[future.tid]}
                )
        finally:
            with self._lock:
                self._given.set()
                last = self._complete()
            if last:
                self._flush()

    def _complete(self) -> bool:
        return self._given.is_set() and not self._open

    def _give(self, targets: dict[str, Named]) -> None:
        """Write names, but for those that stand for the same record already."""
        told = self._persisted
        with self._lock:
            new = {}
            for name, named in targets.items():
                told.missing.pop(name, None)
                before = self._known.get(name)
                if before is None or before.record_id != named.record_id:
                    new[name] = named
                    self._fresh[name] = None
                elif name not in self._fresh:
                    self._same[name] = None
            entries = list(self._pins.entries(told.set, new, self._known))
            for (name, named), entry in zip(new.items(), entries, strict=True):
                record: Any = entry.record
                self._known[name] = named._replace(at=record.at, pin=entry.record_id)
                self._same.pop(name, None)
        for entry in entries:  # outside the lock: whoever commits may find himself settling others
            self._kernel.writer.commit(None, entry)

    def _flush(self) -> None:
        """Have all that was committed so far written where it lasts, whatever the mode."""
        kernel = self._kernel

        def flush() -> None:
            try:
                kernel.writer.flush(modes.CHECKPOINT).done.wait(FLUSH_SECONDS)
                if kernel.writer.failure is None:
                    self._look_again()
                else:  # held, and tried again
                    self._lack(list(self._fresh), "the checkpoint could not be written")
            finally:
                with contextlib.suppress(ValueError):  # damage was found, and named, once more
                    kernel.at_end.remove(self.finish)
                self._done.set()

        kernel.porter.carry(kernel.errands.run, flush)

    def _look_again(self) -> None:
        """Notice what was removed while it was being named: who removes looks at names before."""
        names = self._referred
        if not names:
            return
        for name, there in zip(
            names, self._sets.there(map(self._known.__getitem__, names)), strict=True
        ):
            if not there:
                self._lack([name], "what was recorded has been removed meanwhile")

    def _lack(self, names: Iterable[str], why: str) -> None:
        for name in names:
            self._persisted.missing[name] = why
            self._fresh.pop(name, None)
            self._same.pop(name, None)


class _NamedHit(Hit, gc=False, eq=False):
    """A hit with names: if its record turns out damaged, what is computed anew gets them."""

    persisting: Persisting

    def _run_again(self, task: Task, future: AppFuture) -> None:
        self.kernel.hear((future.tid,), self.persisting.settle)
        super()._run_again(task, future)


def persist(
    kernel: Kernel,
    sets: Sets,
    of: str,
    names: Mapping[int, tuple[str, ...]],
    drawn: Drawn,
    begun: Iterable[AppFuture],
) -> Persisting:
    """Have outcomes of a plan named, of which what is restored is restored, and nothing has begun.

    Args:
        kernel, sets, of, names: as for :class:`Persisting`.
        drawn: the plan.
        begun: the futures of the calls that are about to begin.
    """
    found = Persisting(kernel, sets, of, names)
    restored, missing = [], {}
    runs = {future.tid: future for future in begun if future.tid in names}
    for tid in names:
        target = target_of(drawn.futures[tid])
        if not kernel.memo.record:
            missing[tid] = "recording is switched off"
        elif target is not None:
            restored.append((drawn.futures[tid], target))
        elif tid not in runs:
            missing[tid] = "nobody needs it, so it was not computed"
    found.begin(restored, runs.values() if kernel.memo.record else (), missing)
    return found


def target_of(future: AppFuture) -> Named | None:
    """What a name for the outcome of a call stands for; None if it is not recorded."""
    if not future._record or future._value_key is None:
        return None
    return Named(future._value_key, future._key, future._record, 0, b"")


def _why_not(future: AppFuture) -> str:
    if future._exception is not None:
        return "the call failed"
    if getattr(future, "_unkept", None) is not None:
        return "the outcome was not worth keeping, or its app has persist=False"
    return "the outcome was not recorded"
