"""Frames between the pool and a worker process: their layout, writers and readers.

Two channels lead to a worker, and one comes back.

* The *stream* (a Unix socket) carries frames both ways::

      head     kind u8 | flags u8 | codec u16 | buffers u32 | data u64 | id u64 | function u64
               | began f64 | seconds f64
      sizes    u64 for each buffer
      data     the pickle (or encoding)
      buffers  each begins at a multiple of 16, counted from the head of the frame

* The *tokens* (a pipe, 8 bytes each, the id of a call) carry the right to run.  Both ends may read
  it: the worker takes the next token to begin a call, and the pool takes tokens back to give the
  calls to another worker.  The kernel's own pipe lock decides who gets one, so no call is run twice
  or lost, whatever dies and when; and what has begun is exactly what has no token and no reply.

Frames of calls arrive in the order of their ids, and tokens too; a frame that is older than the
token in hand was taken back and is skipped.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Frame", "FrameReader", "StreamReader", "frame", "send_all"]

HEAD = struct.Struct("<BBHIQQQdd")
TOKEN = 8
END = bytes(TOKEN)  # the token that sends a worker away
_ALIGN = 16

# Kinds, there: ...
SETUP, DEFINE, FORGET, CALL = 1, 2, 3, 4
# ... and back.
READY, FAILED, VALUE, ENCODED, BOTH, ERROR, UNSENT, UNLOADED = 10, 11, 12, 13, 14, 15, 16, 17
BEGUN = 18  # of a call that is timed, right before its function is called

# Flags of CALL, and of ERROR.
ENCODE = 1
TIMED = 2
STAND_IN = 1


class Frame(NamedTuple):
    """One frame as it was read."""

    kind: int
    flags: int
    codec: int
    id: int
    function: int
    began: float
    seconds: float
    data: Any
    buffers: Sequence[memoryview]


def frame(
    kind: int,
    id: int = 0,
    data: Any = b"",
    buffers: Sequence[memoryview] = (),
    *,
    flags: int = 0,
    codec: int = 0,
    function: int = 0,
    began: float = 0.0,
    seconds: float = 0.0,
) -> list[Any]:
    """The parts of a frame, to be sent one after the other; large payloads are not copied."""
    size = len(data)
    head = HEAD.pack(kind, flags, codec, len(buffers), size, id, function, began, seconds)
    if not buffers:
        return [head + data] if size < 1 << 16 else [head, data]
    sizes = struct.pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
    parts = [head, sizes, data]
    position = len(head) + len(sizes) + size
    for buffer in buffers:
        padding = -position % _ALIGN
        parts += [bytes(padding), buffer]
        position += padding + buffer.nbytes
    return parts


def send_all(sock: socket.socket, parts: Iterable[Any]) -> None:
    """Send parts over a blocking socket."""
    for part in parts:
        sock.sendall(part)


def _layout(start: int, data: int, sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where each buffer begins, and where the frame ends, counted from its head."""
    position, begins = start + data, []
    for size in sizes:
        position += -position % _ALIGN
        begins.append(position)
        position += size
    return begins, position


def _whole(memory: memoryview, head: tuple[Any, ...], copy: bool) -> Frame:
    """A frame from memory that holds all of it."""
    kind, flags, codec, count, size, id, function, began, seconds = head
    start = HEAD.size + 8 * count
    data: Any = memory[start : start + size]
    buffers: list[memoryview] = []
    if count:
        sizes = struct.unpack_from(f"<{count}Q", memory, HEAD.size)
        begins, _ = _layout(start, size, sizes)
        buffers = [memory[b : b + n] for b, n in zip(begins, sizes, strict=True)]
    if copy:
        data = bytes(data)
        if buffers:
            buffers = [memoryview(bytearray(buffer)) for buffer in buffers]
    return Frame(kind, flags, codec, id, function, began, seconds, data, buffers)


class FrameReader:
    """Reads frames from a socket that does not block.

    Small frames are cut out of one buffer that is used again; a large one is read straight into
    memory of its own, which the arrays of the value then use.
    """

    _CHUNK = 1 << 18

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._memory = memoryview(bytearray(self._CHUNK))
        self._filled = 0
        self._large: memoryview | None = None  # a frame too large for the chunk
        self.ended = False

    def read(self) -> list[Frame]:
        """The frames that have arrived completely; ``ended`` says that no more will come."""
        frames: list[Frame] = []
        while True:
            target = self._memory if self._large is None else self._large
            try:
                count = self._sock.recv_into(target[self._filled :])
            except BlockingIOError:
                return frames
            except OSError:
                count = 0
            if count == 0:
                self.ended = True
                return frames
            room = len(target) - self._filled
            self._filled += count
            self._cut(frames)
            if count < room:
                return frames

    def _cut(self, frames: list[Frame]) -> None:
        if self._large is not None:
            if self._filled == len(self._large):
                head = HEAD.unpack_from(self._large)
                frames.append(_whole(self._large, head, copy=False))
                self._large, self._filled = None, 0
            return
        position, memory = 0, self._memory
        while self._filled - position >= HEAD.size:
            size = self._size(position)
            if size is None or size > self._filled - position:
                break
            head = HEAD.unpack_from(memory, position)
            frames.append(_whole(memory[position : position + size], head, copy=True))
            position += size
        rest = self._filled - position
        need = self._size(position) if rest >= HEAD.size else None
        if need is not None and need > self._CHUNK:
            self._large = memoryview(bytearray(need))
            self._large[:rest] = memory[position : self._filled]
        elif position:
            memory[:rest] = bytes(memory[position : self._filled])
        self._filled = rest

    def _size(self, position: int) -> int | None:
        """Size of the frame that begins there; None if too little of it has come to tell."""
        _, _, _, count, data, *_ = HEAD.unpack_from(self._memory, position)
        start = HEAD.size + 8 * int(count)
        if not count:
            return start + int(data)
        if self._filled - position < start:
            return None
        sizes = struct.unpack_from(f"<{count}Q", self._memory, position + HEAD.size)
        return _layout(start, int(data), sizes)[1]


class StreamReader:
    """Reads frames from a socket that blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self._file: Any = sock.makefile("rb", buffering=1 << 16)

    def read(self) -> Frame | None:
        """The next frame; None at the end of the stream."""
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        kind, flags, codec, count, size, id, function, began, seconds = HEAD.unpack(head)
        if not count:
            data: Any = self._file.read(size)
            return Frame(kind, flags, codec, id, function, began, seconds, data, ())
        table = self._file.read(8 * count)
        sizes = struct.unpack(f"<{count}Q", table)
        data = self._file.read(size)
        position, buffers = HEAD.size + len(table) + size, []
        for length in sizes:
            padding = -position % _ALIGN
            self._file.read(padding)
            buffer = memoryview(bytearray(length))
            self._fill(buffer)
            buffers.append(buffer)
            position += padding + length
        return Frame(kind, flags, codec, id, function, began, seconds, data, buffers)

    def _fill(self, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            count = self._file.readinto(buffer[done:])
            if not count:
                raise EOFError("the stream ended within a frame")
            done += count
