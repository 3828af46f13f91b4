"""Following live runs: what they have appended since is found by the look-up that misses next.

::

    miss ─► look ─┬─ run directory changed? ──► list it: runs that have begun
                  └─ for each live run ─┬─ its directory changed? ──► list it: new segments
                                        └─ open segment longer? ────► read its tail

Guarantees: a record that was appended before :meth:`Follower.look` was called can be found after
it, on a local file system; on one that caches attributes, as soon as that shows them.  No lock of
the operating system is taken, nothing is written, and a directory that goes away is let go of
without a word.  Where nothing has changed a look costs one ``stat`` of the run directory, and one
of the directory and of each open segment of each live run.

Assumptions: a directory's time of change differs after a name came or went, once the clock of its
file system has gone on; until then (see :class:`Watch`) it is listed at every look.  Whoever takes
in a directory for the first time trusts it as if it had been there at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import heartbeat
from .backend import Backend
from .growing import extend, look_into, tails
from .rundir import CHECKPOINT, is_run
from .trust import Trust, distrusted

if TYPE_CHECKING:
    from .catalog import Catalog
    from .tail import Tail

TICK = 0.1  # seconds after which a clock that counts fractions of a second has gone on for certain
COARSE_TICK = 2.5  # and one that counts whole seconds, or even ones
CENSUS_SECONDS = 5.0  # between two looks at who is still alive


class Watch:
    """Whether a directory has to be listed again.

    A listing is trusted for as long as the directory's time of change stays the same, but only if
    it was made so long after that time was first seen that no later change can have the same one.
    Nobody's clock is compared with anybody else's for this.
    """

    __slots__ = ("_mark", "_since", "settled")

    def __init__(self) -> None:
        self.settled: int | None = None  # the time of change of which the last listing is trusted
        self._mark: int | None = None
        self._since = 0.0

    def due(self, mark: int, now: float) -> bool:
        """Whether to list a directory.

        Args:
            mark: its time of change, 0 if that is not known.
            now: the time after ``mark`` was read.
        """
        if mark == self.settled:
            return False
        if mark != self._mark:
            self._mark, self._since, self.settled = mark, now, None
        elif mark and now - self._since > (TICK if mark % 1_000_000_000 else COARSE_TICK):
            self.settled = mark
        return True


class Followed:
    """A run that is followed.

    Attributes:
        directory: its checkpoint, which may not have been made yet.
        run: the directory of the run, with its heartbeat.
        seen: the checkpoint was there, and is read.
        since: when it was first known of.
        tails: its segments that may still grow.
    """

    __slots__ = ("directory", "run", "seen", "since", "tails", "watch")

    def __init__(self, directory: str, since: float, seen: bool) -> None:
        self.directory = directory
        self.run = directory.rpartition("/")[0]
        self.seen = seen
        self.since = since
        self.tails: list[Tail] = []
        self.watch = Watch()


class Follower:
    """Follows other runs for one catalog.

    Args:
        catalog: takes in what they append.
        backend: where they are.
        directories: checkpoints that are read already.
        root: where runs are kept, if those that begin later are followed too.
        own: the checkpoint of this run, which is not followed.
        trust: as for :meth:`Store.open`.
        now: a clock that never goes backwards.
        joined: called with the checkpoint of a run that began later, when it is first read.
    """

    def __init__(
        self,
        catalog: Catalog,
        backend: Backend,
        directories: Iterable[str],
        *,
        root: str | None = None,
        own: str | None = None,
        trust: Trust = "owner",
        now: Callable[[], float] = time.monotonic,
        joined: Callable[[str], None] | None = None,
    ) -> None:
        self._catalog = catalog
        self._backend = backend
        self._root = root
        self._trust: Trust = trust
        self._now = now
        self._joined = joined
        self._watch = Watch()
        self._known = {own}
        self._runs: list[Followed] = []
        self._census_due = 0.0
        for directory in directories:
            self._known.add(directory)
            self._runs.append(Followed(directory, now(), seen=True))

    @property
    def following(self) -> list[str]:
        """The checkpoints of the runs that are followed, whether they have been made yet or not."""
        return [one.directory for one in self._runs]

    def look(self) -> bool:
        """See what was appended by now; whether there is anything new.

        One thread at a time does: who comes next needs to know what there is by then.
        """
        changed = self._backend.changed
        with self._catalog.lock:
            now = self._now()
            if self._root is not None:
                mark = changed(self._root)
                if mark != self._watch.settled and mark is not None:
                    self._look_for_runs(self._root, mark)
            new = False
            for one in self._runs:
                mark = changed(one.directory)
                if mark != one.watch.settled:
                    new = self._look_into(one, mark) or new
                if one.tails:
                    new = self._read_on(one) or new
            if now >= self._census_due:
                self._census_due = now + CENSUS_SECONDS
                new = self._census() or new
            return new

    def _look_for_runs(self, root: str, mark: int) -> None:
        if not self._watch.due(mark, self._now()):
            return
        try:
            names = self._backend.list(root)
        except OSError:
            return
        for name in names:
            directory = f"{root}/{name}/{CHECKPOINT}"
            if is_run(name) and directory not in self._known:
                self._known.add(directory)
                self._runs = [*self._runs, Followed(directory, self._now(), seen=False)]

    def _look_into(self, one: Followed, mark: int | None, again: bool = False) -> bool:
        """See which segments a run has; ``again``: though its directory has not changed."""
        catalog = self._catalog
        if mark is None:
            if one.seen and one in self._runs:  # pruned, or moved away
                self._drop(one)
                look_into(catalog, one.directory)
            return False
        if not one.seen and not self._take_in(one):
            return False
        if not (one.watch.due(mark, self._now()) or again):
            return False
        new = look_into(catalog, one.directory)
        one.tails = tails(catalog, one.directory)
        return new

    def _read_on(self, one: Followed) -> bool:
        """See what was appended to the segments of a run."""
        new = False
        for tail in one.tails:
            size = self._backend.size_of(tail.path)
            # What is longer than its last whole frame may have become one meanwhile.
            if size is not None and size > tail.end and extend(self._catalog, tail, size):
                new = True
                if tail.over:
                    one.tails = [other for other in one.tails if other is not tail]
        return new

    def _drop(self, one: Followed) -> None:
        self._runs = [other for other in self._runs if other is not one]

    def _take_in(self, one: Followed) -> bool:
        """Begin to read the checkpoint of a run, if it is to be trusted."""
        try:
            reason = distrusted(self._backend, one.directory, self._trust)
        except OSError:
            return False  # gone this moment
        if reason is not None:
            self._drop(one)
            text = f"The checkpoint {one.directory} is left out: it {reason}."
            self._catalog.report("untrusted", one.directory, text)
        else:
            one.seen = True
        if self._joined is not None:
            self._joined(one.directory)
        return one.seen

    def _census(self) -> bool:
        """Look a last time at the runs that are over, and no longer after that."""
        new = False
        for one in self._runs:
            if self._over(one):
                new = self._look_into(one, self._backend.changed(one.directory), True) or new
                new = self._read_on(one) or new
                self._drop(one)
        return new

    def _over(self, one: Followed) -> bool:
        """Whether nothing will be appended any more; what was, can be seen by now."""
        beat = heartbeat.read(self._backend, f"{one.run}/{heartbeat.NAME}")
        if beat is not None:
            return not heartbeat.is_alive(beat)
        if self._backend.changed(one.run) is None:
            return True
        # Just begun, or not begun by a kernel: followed for as long as that may be told of it.
        changed = self._backend.changed(one.directory)
        if changed and time.time() - changed / 1e9 < heartbeat.FOREIGN_SECONDS:
            return False
        return bool(changed) or self._now() - one.since > heartbeat.FOREIGN_SECONDS
