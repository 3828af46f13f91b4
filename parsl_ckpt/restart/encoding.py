"""States and metadata as bytes, and where those bytes stand: in the row or in blobs.

Rule of this file: everything is encoded before anything is written.  Arrays of ``SMALL`` bytes and
more that do not change are stored once over the whole history: rows name the blob again.  One that
is not ``LARGE`` stands in the row when it is seen first, because most of what is small changes each
time, and making a file costs ten times as much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from blake3 import blake3

from parsl_ckpt.checkpoint.plain import NotPlain, encode_named
from parsl_ckpt.errors import CheckpointSerializationError, StoreWriteError

from .hydrate import reachable
from .schema import hints

SMALL = 4096
LARGE = 32 * 1024
INLINE_DATA = 64 * 1024
_SEVERAL_THREADS = 1 << 20

Blob = tuple[bytes, int]
Part = Any  # the number of a blob, or bytes


class Encoded(NamedTuple):
    """What is to be kept of a state or of a value: data, and buffers beside it."""

    data: bytes
    buffers: list[Any]


def encode_state(state: str, instance: Any) -> Encoded:
    """The fields of a dataclass instance.

    Raises:
        CheckpointSerializationError: a field is not carried; it is named.
    """
    kind = type(instance)
    values = [(field.name, _field(state, instance, field.name)) for field in _fields(kind)]
    try:
        data, buffers, nameless = encode_named(values, minimum=SMALL)
    except NotPlain as reason:
        raise CheckpointSerializationError(
            f"The state {state} cannot be saved: its field {reason.name!r} holds {reason}.",
            hint="Give the type a codec with register_codec, or keep it out of the state.",
            state=state,
            field=reason.name,
        ) from reason
    if nameless:
        known = {inner for hint in hints(kind, instance).values() for inner in reachable(hint)}
        for one in nameless - known:
            field = next((name for name, value in values if isinstance(value, one)), "")
            raise CheckpointSerializationError(
                f"The state {state} cannot be saved: {one.__qualname__} cannot be found by its "
                "name, and no type of a field says it.",
                hint="Define it at the top of a module, or give the field its type.",
                state=state,
                field=field,
            )
    return Encoded(data, buffers)


def encode_metadata(key: str, value: Any, what: str = "metadata") -> Encoded:
    """A value of the metadata, or of a label; what the caller changes later is not seen.

    Raises:
        CheckpointSerializationError: it is not carried.
    """
    try:
        data, buffers, nameless = encode_named([("", value)], minimum=SMALL)
    except NotPlain as reason:
        raise _no_metadata(what, key, str(reason)) from reason
    for one in nameless:
        raise _no_metadata(what, key, f"an instance of {one.__qualname__}, which no name finds")
    return Encoded(data, [bytes(buffer) for buffer in buffers])


def _no_metadata(what: str, key: str, reason: str) -> CheckpointSerializationError:
    return CheckpointSerializationError(
        f"The {what} {key!r} cannot be saved: it holds {reason}.",
        hint="Use plain values, or give the type a codec with register_codec.",
        key=key,
    )


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _field(state: str, instance: Any, name: str) -> Any:
    try:
        return getattr(instance, name)
    except AttributeError:
        raise CheckpointSerializationError(
            f"The state {state} cannot be saved: its field {name!r} has no value.",
            hint="Set it before the step is written.",
            state=state,
            field=name,
        ) from None


class Blobs:
    """The blobs that one row names, each once."""

    def __init__(self) -> None:
        self.all: list[Blob] = []
        self._number: dict[Blob, int] = {}

    def number(self, blob: Blob) -> int:
        """The place of a blob among them."""
        found = self._number.get(blob)
        if found is None:
            found = self._number[blob] = len(self.all)
            self.all.append(blob)
        return found


class Packer:
    """Decides where buffers stand, for one session, which only one thread uses at a time.

    Args:
        write: keeps a blob, of which the digest may be known.
        has: whether a blob is there, and good.
    """

    def __init__(self, write: Callable[..., Blob], has: Callable[[Blob], bool]) -> None:
        self._write = write
        self.has = has
        self._known: set[Blob] = set()  # what the last row names
        self._inside: set[Blob] = set()  # what stood inside the last row
        self._standing: dict[Any, Blob] = {}  # of those that did not change the last time
        self._last: dict[Any, Blob] = {}

    def resume(self, named: dict[Any, Blob]) -> None:
        """Begin with a row that was restored: what of it has not changed is not written again.

        Args:
            named: the blob of each buffer.
        """
        self._last = named
        self._standing = dict(named)

    def begin(self, blobs: Iterable[Blob]) -> Packing:
        """A row that goes on from one which names these blobs."""
        self._known.update(blobs)
        return Packing(self)

    def place(self, owner: Any, buffer: Any, packing: Packing) -> Part:
        """Where a buffer stands; it is written, if need be."""
        view = memoryview(buffer).cast("B")
        size = view.nbytes
        if size < SMALL:
            return bytes(view)
        if size >= LARGE and owner not in self._standing:
            # It has probably changed: it is digested while it is written.
            return packing.names(owner, self._write(view))
        threads = blake3.AUTO if size >= _SEVERAL_THREADS else 1
        blob = (blake3(view, max_threads=threads).digest(), size)
        if blob in self._known and self.has(blob):
            return packing.names(owner, blob)
        if size < LARGE and blob not in self._inside:
            packing.inside.add(blob)
            return bytes(view)
        return packing.names(owner, self._write(view, blob[0]))

    def committed(self, packing: Packing) -> None:
        """A row was written: the next one is compared with it."""
        last = self._last
        self._standing = {
            owner: blob for owner, blob in packing.named.items() if last.get(owner) == blob
        }
        self._last = packing.named
        self._known = set(packing.blobs.all)
        self._inside = packing.inside


class Packing:
    """One row while it is put together."""

    def __init__(self, packer: Packer) -> None:
        self._packer = packer
        self.blobs = Blobs()
        self.inside: set[Blob] = set()
        self.named: dict[Any, Blob] = {}

    def add(self, owner: Any, encoded: Encoded) -> tuple[bytes, tuple[Part, ...]]:
        """The data and the parts of a record for something that was encoded."""
        data = encoded.data
        buffers = list(encoded.buffers)
        if len(data) > INLINE_DATA:
            buffers.insert(0, data)
            data = b""
        place = self._packer.place
        return data, tuple([place((owner, at), one, self) for at, one in enumerate(buffers)])

    def names(self, owner: Any, blob: Blob) -> int:
        """The number of a blob in this row."""
        self.named[owner] = blob
        return self.blobs.number(blob)

    def carry(self, parts: Iterable[Part], blobs: tuple[Blob, ...]) -> tuple[Part, ...]:
        """Parts of another row, for this one.

        Raises:
            StoreWriteError: a blob of theirs is not there any more.
        """
        return tuple(
            part if isinstance(part, bytes) else self._carried(blobs[part]) for part in parts
        )

    def _carried(self, blob: Blob) -> int:
        if not self._packer.has(blob):
            raise StoreWriteError(
                "What the row before holds, and nobody has bound, is not there any more: "
                f"the blob {blob[0].hex()}.",
                hint="Bind all states, or begin a new session.",
            )
        return self.blobs.number(blob)
