"""Carrying results over from Parsl's checkpoints; ``returning.py`` is the way back.

::

    runinfo/*/checkpoint/tasks.pkl ─► told apart ─► a run of ours, under Parsl's keys ◄─ a miss asks

What is carried over is a run like any other, which every command knows: its results have keys made
from Parsl's, and as values Parsl's own records, byte for byte.  They are unpickled when a call asks
for one, in the program that asks, and then filed under the key that the call has here.

Rule of this file: taking over unpickles nothing, and asks for the trust that loading asks for: what
is taken over is ours, and trusted, from then on.  A run appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from blake3 import blake3

from parsl_ckpt.errors import (
    ArchiveError,
    ParslCkptError,
    StoreWriteError,
    UnreadableRecordError,
)
from parsl_ckpt.identity.keys import KeySource

from . import codec as codecs
from . import format as fmt
from . import heartbeat, inventory, rundir
from .archive import STAGING
from .backend import Backend, Owner
from .codec import Encoded
from .exclusive import alone
from .parsl_file import ParslFile
from .reading import Stored
from .store import Store
from .trust import Trust, foreign, refuse
from .where import changing

PARSL = "(parsl)"
"""Stands for the app of a result of which only Parsl's key is known."""
EVENT = "carried"
NOTE = "parsl"
"""The note that keeps Parsl's key of a call beside its record: protocol (1 byte), key (16)."""

TASKS = "tasks.pkl"
_MARK = blake3(b"parsl_ckpt carried over from parsl").digest(16)
_PROTOCOLS = range(2, 6)
_BATCH = 512

Progress = Callable[[int], None]


def foreign_key(key: bytes) -> bytes:
    """The key under which a result with this key of Parsl's stands here."""
    return blake3(b"parsl_ckpt key of parsl\0" + key).digest()


def carried_protocols(store: Store) -> tuple[int, ...]:
    """Protocols of the pickles behind the keys of what was carried over; empty if nothing was."""
    marks = {
        int(record.name)
        for record in store.lookup(_MARK)
        if type(record) is fmt.Note and record.record_id == _MARK and record.name.isdigit()
    }
    return tuple(sorted(marks))


def carried_value(store: Store, stored: Stored, key: bytes) -> Any:
    """The value in a record of Parsl's.

    Args:
        store: where it was found.
        stored: the record.
        key: Parsl's key.

    Raises:
        UnreadableRecordError, FormatError: it cannot be unpickled here, or is another one.
    """
    data = store.value(stored)
    if type(data) is not dict or data.get("hash") != key.hex() or "result" not in data:
        raise UnreadableRecordError(
            "A record that was carried over from Parsl is none of Parsl's.",
            hint="The call is computed.",
            path=stored.directory,
        )
    return data["result"]


# --- in -------------------------------------------------------------------------------------------


@dataclass
class CarriedFile:
    """One ``tasks.pkl`` that was taken over.

    Attributes:
        path: where it was.
        digest: of its content.
        records: results in it.
        damaged: stretches of it that held no whole record.
        failures: recorded exceptions, which are left out.
    """

    path: str
    digest: str
    records: int = 0
    damaged: int = 0
    failures: int = 0


@dataclass
class Carried:
    """What was taken over.

    Attributes:
        run: the run that it is in here; None if there was nothing new.
        files: those that were taken over.
        skipped: those that were taken over before: to the runs that they are in.
    """

    run: str | None = None
    files: list[CarriedFile] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """Results that were taken over."""
        return sum(file.records for file in self.files)


def import_parsl(
    run_dir: str | os.PathLike[str],
    sources: Sequence[str | os.PathLike[str]],
    *,
    trust: Trust = "owner",
    signing_key: KeySource | None = None,
    progress: Progress | None = None,
) -> Carried:
    """Take the results of Parsl's checkpoints into a new run, under Parsl's keys.

    What is damaged is left out, and so is what was taken over before.  Nothing is unpickled.

    Args:
        run_dir: the run directory, made if it is missing; it may be Parsl's.
        sources: directories of runs (``runinfo``), of one run, of one checkpoint, or files.
        trust: ``"owner"`` takes only files that nobody else can write to; ``"any"`` all.
        signing_key: what is taken over is signed with it.
        progress: called with the number of bytes done since the last call.

    Raises:
        ArchiveError: there is no checkpoint of Parsl's.
        UntrustedCheckpointError: others own one, or can write to it.
        RemoteStoreError: ``run_dir`` is a URL.
        StoreBusyError: somebody else looks after the run directory at this moment.
        StoreWriteError: it could not be written; nothing is taken over.
    """
    backend = changing(run_dir, "Importing")
    base = backend.absolute(os.fspath(run_dir))
    paths = [path for source in sources for path in find_parsl(source)]
    try:
        backend.make_directory(base)
        with alone(backend, base):
            return _import(backend, base, paths, trust, signing_key, progress)
    except OSError as error:
        if isinstance(error, ParslCkptError):
            raise
        raise StoreWriteError(
            f"Parsl's results could not be taken into {base}: {error}.",
            hint="Make room, or name another run directory.",
            path=base,
        ) from error


