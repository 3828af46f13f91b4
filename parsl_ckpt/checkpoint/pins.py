"""Named sets: names given to results, by records of their own.

::

    pin ─ names to results ─► pin records, after the results ─┬─ newest of each name ─► current
    unpin ─ names ─► a tombstone for their records ───────────┘

Rules of this file:

* Nothing is updated in place.  What a set names is a fold over its records in all checkpoints that
  are read: of each name the newest counts, by the number that it carries.  Whoever pins a name
  again takes a number beyond all that he sees, so that clocks which go back do no harm.
* A pin refers to a record and carries no data.  Names and sets are labels of any characters and
  length; they stand inside records, never in paths.
* What a current pin names is not superseded by newer results of its call, and pruning leaves it
  alone: see :class:`Census`, which maintenance asks.

>>> from parsl_ckpt.checkpoint import MemoryBackend, Store
>>> with Store.open("demo", backend=MemoryBackend()) as store:
...     pins = Pins(store)
...     store.put("answer", 42)
...     pins.pin("good", {"it": store.find(address("answer"))})
...     store.value(pins.get("good", "it")), list(pins.names("good")), pins.sets()
(42, ['it'], ['good'])
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_ckpt.errors import ConfigurationError, FormatError

from . import format as fmt
from . import inventory
from .backend import Backend
from .format import Pin, name_key, set_key
from .frames import Frames, decode
from .mapping import address
from .segment import OpenFiles

if TYPE_CHECKING:
    from .inventory import Place
    from .reading import Stored
    from .segment import Entry
    from .store import Store

UNPINNED = "unpinned"  # reason of tombstones for pins
_AT_ONCE = 4096  # records that are appended at once


class Named(NamedTuple):
    """What a name of a set stands for.

    Attributes:
        key: value key of the result.
        lineage: its lineage key, if it has one.
        record_id: the result.
        at: number of the pin: nanoseconds since the epoch, as a rule.
        pin: the pin's own record.
    """

    key: bytes
    lineage: bytes | None
    record_id: bytes
    at: int
    pin: bytes


class Pins:
    """The named sets that a store sees, and what adds to them.

    Args:
        store: the checkpoints; pins are written to the one that it writes to.
        others: further stores, which are only read.
    """

    def __init__(self, store: Store, *others: Store) -> None:
        self._store = store
        self._stores = (store, *others)

    # --- looking ----------------------------------------------------------------------------------

    def sets(self) -> list[str]:
        """The sets that have a name in them; goes through all records."""
        found: dict[bytes, set[bytes]] = {}
        for store in self._stores:
            for _, record_id, record in store.records():
                if type(record) is Pin and not self._removed(record_id):
                    found.setdefault(record.set, set()).add(record.name)
        return sorted(map(text_of, found))

    def names(self, of: str) -> dict[str, Named]:
        """What each name of a set stands for, in the order in which they were given."""
        at = label_of(of, "set")
        newest: dict[bytes, Named] = {}
        for record_id, pin in self._found(set_key(at)):
            if pin.set == at:
                _take(newest, pin.name, record_id, pin)
        return _ordered(newest)

    def named(self, of: str, name: str) -> Named | None:
        """What one name of a set stands for; None if it stands for nothing."""
        at, called = label_of(of, "set"), label_of(name, "name")
        newest: dict[bytes, Named] = {}
        for record_id, pin in self._found(name_key(at, called)):
            if pin.set == at and pin.name == called:
                _take(newest, called, record_id, pin)
        return newest.get(called)

    def get(self, of: str, name: str) -> Stored | None:
        """The result that a name stands for; None if there is none, or it is not there any more.

        A name whose result was removed stands for nothing, not for what it stood for before.
        """
        named = self.named(of, name)
        return None if named is None else self.result(named)

    def result(self, named: Named) -> Stored | None:
        """The result that a name stands for; None if it is not there any more."""
        if self._removed(named.record_id):
            return None
        found = (store.recorded(named.key, named.record_id) for store in self._stores)
        return next((stored for stored in found if stored is not None), None)

    # --- changing ---------------------------------------------------------------------------------

    def pin(self, of: str, names: Mapping[str, Stored | Named]) -> None:
        """Have names of a set stand for results; a name that has one stands for the new one.

        When this returns, the names are as safe as the records that are appended.

        Args:
            of: the set; it need not exist.
            names: to each name its result, which is recorded already, in whatever run, or another
                name's; nothing of it is copied.

        Raises:
            ConfigurationError: the set or a name is no text.
            StoreWriteError: not all of it could be written; each name is there or as it was.
        """
        entries = list(self.entries(of, names))
        for start in range(0, len(entries), _AT_ONCE):
            self._store.append(entries[start : start + _AT_ONCE])

    def entries(
        self,
        of: str,
        names: Mapping[str, Stored | Named],
        known: Mapping[str, Named] | None = None,
    ) -> Iterator[Entry]:
        """What :meth:`pin` appends, for those who write by themselves, after the results.

        Args:
            of, names: as for :meth:`pin`.
            known: what :meth:`names` gave, to spare looking again.
        """
        at = label_of(of, "set")
        now = time.time_ns()
        for place, (name, target) in enumerate(names.items()):
            before = self.named(of, name) if known is None else known.get(name)
            number = now + place if before is None else max(now + place, before.at + 1)
            key, lineage = _addresses(target)
            yield self._store.stage_record(
                Pin(at, label_of(name, "name"), key, target.record_id, number, lineage)
            )

    def unpin(self, of: str, *names: str) -> int:
        """Take names out of a set; without names, all of them.

        What they stood for stays recorded, and may be pruned from then on.

        Returns:
            How many names had stood for something.

        Raises:
            StoreWriteError: it could not be recorded.
        """
        at = label_of(of, "set")
        wanted = {label_of(name, "name") for name in names}
        found: dict[bytes, list[bytes]] = {}
        for record_id, pin in self._found(set_key(at)):
            if pin.set == at and (not wanted or pin.name in wanted):
                found.setdefault(pin.name, []).append(record_id)
        ids = [record_id for records in found.values() for record_id in records]
        for start in range(0, len(ids), _AT_ONCE):
            self._store.remove(*ids[start : start + _AT_ONCE], reason=UNPINNED)
        return len(found)

    def _found(self, key: bytes) -> Iterator[tuple[bytes, Pin]]:
        for store in self._stores:
            for record_id, record in store.identified(key):
                if type(record) is Pin and not self._removed(record_id):
                    yield record_id, record

    def _removed(self, record_id: bytes) -> bool:
        """Whether one of the stores knows that a record is removed, or its value lost."""
        return any(store._gone(record_id) for store in self._stores)


class Census:
    """The pins of some checkpoints, for those who are about to remove records; first all are seen.

    Attributes:
        current: ids of the pins that count.
        targets: ids of the results that these name.
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, dict[bytes, Named]] = {}

    def see(self, record_id: bytes, pin: Pin) -> None:
        """Take a pin into account that is not removed."""
        _take(self._newest.setdefault(pin.set, {}), pin.name, record_id, pin)

    @property
    def sets(self) -> dict[str, dict[str, Named]]:
        """What each name of each set stands for, the oldest first."""
        return {text_of(of): _ordered(self._newest[of]) for of in sorted(self._newest)}

    @functools.cached_property
    def current(self) -> frozenset[bytes]:
        return frozenset(named.pin for one in self._newest.values() for named in one.values())

    @functools.cached_property
    def targets(self) -> frozenset[bytes]:
        return frozenset(named.record_id for one in self._newest.values() for named in one.values())


