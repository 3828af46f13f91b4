"""A script run so that it dies by SIGKILL at one operation of its store: the far side of ``crash``.

Rule of this file: it runs in the process that dies.  What it has to tell is written with one
``write(2)`` to files opened for appending, which survives the death.

    python -m parsl_ckpt.testing.crashing script.py [arguments]
"""

from __future__ import annotations

import itertools
import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.local import LocalBackend, LocalWriter
from parsl_ckpt.checkpoint.segment import Entry
from parsl_ckpt.checkpoint.store import Store

FATAL = "PARSL_CKPT_CRASH_AT"  # number of the operation; 0 for none
FOLDER = "PARSL_CKPT_CRASH_DIR"  # where to tell what happened
OPERATIONS = "operations"  # one byte for each
ACKNOWLEDGED = "acknowledged"  # a line for each result: record id and key
CHANGES = (
    "make_directory", "create", "rename", "link", "remove", "remove_directory", "sync_file",
    "sync_directory",
)  # fmt: skip


def main() -> None:
    """Run the script that is named on the command line."""
    fatal, folder = int(os.environ.pop(FATAL)), os.environ.pop(FOLDER)
    _count_operations(fatal, _appender(folder, OPERATIONS))
    _tell_acknowledged(_appender(folder, ACKNOWLEDGED))
    del sys.argv[0]
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name="__main__")


def _appender(folder: str, name: str) -> Callable[[bytes], object]:
    file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda data: os.write(file, data)


def _count_operations(fatal: int, tell: Callable[[bytes], object]) -> None:
    """Have every operation that changes something counted, and the fatal one end the process."""
    numbers = itertools.count(1)
    own = os.getpid()  # a forked child is another process, with a store of its own

    def reached() -> bool:
        if os.getpid() != own:
            return False
        tell(b".")
        return next(numbers) == fatal

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if reached():
                os.kill(own, signal.SIGKILL)
            return method(*args, **options)

        return call

    write = LocalWriter.write

    def torn_write(writer: LocalWriter, data: Any) -> None:
        if reached():
            write(writer, memoryview(data).cast("B")[: len(data) // 2])
            os.kill(own, signal.SIGKILL)
        write(writer, data)

    LocalWriter.write = torn_write  # type: ignore[method-assign, assignment]
    for owner, names in ((LocalWriter, ("sync", "truncate")), (LocalBackend, CHANGES)):
        for name in names:
            setattr(owner, name, wrapped(getattr(owner, name)))


def _tell_acknowledged(tell: Callable[[bytes], object]) -> None:
    """Tell of every result that the store said it had written."""
    append, hold, publish = Store.append, Store.hold, Store.publish
    held: list[Entry] = []

    def tell_all(entries: Sequence[Entry]) -> None:
        lines = [
            f"{entry.record_id.hex()} {entry.record.key.hex()}\n"
            for entry in entries
            if isinstance(entry.record, Result)
        ]
        if lines:
            tell("".join(lines).encode())

    def telling_append(store: Store, entries: Sequence[Entry]) -> None:
        append(store, entries)
        tell_all(entries)

    def telling_hold(store: Store, entries: Sequence[Entry]) -> None:
        held.extend(entries)
        hold(store, entries)

    def telling_publish(store: Store) -> int:
        waiting = list(held)
        count = publish(store)
        tell_all(waiting)
        del held[: len(waiting)]
        return count

    Store.append = telling_append  # type: ignore[method-assign, assignment]
    Store.hold = telling_hold  # type: ignore[method-assign, assignment]
    Store.publish = telling_publish  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    main()
