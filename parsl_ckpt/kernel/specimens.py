"""Specimens: a few calls of each app kept with their arguments, so that they can be made again.

A record holds digests of arguments, not the arguments.  Of the first calls of an app under each
code the arguments are kept beside, as a note; blessing an edit executes these again.

Rule of this file: a specimen is kept for its use alone.  Whatever speaks against it (secrets, size,
a value that does not encode) leaves it out without a word.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from parsl_ckpt.checkpoint.codec import decode
from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.identity.address import Addresser
from parsl_ckpt.kernel.task import Task

ARGUMENTS = "arguments"  # the note that keeps them
KEPT = 3  # of each app and code in a run
LARGEST = 64 << 10  # bytes


class Specimens:
    """Keeps the arguments of a few calls.

    Args:
        store: encodes them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: Counter[bytes] = Counter()

    def take(self, task: Task) -> bytes | None:
        """The arguments of a task for a note; None if they are not kept."""
        code = task.address.code
        if self._kept[code] >= KEPT:
            return None
        addresser, attempt = task.spec.addresser, task.attempt
        assert addresser is not None and attempt is not None
        self._kept[code] += 1  # also of what cannot be kept, so that it is tried a few times only
        if addresser.privacy.names or not addresser.privacy.previews:
            return None
        if task.request is not None and task.request.outputs:
            return None  # it would write over the files that are in use
        if task.spec.kind == "bash":
            return None  # its status says nothing of what it does
        try:
            encoded = self._store.encode((tuple(attempt.args), dict(attempt.kwargs)))
            buffers = [memoryview(buffer).cast("B") for buffer in encoded.buffers]
            if len(encoded.data) + sum(buffer.nbytes for buffer in buffers) > LARGEST:
                return None
            return msgspec.msgpack.encode(
                (encoded.codec, bytes(encoded.data), [bytes(buffer) for buffer in buffers])
            )
        except Exception:
            return None


def arguments_of_specimen(
    store: Store, addresser: Addresser, record_id: bytes, result: Result
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """The arguments of a recorded call, if they were kept, decode, and are those that it had."""
    note = store.note(record_id, ARGUMENTS)
    if note is None:
        return None
    try:
        codec, data, buffers = msgspec.msgpack.decode(note, type=tuple[int, bytes, list[bytes]])
        args, kwargs = decode(codec, data, [bytearray(one) for one in buffers], store.pickle)
        address = addresser.address(addresser.binder.bind(args, kwargs))
    except Exception:
        return None
    return (args, kwargs) if address.leaves == tuple(result.leaves) else None
