"""Runs in one file, to be moved to another machine: a tar archive, written and read as a stream.

::

    parsl-ckpt-archive.json                     what is in it; comes first
    000/heartbeat.json                          how the run ended
    000/checkpoint/000000-<32 hex digits>.seg
    000/checkpoint/blobs/ab/<64 hex digits>

Rule of this file: an archive is believed in nothing.  Only regular files with names of exactly
these forms are taken out of it, into a hidden directory; every checksum is verified; and only then
do its runs appear, under numbers that are free here.  Indexes are not carried: they are made anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from blake3 import blake3

from parsl_ckpt.errors import ArchiveError, StoreWriteError

from . import heartbeat, inventory, repair, rundir, verify
from .backend import Backend, Readable
from .inventory import Place
from .local import LocalBackend
from .segment import parse_name

Progress = Callable[[int], None]
MANIFEST = "parsl-ckpt-archive.json"
VERSION = 1
STAGING = ".import-"
_SMALL = 1 << 20  # the most that is read of a file that is no segment and no blob
_CHUNK = 4 << 20
_MEMBER = re.compile(
    r"(?P<run>\d{1,15}(?:-[0-9a-f]{6})?)/(?:"
    r"(?P<heart>heartbeat\.json)|"
    r"checkpoint/(?:(?P<segment>\d{6,12}-[0-9a-f]{32}\.seg)|"
    r"blobs/(?P<part>[0-9a-f]{2})/(?P<blob>[0-9a-f]{64})))",
    re.ASCII,
)


@dataclass
class Moved:
    """What went into an archive, or came out of it.

    Attributes:
        runs: the runs; for an import, their names in the archive to their names here.
        skipped: runs of an archive that are here already: to the names that they have here.
        files, size: how much it was.
        dropped: damaged records that were left out, where that was allowed.
    """

    runs: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    files: int = 0
    size: int = 0
    dropped: int = 0


# --- out ------------------------------------------------------------------------------------------


def export_runs(
    backend: Backend,
    places: Sequence[Place],
    target: IO[bytes],
    progress: Progress | None = None,
) -> Moved:
    """Write runs to an archive.

    A run that lives goes in with what it has recorded so far.

    Args:
        backend: where the runs are.
        places: which.
        target: a file open for writing; it is not closed, and need not be seekable.
        progress: called with the number of bytes done since the last call.
    """
    moved = Moved()
    manifest = {
        "format": VERSION, "runs": [place.name for place in places], "made": time.time(),
        "host": heartbeat.identify()["host"],
    }  # fmt: skip
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add_bytes(archive, MANIFEST, json.dumps(manifest, indent=1).encode())
        for number, place in enumerate(places):
            name = place.name if place.run is not None else f"{number:03d}"
            moved.runs[place.name] = name
            _export_run(archive, backend, place, name, moved, progress or (lambda _: None))
    return moved


def _export_run(
    archive: tarfile.TarFile,
    backend: Backend,
    place: Place,
    name: str,
    moved: Moved,
    progress: Progress,
) -> None:
    beat = dict(place.beat or {})
    if place.state == "ended":
        beat.setdefault("ended", None)  # that it did is known, if not when
    _add_bytes(archive, f"{name}/{heartbeat.NAME}", json.dumps(beat).encode())
    # How far segments reach is fixed before blobs are listed, so that what they name is there.
    found: list[tuple[str, Readable, int]] = []
    for file in sorted(inventory.listing(backend, place.directory)):
        if parse_name(file) is not None:
            reader = backend.open(f"{place.directory}/{file}")
            found.append((f"{name}/checkpoint/{file}", reader, reader.size()))
    for member, reader, size in found:
        _add(archive, member, reader, size, moved, progress)
    for path, listed in inventory.blobs(backend, place.directory):
        digest = inventory.blob_digest(path)
        if digest is not None:
            member = f"{name}/checkpoint/blobs/{digest.hex()[:2]}/{digest.hex()}"
            _add(archive, member, backend.open(path), listed.size, moved, progress)


def _add(
    archive: tarfile.TarFile,
    member: str,
    reader: Readable,
    size: int,
    moved: Moved,
    progress: Progress,
) -> None:
    info = tarfile.TarInfo(member)
    info.size, info.mode = size, 0o600
    source: Any = _Sequential(reader, progress)
    try:
        archive.addfile(info, source)
    finally:
        reader.close()
    moved.files += 1
    moved.size += size


def _add_bytes(archive: tarfile.TarFile, member: str, data: bytes) -> None:
    import io

    info = tarfile.TarInfo(member)
    info.size, info.mode = len(data), 0o600
    archive.addfile(info, io.BytesIO(data))


class _Sequential:
    """A file as tarfile reads it: from the beginning to the end."""

    def __init__(self, reader: Readable, progress: Progress) -> None:
        self._reader = reader
        self._progress = progress
        self._at = 0

    def read(self, length: int) -> bytes:
        data = self._reader.read(self._at, length)
        self._at += len(data)
        self._progress(len(data))
        return data


# --- in -------------------------------------------------------------------------------------------


def import_runs(
    root: str | os.PathLike[str],
    source: IO[bytes],
    *,
    salvage: bool = False,
    progress: Progress | None = None,
    signer: object = None,
) -> Moved:
    """Take the runs of an archive into a run directory.

    Args:
        root: the run directory, made if it is missing.
        source: the archive, open for reading; it need not be seekable.
        salvage: take what is whole of an archive with damaged records in it.
        progress: called with the number of bytes done since the last call.
        signer: verifies signed records.

    Raises:
        ArchiveError: it is no archive, or is damaged; nothing of it is taken.
        StoreWriteError: it could not be written; nothing of it is taken.
    """
    base = os.path.abspath(os.fspath(root))
    backend = LocalBackend()
    moved = Moved()
    staging = f"{base}/{STAGING}{secrets.token_hex(8)}"
    try:
        backend.make_directory(staging)
        names = _unpack(backend, staging, source, moved, progress or (lambda _: None))
        _check(backend, staging, names, salvage, moved, signer)
        _settle(backend, base, staging, names, moved)
    except OSError as error:
        if isinstance(error, ArchiveError):
            raise
        raise StoreWriteError(
            f"The archive could not be taken into {base}: {error}.",
            hint="Make room, or name another run directory.",
            path=base,
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return moved


def _unpack(
    backend: Backend, staging: str, source: IO[bytes], moved: Moved, progress: Progress
) -> list[str]:
    """Write the files of the archive to the staging directory; the names of the runs."""
    names: list[str] = []
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            member = archive.next()
            if member is None or member.name != MANIFEST:
                raise _bad(f"it does not begin with {MANIFEST}")
            _read_manifest(_small(archive, member))
            while (member := archive.next()) is not None:
                name = _take(backend, staging, archive, member, moved, progress)
                if name not in names:
                    names.append(name)
                archive.__dict__["members"].clear()  # else it remembers them all
    except tarfile.TarError as error:
        raise _bad(str(error)) from error
    return sorted(names, key=rundir.order_of)


def _take(
    backend: Backend,
    staging: str,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    moved: Moved,
    progress: Progress,
) -> str:
    form = _MEMBER.fullmatch(member.name)
    if form is None or not member.isreg() or member.issparse():
        raise _bad(f"{member.name[:200]!r} has no place in one")
    blob = form["blob"]
    if blob is not None and not blob.startswith(form["part"]):
        raise _bad(f"{member.name!r} has no place in one")
    data = archive.extractfile(member)
    assert data is not None
    path = f"{staging}/{member.name}"
    backend.make_directory(path.rpartition("/")[0])
    if form["heart"] is not None and member.size > _SMALL:
        raise _bad(f"{member.name!r} is too large")
    hasher = blake3(max_threads=blake3.AUTO)
    file = backend.create(path)
    try:
        while chunk := data.read(_CHUNK):
            file.write(chunk)
            if blob is not None:
                hasher.update(chunk)
            progress(len(chunk))
        file.sync()
    finally:
        file.close()
    if blob is not None and hasher.hexdigest() != blob:
        raise _bad(f"{member.name!r} does not have the digest that its name says")
    if form["heart"] is None:
        moved.files += 1
        moved.size += member.size
    return form["run"]


def _small(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if not member.isreg() or member.issparse() or member.size > _SMALL:
        raise _bad(f"{member.name!r} is no such file")
    data = archive.extractfile(member)
    assert data is not None
    return data.read(_SMALL)


def _read_manifest(data: bytes) -> None:
    try:
        version = json.loads(data)["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _bad(f"{MANIFEST} in it cannot be read") from None
    if version != VERSION:
        raise ArchiveError(
            f"The archive is of format {version!r}; this library reads format {VERSION}.",
            hint="Use a later version of parsl_ckpt.",
        )


def _check(
    backend: Backend,
    staging: str,
    names: Sequence[str],
    salvage: bool,
    moved: Moved,
    signer: object,
) -> None:
    places = [
        Place(name, f"{staging}/{name}", f"{staging}/{name}/{rundir.CHECKPOINT}", "ended", {})
        for name in names
    ]
    report = verify.verify(backend, places, signer=signer)
    if report.good:
        return
    if not salvage:
        first = [f"{d.path[len(staging) + 1 :]}: {d.what}" for d in report.damage]
        first += [f"a result of {lost.app or 'a store'}: {lost.why}" for lost in report.lost]
        raise ArchiveError(
            f"The archive is damaged ({first[0]}); {report.lost_records} record(s) would be lost.",
            hint="Export it again after 'parsl-ckpt repair', or import it with --salvage.",
        )
    moved.dropped = report.lost_records
    repair.repair(backend, places, signer=signer)


def _settle(backend: Backend, base: str, staging: str, names: Sequence[str], moved: Moved) -> None:
    """Give each run a number of its own here, and let it appear there."""
    here = {
        file: place.name
        for place in inventory.find(backend, base)
        for file in inventory.listing(backend, place.directory)
        if parse_name(file) is not None
    }
    for name in names:
        source = f"{staging}/{name}"
        files = inventory.listing(backend, f"{source}/{rundir.CHECKPOINT}")
        segments = [file for file in files if parse_name(file) is not None]
        if segments and all(file in here for file in segments):
            moved.skipped[name] = here[segments[0]]
            continue
        beat = heartbeat.read(backend, f"{source}/{heartbeat.NAME}") or {}
        run = rundir.claim(base)
        heart = heartbeat.Heartbeat(run, backend=backend)
        # Nobody's process, so that it is not taken for one that lives here.
        heart.end({"began": None, **beat, "pid": None, "beat": 0, "used": [], "imported": name})
        if files:
            backend.rename(f"{source}/{rundir.CHECKPOINT}", f"{run}/{rundir.CHECKPOINT}")
        with contextlib.suppress(OSError):
            backend.sync_directory(run)
            backend.sync_directory(base)
        moved.runs[name] = os.path.basename(run)


def _bad(why: str) -> ArchiveError:
    return ArchiveError(
        f"This is no archive of runs, or it is damaged: {why}.",
        hint="Make one with 'parsl-ckpt export'.",
    )
