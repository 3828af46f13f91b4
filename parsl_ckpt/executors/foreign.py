"""A call as one value, for executors whose workers are not ours: packed here, run there.

Rule of this file: a packed call is complete in itself (it brings its definitions along, every
time), and nothing but bytes and numbers passes through the foreign executor's pickling.
"""

from __future__ import annotations

import os
import pickle
import time
import uuid
from collections.abc import Callable
from typing import Any

from parsl_ckpt.executors import outcomes
from parsl_ckpt.executors.transport import Packer, Unpacker
from parsl_ckpt.kernel.attempt import Attempt, worker

__all__ = ["ForeignPacker", "run_packed"]


class ForeignPacker:
    """Packs calls for one foreign executor; used by one thread."""

    def __init__(self) -> None:
        self._origin = uuid.uuid4().hex
        self._packer = Packer()
        self._count = 0

    def pack(self, attempt: Attempt, sessions: str | None = None) -> bytes:
        """The call as bytes.

        Args:
            attempt: the call.
            sessions: directory of what tasks commit in the middle.

        Raises:
            CallTransportError: something in it does not pickle.
        """
        parcel = self._packer.pack(attempt)
        buffers = [pickle.PickleBuffer(buffer) for buffer in parcel.buffers]
        needs = [tuple(need) for need in parcel.needs]
        # The number makes each call another one: Dask takes equal calls for one, and a retry of one
        # that has failed would fail by that alone.
        self._count += 1
        return pickle.dumps(
            (self._origin, self._count, needs, parcel.function, parcel.data, buffers,
             attempt.encode, sessions),
            5,
        )  # fmt: skip

    @staticmethod
    def unpacker(attempt: Attempt) -> Callable[[Any], Any]:
        """What reads the outcome of that attempt."""
        app = attempt.app

        def unpack(outcome: Any) -> Any:
            kind, flags, codec, data, buffers, measured = outcome
            return (*outcomes.unpack(kind, flags, codec, data, buffers, app), measured)

        return unpack


_unpackers: dict[str, Unpacker] = {}


def run_packed(call: bytes) -> tuple[Any, ...]:
    """Run a packed call in the worker of a foreign executor; its packed outcome, and the times."""
    origin, _, needs, function, data, buffers, encode, worker.sessions = pickle.loads(call)
    unpacker = _unpackers.setdefault(origin, Unpacker())
    for serial, payload in needs:
        if not unpacker.has(serial):
            unpacker.define(serial, payload)
    before, worker.in_process_worker = worker.in_process_worker, True
    try:
        packed, began, seconds = outcomes.execute(
            lambda: unpacker.call(function, data, buffers), encode, time.perf_counter
        )
    finally:
        worker.in_process_worker = before
    kind, flags, codec, data, buffers = packed
    plain = [bytearray(buffer) for buffer in buffers]  # writable again where they arrive
    return kind, flags, codec, data, plain, (began, seconds, f"pid:{os.getpid()}")
