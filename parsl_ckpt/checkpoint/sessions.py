"""What tasks commit in the middle of themselves: where it lies, whose turn it is, when it may go.

::

    RUN_DIR/sessions/ADDRESS/turns/1, 2, ...   made by exclusive creation: the highest has the turn
                            /...               what the room of restart sessions puts there

Guarantees: of any number of attempts at one address, in whichever processes, runs and hosts, the
last that began has the turn, and every other one finds out when it looks.  What belongs to an
address whose result is recorded goes; nothing goes while the result is not visible to others, or
while an attempt that began after it is at work.

Assumptions: exclusive creation and atomic rename, on one host or over a network file system.
Clocks of hosts differ by less than ``IDLE_SECONDS``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .rundir import get_all_checkpoints

if TYPE_CHECKING:
    from parsl_ckpt.identity.keys import KeySource

    from .store import Store

__all__ = ["IDLE_SECONDS", "NAME", "Sessions", "Turn", "collect", "place"]

NAME = "sessions"  # in the directory where runs are kept
IDLE_SECONDS = 3600.0
SLACK_SECONDS = 2.0  # the end of a task is told by two clocks, files by a third
_TURNS = "turns"
_DOOMED = ".gone-"
_TRIES = 16


def place(root: str, key: bytes) -> str:
    """The directory of an address."""
    return f"{root}/{key.hex()}"


class Turn:
    """One attempt's right to commit under an address.

    Args:
        directory: of the address; made, for its owner only, if it is missing.

    Attributes:
        number: 1 for the first attempt there ever was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     first = Turn(directory)
    ...     before = first.held
    ...     second = Turn(directory)
    ...     before, first.held, second.held, second.number
    (True, False, True, 2)
    """

    def __init__(self, directory: str) -> None:
        turns = f"{directory}/{_TURNS}"
        for attempt in range(_TRIES):
            try:
                self.number, self._identity = _take(directory, turns)
                break
            except FileNotFoundError:  # it has just been removed
                if attempt == _TRIES - 1:
                    raise
        self._own = f"{turns}/{self.number}"
        self._next = f"{turns}/{self.number + 1}"

    @property
    def held(self) -> bool:
        """Whether no later attempt has begun, and the result is not recorded meanwhile."""
        try:
            return not os.path.exists(self._next) and _identity(os.stat(self._own)) == (
                self._identity
            )
        except OSError:
            return False


def _take(directory: str, turns: str) -> tuple[int, tuple[int, int]]:
    _make_private(turns)
    number = max(map(_number, os.listdir(turns)), default=0)
    while True:
        number += 1
        try:
            made = os.open(f"{turns}/{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            continue
        try:
            return number, _identity(os.fstat(made))
        finally:
            os.close(made)


def _make_private(path: str) -> None:
    """Make a directory and those that it is in, for their owner only."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make_private(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What tells a file from one of the same name that was made after it."""
    return status.st_ino, status.st_mtime_ns


class Sessions:
    """The sessions of the tasks of one run, as the run sees to them.

    Args:
        root: where they are.
        store: knows what is recorded.
        busy: whether an address is being computed by this run.
        keeps: the run writes results for later ones; what it holds back is not recorded yet.
    """

    def __init__(
        self, root: str, store: Store, busy: Callable[[bytes], bool], keeps: bool = True
    ) -> None:
        self.root = root
        self._store = store
        self._busy = busy
        self._keeps = keeps

    def sweep(self) -> None:
        """Remove those whose results are recorded, and visible to others."""
        if not (self._keeps and self._store.held) and os.path.isdir(self.root):
            collect(self.root, self._recorded, self._busy)

    def drop(self, keys: Iterable[bytes]) -> None:
        """Remove those of some addresses: they are to be computed from the beginning."""
        for key in keys:
            _remove(self.root, key.hex())

    def _recorded(self, key: bytes) -> float | None:
        return recorded_at(self._store, key)