def census(
    backend: Backend, places: Sequence[Place], removed: set[bytes], signer: Any = None
) -> Census:
    """The pins in some checkpoints; those in what is not to be trusted do not count.

    Args:
        backend: where they are.
        places: the checkpoints.
        removed: ids of the records that tombstones name, wherever these are.
        signer: verifies signed records.
    """
    found = Census()
    for place in places:
        if place.foreign is None:
            for record_id, pin in pins_in(backend, place, signer):
                if record_id not in removed:
                    found.see(record_id, pin)
    return found


def pins_in(backend: Backend, place: Place, signer: Any = None) -> Iterator[tuple[bytes, Pin]]:
    """The pins of one checkpoint, those that are removed included.

    What cannot be read pins nothing: one bad file must not keep room from being made elsewhere.
    """
    for segment in inventory.segments(backend, [place], OpenFiles()):
        try:
            frames = Frames(segment, growing=place.live, signer=signer)
        except (OSError, FormatError):
            continue  # verify tells
        for offset, kind, _ in frames.walk():
            if kind == fmt.PIN:
                frame = frames.read(offset)
                record = decode(frame) if frame is not None else None
                if frame is not None and isinstance(record, Pin):
                    yield frame.record_id, record


def pins_to_hand_on(
    backend: Backend, victims: Iterable[Place], rest: Sequence[Place], signer: Any = None
) -> list[Pin]:
    """The pins of runs that are about to go, as far as they count and no other run has them.

    Args:
        backend: where they are.
        victims: the runs that go.
        rest: those that stay.
    """
    from .items import removed_in

    going = list(victims)
    removed = removed_in(backend, [*going, *rest], signer)
    current = census(backend, [*going, *rest], removed, signer).current
    staying = {record_id for place in rest for record_id, _ in pins_in(backend, place, signer)}
    return [
        pin
        for place in going
        if place.foreign is None
        for record_id, pin in pins_in(backend, place, signer)
        if record_id in current and record_id not in staying
    ]


