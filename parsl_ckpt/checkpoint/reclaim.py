"""Taking away what nobody needs any more: blobs that no record names, whole checkpoints.

Rule of this file: only what is the store's own by its name is ever removed, and only where nobody
writes.
"""

from __future__ import annotations

from . import format as fmt
from . import heartbeat, inventory
from .backend import Backend
from .inventory import Place
from .rundir import LOG
from .segment import Entry, parse_name


def entry_of(record: fmt.Record) -> Entry:
    """A record as something to be appended."""
    payload = fmt.encode_record(record)
    kind = fmt.KIND_OF[type(record)]
    return Entry(kind, fmt.keys_of(record), fmt.record_id_of(payload), payload, record)


def collect_blobs(backend: Backend, place: Place, wanted: set[bytes]) -> int:
    """Remove the blobs that no record names, where nobody writes; returns the bytes.

    Where no heartbeat tells that nobody does, what is younger than an hour stays: someone may have
    written it and not yet recorded it.
    """
    freed = 0
    for path, file in inventory.blobs(backend, place.directory):
        digest = inventory.blob_digest(path)
        if digest is not None and digest not in wanted and inventory.settled(place, file):
            backend.remove(path)
            freed += file.size
    for part in inventory.listing(backend, f"{place.directory}/blobs"):
        backend.remove_directory(f"{place.directory}/blobs/{part}")
    backend.remove_directory(f"{place.directory}/blobs")
    return freed


def remove_place(backend: Backend, place: Place) -> None:
    """Remove a checkpoint whose records stand elsewhere, or are not wanted, and nothing else."""
    files = sorted(filter(inventory.ours, inventory.listing(backend, place.directory)))
    for number, name in enumerate(files):  # tombstones after their targets, on the disk as well
        if number and parse_name(name) is not None:
            backend.sync_directory(place.directory)
        backend.remove(f"{place.directory}/{name}")
    for path, file in list(inventory.blobs(backend, place.directory)):
        if inventory.blob_digest(path) is not None or file.name.startswith(inventory.LEFTOVERS):
            backend.remove(path)
    for part in inventory.listing(backend, f"{place.directory}/blobs"):
        backend.remove_directory(f"{place.directory}/blobs/{part}")
    backend.remove_directory(f"{place.directory}/blobs")
    backend.remove_directory(place.directory)
    if place.run is not None:
        names = set(inventory.listing(backend, place.run))
        if names <= {heartbeat.NAME, LOG}:  # else the run left something of the user's here
            for name in (LOG, heartbeat.NAME):  # as long as there is anything, its state is told
                backend.remove(f"{place.run}/{name}")
            backend.remove_directory(place.run)
