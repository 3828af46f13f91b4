"""The results and failures of some checkpoints, each as one line: for listing and for choosing.

Rule of this file: nothing is decoded that the user has written, neither values nor tracebacks.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from parsl_ckpt.errors import FormatError

from . import format as fmt
from . import inventory
from .backend import Backend
from .catalog import Catalog
from .frames import Frames, decode
from .inventory import Place
from .segment import OpenFiles


class Item(NamedTuple):
    """A result or a failure.

    Attributes:
        place: the run that it is in.
        record_id: its name.
        kind: ``"result"`` or ``"failure"``.
        app: name of the app.
        key, lineage: its addresses.
        began: start in seconds since the epoch.
        seconds: how long it took.
        size: bytes of the record and of its blobs.
        blobs: (digest, size) of each blob.
        error: of a failure.
    """

    place: Place
    record_id: bytes
    kind: str
    app: str
    key: bytes
    lineage: bytes | None
    began: float
    seconds: float
    size: int
    blobs: tuple[tuple[bytes, int], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Filter:
    """Which items are meant; those that meet all conditions.

    Args:
        apps: names of apps, ``*`` and ``?`` as in file names.
        since: begun at this time or later, in seconds since the epoch.
        before: begun earlier than that.
        larger_than: more bytes than that.
        longer_than: took more seconds than that.
        keys: beginnings of keys or record ids, in hexadecimal.
        kinds: ``"result"``, ``"failure"``.
    """

    apps: Sequence[str] = ()
    since: float | None = None
    before: float | None = None
    larger_than: int | None = None
    longer_than: float | None = None
    keys: Sequence[str] = ()
    kinds: Sequence[str] = field(default=("result", "failure"))

    def __call__(self, item: Item) -> bool:
        return (
            item.kind in self.kinds
            and (not self.apps or any(fnmatch.fnmatchcase(item.app, app) for app in self.apps))
            and (self.since is None or item.began >= self.since)
            and (self.before is None or item.began < self.before)
            and (self.larger_than is None or item.size > self.larger_than)
            and (self.longer_than is None or item.seconds > self.longer_than)
            and (not self.keys or any(_begins(item, key) for key in self.keys))
        )


def items(
    backend: Backend,
    places: Sequence[Place],
    wanted: Callable[[Item], bool] | None = None,
    signer: object = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Item]:
    """What is recorded and not removed, from the oldest run on.

    Args:
        backend: where it is.
        places: the checkpoints.
        wanted: which.
        signer: verifies signed records.
        progress: called with the number of bytes done since the last call.
    """
    removed = removed_in(backend, places, signer)
    told = progress or (lambda _: None)
    for place in places:
        for segment in inventory.segments(backend, [place], OpenFiles()):
            try:
                frames = Frames(segment, growing=place.live, signer=signer)
                done = 0
                for frame in frames.whole():
                    if frame.offset - done > 1 << 24:
                        told(frame.offset - done)
                        done = frame.offset
                    if frame.kind not in (fmt.RESULT, fmt.FAILURE) or frame.record_id in removed:
                        continue
                    item = _item(place, frame.record_id, len(frame.payload), decode(frame))
                    if item is not None and (wanted is None or wanted(item)):
                        yield item
                told(frames.size - done)
            except (OSError, FormatError):
                continue  # verify tells


def removed_in(backend: Backend, places: Sequence[Place], signer: Any = None) -> set[bytes]:
    """Ids of the records that tombstones in some checkpoints name."""
    catalog = Catalog(backend, [place.directory for place in places], None, signer)
    try:
        catalog.load(None)
        return catalog.removed
    finally:
        catalog.close()


def _item(place: Place, record_id: bytes, length: int, record: fmt.Record | None) -> Item | None:
    size = length + fmt.FRAME_HEADER_SIZE
    if isinstance(record, fmt.Result):
        size += sum(size for _, size in record.blobs)
        return Item(
            place, record_id, "result", record.app, record.key, record.lineage, record.began,
            record.seconds, size, record.blobs,
        )  # fmt: skip
    if isinstance(record, fmt.Failure):
        return Item(
            place, record_id, "failure", record.app, record.key, record.lineage, record.began,
            record.seconds, size, (), record.error,
        )  # fmt: skip
    return None


def _begins(item: Item, prefix: str) -> bool:
    return (
        item.key.hex().startswith(prefix)
        or item.record_id.hex().startswith(prefix)
        or (item.lineage is not None and item.lineage.hex().startswith(prefix))
    )
