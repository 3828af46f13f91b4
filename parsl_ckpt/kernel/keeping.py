"""Arguments that are kept in full beside a record, for the apps that ask for it.

A record has the address of a call, of which an argument of more than some bytes is a digest.  With
``keep_arguments=True`` such arguments stand in a note beside the record, so that a table of results
has them.

Rules of this file: what is secret, or not to be seen (``previews=False``), is never kept; what does
not encode, or is too large, is left out without a word; and an argument that is read back counts
only if its digest is the record's.
"""

from __future__ import annotations

from typing import Any

import msgspec

from parsl_ckpt.checkpoint.codec import decode
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.identity.recover import value_of
from parsl_ckpt.identity.values import leaf as leaf_of
from parsl_ckpt.kernel.task import Task

PARAMETERS = "parameters"  # the note that keeps them
LARGEST = 1 << 20  # bytes of one argument

_Kept = dict[int, tuple[int, bytes, list[bytes]]]


def kept(store: Store, task: Task) -> bytes | None:
    """The arguments of a task of which its record has digests, for a note; None if there are none.

    Args:
        store: encodes them.
        task: it has run; its address is known.
    """
    spec, address, attempt = task.spec, task.address, task.attempt
    addresser = spec.addresser
    assert addresser is not None and attempt is not None
    privacy = addresser.privacy
    if not privacy.previews:
        return None
    found: _Kept = {}
    try:
        bound = addresser.binder.bind(tuple(attempt.args), dict(attempt.kwargs))
        for at, (name, value) in enumerate(zip(address.names, bound, strict=True)):
            hidden = name in privacy.names or (privacy.names and name == addresser.binder.stars)
            if not hidden and not value_of(address.leaves[at])[0]:
                encoded = _encoded(store, value)
                if encoded is not None and not privacy.names_secret(encoded[1]):
                    found[at] = encoded
    except Exception:
        return None
    return msgspec.msgpack.encode(found) if found else None


def _encoded(store: Store, value: Any) -> tuple[int, bytes, list[bytes]] | None:
    try:
        encoded = store.encode(value)
        if encoded.size > LARGEST:
            return None
        return encoded.codec, bytes(encoded.data), [bytes(one) for one in encoded.buffers]
    except Exception:
        return None


def arguments_kept(store: Store, record_id: bytes, leaves: tuple[bytes, ...]) -> dict[int, Any]:
    """Number of the parameter → argument, for those that were kept and are what the record says.

    Args:
        store: has the record.
        record_id: its name.
        leaves: what it says of its arguments.
    """
    note = store.note(record_id, PARAMETERS)
    found: dict[int, Any] = {}
    if note is None:
        return found
    try:
        told = msgspec.msgpack.decode(note, type=_Kept)
    except msgspec.MsgspecError:
        return found
    for at, (codec, data, buffers) in told.items():
        try:
            value = decode(codec, data, [bytearray(one) for one in buffers], store.pickle)
            if leaf_of(value) == leaves[at]:
                found[at] = value
        except Exception:
            continue
    return found