def recorded_at(store: Store, key: bytes) -> float | None:
    """When what is recorded under an address was known, kept or not; None if nothing is."""
    stored = store.find(key)
    if stored is not None:
        return stored.result.began + stored.result.seconds
    unkept = store.unkept(key)
    return None if unkept is None else unkept[1].began + unkept[1].seconds


def collect(
    root: str,
    recorded: Callable[[bytes], float | None],
    busy: Callable[[bytes], bool] = lambda key: False,
    *,
    older_than: float | None = None,
    now: Callable[[], float] = time.time,
    dry_run: bool = False,
) -> int:
    """Remove the sessions of addresses whose results are recorded.

    Args:
        root: where sessions are.
        recorded: when the result of an address was known; None if there is none.
        busy: whether an address is being computed here, again.
        older_than: also those that have not changed for so many seconds: of code that was edited,
            and of calls that nobody makes any more. (One that is open changes all the time.)
        now: the time, in seconds since the epoch.
        dry_run: only say what would be removed.

    Returns:
        How many bytes they had.
    """
    freed = 0
    for name in _names(root):
        if name.startswith(_DOOMED):  # somebody died over it
            shutil.rmtree(f"{root}/{name}", ignore_errors=True)
            continue
        try:
            key = bytes.fromhex(name)
        except ValueError:
            continue
        if busy(key):
            continue
        ended = recorded(key)
        if ended is None and older_than is None:
            continue
        newest, size = _look(f"{root}/{name}")
        idle = older_than is not None and now() - newest > older_than
        if idle or (ended is not None and may_go(ended, newest, now())):
            freed += size
            if not dry_run:
                _remove(root, name)
    with contextlib.suppress(OSError):
        os.rmdir(root)  # if it is empty now
    return freed


def collect_in(
    run_dir: str | os.PathLike[str],
    signing_key: KeySource | None = None,
    older_than: float | None = None,
) -> int:
    """Remove the sessions of a directory of runs whose results are recorded in one of them.

    Args:
        run_dir: where runs are kept; elsewhere than on this machine there are no sessions.
        signing_key: what records are signed with.
        older_than: as for :func:`collect`.

    Returns:
        How many bytes they had.
    """
    root = os.path.join(os.fspath(run_dir), NAME)
    if not os.path.isdir(root):
        return 0
    from .store import Store

    runs = get_all_checkpoints(run_dir)
    with Store.open(None, sources=runs, named=False, signing_key=signing_key) as store:
        return collect(root, lambda key: recorded_at(store, key), older_than=older_than)


def may_go(ended: float, newest: float, now: float) -> bool:
    """Whether a session belongs to a result, and not to an attempt that began after it.

    Args:
        ended: when the result was known.
        newest: when the session last changed.
        now: the time.

    >>> may_go(ended=100.0, newest=99.0, now=101.0), may_go(ended=100.0, newest=105.0, now=106.0)
    (True, False)
    >>> may_go(ended=100.0, newest=105.0, now=4000.0)
    True
    """
    return newest <= ended + SLACK_SECONDS or now - newest > IDLE_SECONDS


# --- files ----------------------------------------------------------------------------------------


def _look(directory: str) -> tuple[float, int]:
    """When something in a directory last changed, and how many bytes there are."""
    newest, size = 0.0, 0
    for path, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.stat(f"{path}/{name}")
                newest, size = max(newest, status.st_mtime), size + status.st_size
    return newest, size


def _remove(root: str, name: str) -> None:
    """Remove a session; whoever opens it meanwhile finds all of it or nothing."""
    doomed = f"{root}/{_DOOMED}{secrets.token_hex(8)}"
    try:
        os.rename(f"{root}/{name}", doomed)
    except OSError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _names(root: str) -> list[str]:
    try:
        return os.listdir(root)
    except OSError:
        return []


def _number(name: str) -> int:
    return int(name) if name.isascii() and name.isdigit() and len(name) < 16 else 0