def take_out(
    backend: Backend, places: Sequence[Place], heir: Place, of: str, names: Sequence[str],
    signer: Any = None,
) -> None:  # fmt: skip
    """Take names out of a set, by tombstones for all pins of theirs, older ones included.

    Args:
        backend: where they are.
        places: all checkpoints.
        heir: the checkpoint that the tombstones are written to; nobody else writes there.
        of: the set.
        names: the names.
        signer: signs, where records are signed.
    """
    from . import rewrite
    from .reclaim import entry_of

    at, wanted = label_of(of, "set"), {label_of(name, "name") for name in names}
    ids = [
        record_id
        for place in places
        for record_id, pin in pins_in(backend, place, signer)
        if pin.set == at and pin.name in wanted
    ]
    parts = [tuple(ids[start : start + _AT_ONCE]) for start in range(0, len(ids), _AT_ONCE)]
    rewrite.write_segment(
        backend, heir.directory, rewrite.next_sequence(backend, heir.directory),
        (entry_of(fmt.Tombstone(part, UNPINNED)) for part in parts),
        rewrite.chain_of_its_own(signer),
    )  # fmt: skip


def label_of(text: str, what: str) -> bytes:
    """A label as it stands in records: any text, also what is no valid Unicode.

    Raises:
        ConfigurationError: it is no text.
    """
    if not isinstance(text, str):
        raise ConfigurationError(
            f"A {what} is called {text!r}, which is no text.",
            hint="Use a string; any characters will do.",
            field=what,
        )
    return text.encode("utf-8", "surrogatepass")


def text_of(label: bytes) -> str:
    """The text of a label; bytes that another program wrote and that are no text are escaped."""
    try:
        return label.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return label.decode("utf-8", "backslashreplace")


def _ordered(newest: dict[bytes, Named]) -> dict[str, Named]:
    ordered = sorted(newest.items(), key=lambda item: (item[1].at, item[0]))
    return {text_of(name): named for name, named in ordered}


def _take(newest: dict[bytes, Named], name: bytes, record_id: bytes, pin: Pin) -> None:
    """Keep the newest pin of a name; of two with one number, everyone keeps the same."""
    before = newest.get(name)
    if before is None or (pin.at, record_id) > (before.at, before.pin):
        newest[name] = Named(pin.key, pin.lineage, pin.record_id, pin.at, record_id)


def _addresses(target: Stored | Named) -> tuple[bytes, bytes | None]:
    if isinstance(target, Named):
        return target.key, target.lineage
    return target.result.key, target.result.lineage


__all__ = ["Census", "Named", "Pins", "address", "census", "pins_to_hand_on"]
