"""The store as a mapping, for use by itself: any plain key to any value.

Rule of this file: built on :meth:`find`, :meth:`value`, :meth:`stage` and :meth:`append` alone.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from parsl_ckpt.errors import FormatError, UnreadableRecordError, UnserializableValueError

from .format import Result
from .plain import NotPlain, encode_plain
from .reading import Reading
from .segment import Entry
from .unplain import decode_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .codec import Encoded


class Mapping(Reading):
    """Keys to values.  Values are decoded afresh each time."""

    if TYPE_CHECKING:

        def encode(self, value: Any) -> Encoded: ...

        stage: Callable[..., Entry]

        def append(self, entries: Sequence[Entry]) -> None: ...

    def get(self, key: Hashable, default: Any = None) -> Any:
        """The value under a key, or ``default``.

        Where the newest record cannot be read, the newest that can be is taken.
        """
        at = address(key)
        tried = None
        while (stored := self.find(at)) is not None and stored.record_id != tried:
            try:
                return self.value(stored)
            except UnreadableRecordError:
                tried = stored.record_id
        return default

    def put(self, key: Hashable, value: Any, **fields: Any) -> None:
        """Record a value under a key.

        Args:
            key: 32 bytes (an address), or any plain value.
            value: what to record.
            fields: further fields of :class:`~parsl_ckpt.checkpoint.format.Result`.

        Raises:
            UnserializableValueError: the key or the value cannot be encoded.
            StoreWriteError: it could not be written.
        """
        self.append([self.entry(key, value, **fields)])

    def entry(self, key: Hashable, value: Any, **fields: Any) -> Entry:
        """What :meth:`put` appends, for appending many at once."""
        encoded = self.encode(value)
        if type(key) is bytes and len(key) == 32:
            return self.stage(encoded, key=key, began=time.time(), **fields)
        plain = _plain_key(key)
        return self.stage(
            encoded, key=blake3(b"key " + plain).digest(), names=("key",), leaves=(plain,),
            began=time.time(), **fields,
        )  # fmt: skip

    def __contains__(self, key: Hashable) -> bool:
        return self.find(address(key)) is not None

    def __iter__(self) -> Iterator[Any]:
        """Keys of all results that are found, each once: as they were put, else as addresses."""
        for segment, offset, _, record in self._everything():
            if type(record) is Result and self._newest(record.key) == (segment.path, offset):
                yield key_of(record)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """(key, value) of all results that can be read."""
        nothing = object()
        for key in self:
            value = self.get(key, nothing)
            if value is not nothing:
                yield key, value

    def __len__(self) -> int:
        """Number of keys; walks over all records."""
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return True


def address(key: Hashable) -> bytes:
    """The 32 bytes that a key of the mapping is filed under."""
    if type(key) is bytes and len(key) == 32:
        return key
    return blake3(b"key " + _plain_key(key)).digest()


def key_of(result: Result) -> Any:
    """The key that a result was put under, else its address."""
    if result.names == ("key",) and not result.app and result.leaves:
        try:
            plain = result.leaves[0]
            if blake3(b"key " + plain).digest() == result.key:
                return decode_plain(plain, imports=False)
        except FormatError:
            pass
    return result.key


def _plain_key(key: Hashable) -> bytes:
    try:
        plain, buffers = encode_plain(key)
    except NotPlain as reason:
        raise UnserializableValueError(
            f"A key holds {reason}.", hint="Use plain values as keys.", type=type(key).__name__
        ) from None
    if buffers:
        raise UnserializableValueError("A key is too large.", hint="Use its digest.", type="key")
    return plain
