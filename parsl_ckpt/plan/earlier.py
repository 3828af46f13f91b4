"""What earlier records tell of the apps of a plan: how long their calls took, under which code.

Rule of this file: bounded.  It is a sample, from the newest segments on; who has recorded a million
calls waits no longer than who has recorded some thousand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple, Union

import msgspec

from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint.format import Result, Unkept
from parsl_ckpt.checkpoint.recent import Additions
from parsl_ckpt.checkpoint.rundir import run_of

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Store

MOST = 20_000  # records that are looked at, about 5 µs each
ENOUGH = 1000  # of each app

_Raw = msgspec.Raw


class _Brief(msgspec.Struct, array_like=True, gc=False):
    """The fields of a result up to its duration; most are passed over."""

    key: _Raw
    lineage: _Raw
    app: str = ""
    code: bytes = b""
    version: str = ""
    names: _Raw = _Raw()
    leaves: _Raw = _Raw()
    parents: _Raw = _Raw()
    codec: _Raw = _Raw()
    value: _Raw = _Raw()
    blobs: _Raw = _Raw()
    began: float = 0.0
    seconds: float = 0.0


_Record = Union[_Brief, Result, Unkept]  # noqa: UP007 (runtime, 3.10)


class Edition(NamedTuple):
    """Code under which calls of an app are recorded.

    Args:
        code: its digest.
        version: the user's; None where that is not recorded, for outcomes that are not kept.
    """

    code: bytes
    version: str | None


class Earlier:
    """What is recorded of one app, as far as it was looked at.

    Attributes:
        count: how many calls.
        seconds: what they took together.
        editions: when each code was used last, in seconds since the epoch, and the run's name.
    """

    __slots__ = ("count", "editions", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.editions: dict[Edition, tuple[float, str]] = {}

    @property
    def mean(self) -> float | None:
        """Seconds of a call; None if none is recorded."""
        return self.seconds / self.count if self.count else None

    @property
    def newest(self) -> tuple[Edition, str] | None:
        """The code that was used last, and the run that used it."""
        if not self.editions:
            return None
        edition = max(self.editions, key=lambda one: self.editions[one][0])
        return edition, self.editions[edition][1]

    def knows(self, code: bytes, version: str) -> bool:
        """Whether calls under some code are recorded."""
        return not self.editions.keys().isdisjoint((Edition(code, version), Edition(code, None)))

    def add(self, record: _Record, directory: str) -> None:
        """Count a record in."""
        self.count += 1
        self.seconds += record.seconds
        edition = Edition(record.code, getattr(record, "version", None))
        known = self.editions.get(edition)
        if known is None or known[0] < record.began:
            self.editions[edition] = record.began, run_of(directory)


class Sample(NamedTuple):
    """What is recorded of some apps.

    Args:
        apps: by name; an app of which nothing was found is not there.
        whole: whether all records were looked at, so that what is not there is not recorded.
    """

    apps: dict[str, Earlier]
    whole: bool

    def mean(self, app: str) -> float | None:
        """Seconds that a call of an app took on average; None if that is not known."""
        found = self.apps.get(app)
        return None if found is None else found.mean


def sample(
    store: Store, apps: Collection[str], most: int = MOST, before: float | None = None
) -> Sample:
    """Look at records, the newest segments first.

    Args:
        store: where they are.
        apps: names of the apps that are asked about.
        most: how many records are looked at.
        before: only calls that began before that, in seconds since the epoch; None for all.
    """
    found: dict[str, Earlier] = {}
    lacking = set(apps)
    looked = 0
    for record, directory in _records(store):
        if not lacking or looked == most:
            return Sample(found, False)
        looked += 1
        if record.app not in apps or (before is not None and record.began >= before):
            continue
        earlier = found.setdefault(record.app, Earlier())
        earlier.add(record, directory)
        if earlier.count == ENOUGH:
            lacking.discard(record.app)
    return Sample(found, True)


def _records(store: Store) -> Iterator[tuple[_Record, str]]:
    additions = Additions(store, (fmt.RESULT, fmt.UNKEPT))
    for entry in reversed(additions.held()):
        if isinstance(entry.record, (Result, Unkept)):
            yield entry.record, store.path or ""
    result = msgspec.msgpack.Decoder(_Brief).decode
    unkept = msgspec.msgpack.Decoder(Unkept).decode
    for segment, _, kind, record_id, payload in additions.look():
        if record_id in store.catalog.removed:
            continue
        try:
            yield (result if kind == fmt.RESULT else unkept)(payload), segment.directory
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue  # no record of a call; lookups report it