def _import(
    backend: Backend,
    base: str,
    paths: Sequence[str],
    trust: Trust,
    signing_key: KeySource | None,
    progress: Progress | None,
) -> Carried:
    done = Carried()
    known = _known(backend, base)
    staging = f"{base}/{STAGING}{secrets.token_hex(8)}"
    try:
        for path in dict.fromkeys(paths):
            with _opened(path, trust) as file:
                digest = _digest(file)
                if digest in known:
                    done.skipped[path] = known[digest]
                    continue
                known[digest] = path
                backend.make_directory(staging)
                carried = CarriedFile(path, digest)
                _take(f"{staging}/{rundir.CHECKPOINT}", file, carried, signing_key, progress)
                done.files.append(carried)
        if done.records:
            done.run = _settle(backend, base, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return done


def find_parsl(source: str | os.PathLike[str]) -> list[str]:
    """Parsl's checkpoint files at a place, oldest run first.

    Args:
        source: a directory of runs, of one run, of one checkpoint, or a file.

    Raises:
        ArchiveError: there are none.
    """
    place = os.path.abspath(os.fspath(source))
    if os.path.isfile(place):
        return [place]
    for path in (f"{place}/{TASKS}", f"{place}/{rundir.CHECKPOINT}/{TASKS}"):
        if os.path.lexists(path):
            return [path]
    with contextlib.suppress(OSError):
        runs = sorted(filter(rundir.is_run, os.listdir(place)), key=rundir.order_of)
        paths = [f"{place}/{run}/{rundir.CHECKPOINT}/{TASKS}" for run in runs]
        found = [path for path in paths if os.path.lexists(path)]
        if found:
            return found
    raise ArchiveError(
        f"There is no checkpoint of Parsl's at {os.fspath(source)}.",
        hint=f"Name Parsl's run directory, such as runinfo, or a {TASKS} in it.",
        path=place,
    )


@contextlib.contextmanager
def _opened(path: str, trust: Trust) -> Iterator[IO[bytes]]:
    """A file of Parsl's, if nobody else could have written it."""
    directory = os.path.dirname(path)
    if trust != "any":
        found = os.stat(directory)
        reason = foreign(Owner(found.st_uid, stat.S_IMODE(found.st_mode)))
        if reason is not None:
            raise refuse(directory, reason)
    # Never a link or a pipe: where they lead is somebody's choice.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    with open(os.open(path, flags), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ArchiveError(f"{path} is no file.", hint=f"Name a {TASKS}.", path=path)
        reason = foreign(Owner(found.st_uid, stat.S_IMODE(found.st_mode)))
        if reason is not None and trust != "any":
            raise refuse(path, reason)
        yield file


def _digest(file: IO[bytes]) -> str:
    hasher = blake3(max_threads=blake3.AUTO)
    while data := file.read(4 << 20):
        hasher.update(data)
    file.seek(0)
    return hasher.hexdigest()


def _take(
    directory: str,
    file: IO[bytes],
    carried: CarriedFile,
    signing_key: KeySource | None,
    progress: Progress | None,
) -> None:
    """Append the records of a file to the checkpoint of the run that is being made."""
    written = os.fstat(file.fileno()).st_mtime  # of each record no more is known
    records, told = ParslFile(file), 0
    protocols: set[int] = set()
    with Store.open(directory, trust="any", signing_key=signing_key, compression="auto") as store:
        batch = []
        for key, protocol, data in records:
            protocols.add(protocol)
            batch.append(
                store.stage(
                    Encoded(codecs.PICKLE, data), key=foreign_key(key), app=PARSL, began=written
                )
            )
            carried.records += 1
            if len(batch) >= _BATCH or len(data) > _BATCH << 8:
                store.append(batch)
                batch = []
            if progress is not None and records.read != told:
                progress(records.read - told)
                told = records.read
        carried.damaged, carried.failures = records.damaged, records.failures
        marks = [store.stage_note(_MARK, str(protocol), b"") for protocol in sorted(protocols)]
        event = store.stage_run(EVENT, {"from": "parsl", "files": [vars(carried)]})
        store.append([*batch, *marks, event])


def _known(backend: Backend, base: str) -> dict[str, str]:
    """Digests of the files that were taken over before: to the runs that they are in."""
    places = inventory.find(backend, base)
    names = {place.directory: place.name for place in places}
    found = {}
    sources = [place.directory for place in places if os.path.isdir(place.directory)]
    with Store.open(None, sources=sources, named=False) as store:
        for directory, run in store.runs():
            if run.event == EVENT:
                for file in run.data.get("files", ()):
                    found[str(file.get("digest"))] = names.get(directory, directory)
    return found


def _settle(backend: Backend, base: str, staging: str) -> str:
    """Let the run appear, under a number that is free."""
    run = rundir.claim(base)
    heart = heartbeat.Heartbeat(run, backend=backend)
    # Nobody's process, so that it is not taken for one that lives here.
    heart.end({"began": None, "pid": None, "beat": 0, "used": [], "ended": time.time()})
    backend.rename(f"{staging}/{rundir.CHECKPOINT}", f"{run}/{rundir.CHECKPOINT}")
    with contextlib.suppress(OSError):
        backend.sync_directory(run)
        backend.sync_directory(base)
    return os.path.basename(run)
