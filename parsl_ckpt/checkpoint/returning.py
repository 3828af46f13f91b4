"""Results written as a checkpoint of Parsl's: the way back from ``carrying.py``.

::

    a run: values, and notes of Parsl's keys; records that were carried over ─► DIR/tasks.pkl

Rule of this file: what came from Parsl goes back byte for byte.  A value that is pickled here is
wrapped, not loaded; only others are decoded.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsl_ckpt.errors import ArchiveError, FormatError, ParslCkptError, StoreWriteError
from parsl_ckpt.identity.keys import KeySource
from parsl_ckpt.identity.parsl_forms import forms_of
from parsl_ckpt.identity.parsl_key import PROTOCOL, ParslApp

from . import codec as codecs
from . import format as fmt
from . import inventory
from .carrying import NOTE, PARSL, TASKS, Progress, foreign_key
from .parsl_file import START, walk
from .reading import Stored
from .store import Store
from .trust import Trust
from .where import reading

App = tuple[Callable[..., Any], Sequence[str], bool]
"""The user's function; names of the parameters that do not count; whether it is a bash app."""

_SHOWN = 5  # reasons that are told one by one


@dataclass
class Exported:
    """What was written for Parsl.

    Attributes:
        path: the file.
        records: results in it.
        unknown: results of which Parsl's key is not known.
        unwritten: results whose values cannot be written here: app, and why; the first of them.
        failed: how many those are.
    """

    path: str
    records: int = 0
    unknown: int = 0
    failed: int = 0
    unwritten: list[tuple[str, str]] = field(default_factory=list)


def export_parsl(
    run_dir: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    only: Sequence[str] | None = None,
    apps: Mapping[str, App] | None = None,
    trust: Trust = "owner",
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write results as a checkpoint of Parsl's: those of which Parsl's keys are known.

    These are the results of runs with ``BasicMemoizer(parsl_keys=True)``, those that were carried
    over from Parsl, and those of ``apps`` whose arguments are short enough to stand in the record:
    for these, every way to write the call is worked out.  Values that are not pickled here are
    decoded, which may import modules.

    Args:
        run_dir: the run directory, or a single checkpoint.
        target: the directory that is to hold ``tasks.pkl``; what is given to Parsl as one of its
            ``checkpoint_files``.
        only: names of runs; all by default.
        apps: apps by name.
        trust, signing_key: as for :meth:`Store.open`.
        progress: called with the number of bytes written since the last call.

    Raises:
        CheckpointNotFoundError: there is no such run directory, or no such run.
        ArchiveError: the file is there already.
        StoreWriteError: it could not be written.
    """
    path = os.path.join(os.fspath(target), TASKS)
    backend = reading(run_dir)
    places = inventory.find(backend, run_dir, only)
    sources = [place.directory for place in places if inventory.listing(backend, place.directory)]
    if os.path.lexists(path):
        raise ArchiveError(
            f"{path} is there already.", hint="Name another directory, or remove it.", path=path
        )
    done = Exported(path)
    temporary = f"{path}.part-{os.getpid()}"
    try:
        os.makedirs(os.fspath(target), exist_ok=True)
        with (
            Store.open(
                None,
                sources=sources,
                named=False,
                trust=trust,
                signing_key=signing_key,
                backend=backend,
            ) as store,  # fmt: skip
            open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
        ):
            for data in _exported(store, done, apps or {}):
                file.write(data)
                if progress is not None:
                    progress(len(data))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, ParslCkptError):
            raise
        raise StoreWriteError(
            f"{path} could not be written: {error}.", hint="Name another place.", path=path
        ) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
    return done


def _exported(store: Store, done: Exported, apps: Mapping[str, App]) -> Iterator[bytes]:
    """The records for Parsl, from the oldest on: of several for one key Parsl takes the last."""
    noted = {
        record.record_id: record.leaf
        for _, _, record in store.records()
        if type(record) is fmt.Note and record.name == NOTE and len(record.leaf) == 17
    }
    for directory, record_id, record in store.records():
        if type(record) is not fmt.Result or record_id in store.catalog.removed:
            continue
        stored = Stored(record, record_id, record.parents, directory)
        note = noted.get(record_id)
        keys = [note] if note is not None else _keys(record, apps)
        if not keys and record.app != PARSL:
            done.unknown += 1
            continue
        try:
            if keys:
                yield b"".join([_dumped(store, stored, key) for key in keys])
            else:
                yield _as_it_was(store, stored)
            done.records += 1
        except Exception as error:  # of the user's classes
            done.failed += 1
            if len(done.unwritten) < _SHOWN:
                done.unwritten.append((record.app, f"{type(error).__name__}: {error}"))


def _keys(record: fmt.Result, apps: Mapping[str, App]) -> list[bytes]:
    """Protocol and Parsl's key for each way in which a recorded call may have been written."""
    app = apps.get(record.app)
    known = ParslApp.of(*app) if app is not None else None
    if app is None or known is None:
        return []
    forms = forms_of(app[0], record.names, record.leaves, app[1])
    keys = dict.fromkeys(known.key(args, kwargs) for args, kwargs in forms)
    return [bytes([PROTOCOL]) + key for key in keys if key is not None]


def _as_it_was(store: Store, stored: Stored) -> bytes:
    """A record that was carried over, as Parsl wrote it."""
    _, data, _ = store.encoded(stored)
    head = START.match(data)
    if head is None or foreign_key(bytes.fromhex(head["hash"].decode())) != stored.result.key:
        raise FormatError("This is no record of Parsl's.")
    return data


def _dumped(store: Store, stored: Stored, note: bytes) -> bytes:
    """A result as Parsl writes it."""
    key = note[1:].hex()
    codec, data, buffers = store.encoded(stored)
    if codec != codecs.PLAIN and not buffers and data[:1] == b"\x80":
        return _wrapped(data, key)  # classes of the script cannot be found here, and need not be
    value = codecs.decode(codec, data, buffers, store.pickle)
    return pickle.dumps({"hash": key, "exception": None, "result": value}, note[0])


def _wrapped(data: bytes, key: str) -> bytes:
    """The pickle of a record, around the pickle of a value, whose references stay as they are.

    Opcodes: mark, "result", those of the value, "hash", key, "exception", None, dict, stop.
    """
    end, frame = walk(data)
    value = bytearray(data[: end - 1])
    if frame:
        size = int.from_bytes(data[frame - 8 : frame], "little")
        if frame + size == end:  # the stop, its last byte, is taken off
            value[frame - 8 : frame] = (size - 1).to_bytes(8, "little")
    tail = b"\x8c\x04hash\x8c\x20" + key.encode() + b"\x8c\x09exceptionNd."
    return data[:2] + b"(\x8c\x06result" + bytes(value[2:]) + tail
