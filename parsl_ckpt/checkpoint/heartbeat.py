"""Signs of life: whether the process that owns a run, or looks after one, is still at it.

::

    start ─► file: who, where, since when ──► thread: written anew, again and again ─► stop: "ended"
                          │
    anyone: is_alive ◄────┘   on this machine: does the process exist?  elsewhere: is it recent?

Guarantees: no lock is taken.  A process that is alive on this machine is never taken for dead,
however long it was stopped; one elsewhere only if its beat is older than ``FOREIGN_SECONDS``.  A
heart that cannot beat (a full disk, a directory removed) disturbs nobody.

Assumptions: clocks of hosts that share a directory differ by less than ``FOREIGN_SECONDS``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from .backend import Backend, Writable
from .local import LocalBackend

NAME = "heartbeat.json"  # in the directory of a run
PERIOD = 5.0
REMOTE_PERIOD = 30.0  # where each beat is a request
FOREIGN_SECONDS = 600.0
_LARGEST = 1 << 20

Beat = dict[str, Any]


class Heartbeat:
    """Keeps a file that says that this process is alive.

    Args:
        directory: the directory of the run.
        used: the checkpoint directories that the run reads.
        backend: where the directory is.
        period: seconds between two beats.
        name: of the file.
        each: called after each beat, in the thread that beats.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     heart = Heartbeat(directory)
    ...     heart.start()
    ...     alive = is_alive(read(LocalBackend(), f"{directory}/{NAME}"))
    ...     heart.stop()
    ...     alive, is_alive(read(LocalBackend(), f"{directory}/{NAME}"))
    (True, False)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        used: Sequence[str] = (),
        backend: Backend | None = None,
        period: float = PERIOD,
        name: str = NAME,
        each: Callable[[], None] | None = None,
    ) -> None:
        self._backend = backend or LocalBackend()
        self._directory = self._backend.absolute(os.fspath(directory))
        self.path = f"{self._directory}/{name}"
        self._facts = {**identify(), "began": time.time(), "used": list(used)}
        self._period = period
        self._each = each
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Beat once, and go on in a thread."""
        self._beat({})
        self._thread = threading.Thread(target=self._go_on, name="parsl_ckpt-heart", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: the process can still be seen
            self._thread.start()

    def use(self, directory: str) -> None:
        """Say with the next beat that the run reads one more checkpoint."""
        self._facts["used"] = [*self._facts["used"], directory]

    def stop(self, **facts: Any) -> None:
        """Stop, and write that the end was an orderly one.

        Args:
            facts: what is to be known of the end.
        """
        if self._facts["pid"] != os.getpid():
            return  # a forked child: the run is its parent's
        self._stopped.set()
        thread = self._thread
        if thread not in (None, threading.current_thread()) and thread.ident is not None:
            thread.join(60.0)
        self.end({**facts, "ended": time.time()})

    def end(self, facts: Beat) -> None:
        """Write what is known of a run that has ended."""
        self._beat(facts)

    def _go_on(self) -> None:
        while not self._stopped.wait(self._period):
            self._beat({})
            if self._each is not None:
                with contextlib.suppress(Exception):
                    self._each()

    def _beat(self, facts: Beat) -> None:
        data = json.dumps({**self._facts, "beat": time.time(), **facts}, default=str).encode()

        def fill(file: Writable) -> None:
            file.write(data)

        temporary = f"{self._directory}/.tmp-{secrets.token_hex(12)}"
        with contextlib.suppress(OSError):
            self._backend.write_whole(self.path, temporary, fill, durable=False)


def identify() -> Beat:
    """What tells this process from every other: host, boot, namespace, number, start."""
    return {
        "pid": os.getpid(), "host": _host(), "boot": _boot(), "space": _space(),
        "start": _started(os.getpid()),
    }  # fmt: skip


def read(backend: Backend, path: str) -> Beat | None:
    """What a heartbeat says; None if there is none, or none that can be read."""
    try:
        file = backend.open(path)
    except OSError:
        return None
    try:
        found = json.loads(file.read(0, _LARGEST))
    except (OSError, ValueError, RecursionError):
        return None
    finally:
        file.close()
    return found if isinstance(found, dict) else None


def is_alive(beat: Beat | None) -> bool:
    """Whether the process that wrote a heartbeat is still at it."""
    if beat is None or "ended" in beat:
        return False
    pid = beat.get("pid")
    if isinstance(pid, int) and is_here(beat):
        exists = _exists(pid)
        start = beat.get("start")
        if exists and start is not None:
            return bool(_started(pid) == start)
        if not exists or _boot() is not None:
            return exists
    last = beat.get("beat")
    return isinstance(last, (int, float)) and time.time() - last < FOREIGN_SECONDS


def is_here(beat: Beat) -> bool:
    """Whether the process of a heartbeat is, or was, where it can be asked for by its number."""
    here = {"host": _host(), "boot": _boot(), "space": _space()}
    return all(beat.get(name) == value for name, value in here.items())


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # someone else's
    return True


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot: numbers of processes are used again."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[:1] == [b"Z"]:
        return None  # dead, and not yet asked for
    return fields[19].decode() if len(fields) > 19 else None


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


@functools.lru_cache(None)
def _boot() -> str | None:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _space() -> str | None:
    """Containers of one host may number their processes apart."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
