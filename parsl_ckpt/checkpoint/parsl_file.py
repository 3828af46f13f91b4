"""Parsl's checkpoint files, ``tasks.pkl``: a stream of pickles, told apart without loading any.

Each record is the pickle of ``{"hash": text, "exception": None, "result": value}``; the text are 32
hexadecimal digits.  Where a record ends is found by walking over its opcodes, which executes
nothing, and its bytes are taken as they are.

Rule of this file: nothing is unpickled.  A record that is cut off, damaged, or of another form is
left out, and the next one that begins as Parsl's do is looked for behind it.

The forms of the opcodes are those of ``pickletools``.
"""

from __future__ import annotations

import os
import pickletools
import re
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

START = re.compile(
    rb"\x80(?P<protocol>[\x02-\x05])(?:\x95.{8})?\}(?:\x94|q\x00)\("
    rb"(?:\x8c\x04|X\x04\x00\x00\x00)hash(?:\x94|q\x01)"
    rb"(?:\x8c\x20|X\x20\x00\x00\x00)(?P<hash>[0-9a-f]{32})(?:\x94|q\x02)"
    rb"(?:\x8c\x09|X\x09\x00\x00\x00)exception(?:\x94|q\x03)(?P<none>N?)",
    re.DOTALL,
)
"""How each of Parsl's records begins, under every protocol."""
_HEAD = 96  # bytes; no beginning is longer
_BLOCK = 1 << 20


class ParslRecord(NamedTuple):
    """One result, as Parsl wrote it.

    Attributes:
        key: MD5 of the call, 16 bytes.
        protocol: of its pickle, and so of the pickles that the key was made of.
        data: the pickle of the whole dictionary.
    """

    key: bytes
    protocol: int
    data: bytes


class Cut(Exception):
    """A record goes on behind what is there; ``needed`` says how far at least."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Damaged(Exception):
    """These are not the opcodes of a pickle."""


class ParslFile:
    """The records of one ``tasks.pkl``.

    Args:
        file: the file, open for reading from its beginning.

    Attributes:
        damaged: stretches of bytes that held no whole record.
        failures: whole records of exceptions, which only old versions of Parsl wrote.
        read: bytes read so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size  # no length is believed that goes beyond
        self._buffer = b""
        self._ended = False
        self.damaged = 0
        self.failures = 0
        self.read = 0

    def __iter__(self) -> Iterator[ParslRecord]:
        """The records in their order; memory is taken for one of them at a time."""
        at = 0
        lost = False  # what stands here belongs to a damaged stretch that is counted already
        while True:
            at = self._have(at, _HEAD)
            if at >= len(self._buffer):
                return
            head = START.match(self._buffer, at)
            end = None
            if head is not None:
                end = self._end(at)
            if head is None or end is None or START.search(self._buffer, at + 1, end):
                # A record that holds the beginning of another one was cut off before that.
                self.damaged += not lost
                lost = True
                at = self._next(at + 1)
                continue
            lost = False
            if head["none"]:
                yield ParslRecord(
                    bytes.fromhex(head["hash"].decode()), head["protocol"][0], self._buffer[at:end]
                )
            else:
                self.failures += 1
            at = end

    def _end(self, at: int) -> int | None:
        """Where the record that begins here ends; None if it does not, or is damaged."""
        while True:
            try:
                return end_of_pickle(self._buffer, at)
            except Damaged:
                return None
            except Cut as cut:
                behind = cut.needed - len(self._buffer)
                if self.read + behind > self._size or not self._more():
                    return None

    def _next(self, at: int) -> int:
        """Where the next beginning of a record is, or the end of the file."""
        while True:
            found = START.search(self._buffer, at)
            if found is not None:
                return found.start()
            if self._ended:
                return len(self._buffer)
            kept = max(len(self._buffer) - _HEAD, at)
            self._buffer, at = self._buffer[kept:], 0
            self._more()

    def _have(self, at: int, count: int) -> int:
        """Drop what is behind, and read until so many bytes are ahead; where they begin."""
        if len(self._buffer) - at < count and not self._ended:
            self._buffer, at = self._buffer[at:], 0
            while len(self._buffer) < count and self._more():
                pass
        return at

    def _more(self) -> bool:
        """Read on, twice as far each time; False at the end of the file."""
        data = b"" if self._ended else self._file.read(max(_BLOCK, len(self._buffer)))
        self._ended = not data
        self._buffer += data
        self.read += len(data)
        return bool(data)


def end_of_pickle(data: bytes, at: int = 0) -> int:
    """Where the pickle that begins at an offset ends; nothing is executed.

    Args:
        data: bytes.
        at: where the pickle begins.

    Raises:
        Cut: it goes on behind the end of ``data``.
        Damaged: it is none; the last opcode of a frame must end where the frame does.

    >>> import pickle
    >>> data = pickle.dumps([1, "two"]) + b"more"
    >>> data[end_of_pickle(data, 0) :]
    b'more'
    """
    return walk(data, at)[0]


def walk(data: bytes, at: int = 0) -> tuple[int, int]:
    """Where a pickle ends, and where its last frame begins (behind its length; 0 for none).

    Raises:
        Cut, Damaged: as :func:`end_of_pickle`.
    """
    sizes, frame, length = _SIZES, 0, len(data)
    last = 0
    try:
        while True:
            began = at
            size = sizes[data[at]]
            at += 1
            if size > 0:
                at += size
            elif size < 0:
                if size == _FRAME:
                    if began < frame:
                        raise Damaged
                    last = at = at + 8
                    frame = at + _EIGHT.unpack_from(data, began + 1)[0]
                    if frame > length:
                        raise Cut(frame)
                    continue
                at = _behind(data, at, size)
            elif data[began] == _STOP:
                if at < frame:
                    raise Damaged
                return at, last
            if at > frame > began:
                raise Damaged
            if at > length:
                raise Cut(at)
    except (IndexError, struct.error):
        raise Cut(max(at, frame)) from None


def _behind(data: bytes, at: int, size: int) -> int:
    """Where an argument ends whose length is told by itself."""
    if size in _COUNTS:
        layout = _COUNTS[size]
        count: int = layout.unpack_from(data, at)[0]
        if count < 0:
            raise Damaged
        return at + layout.size + count
    if size == _NONE:
        raise Damaged
    for _ in range(1 if size == _LINE else 2):
        at = data.find(b"\n", at) + 1
        if not at:
            raise Cut(len(data) + 1)
    return at


_STOP = ord(".")
_EIGHT = struct.Struct("<Q")
_LINE, _LINES, _FRAME, _NONE = -1, -2, -3, -4
_COUNTS = {-5: struct.Struct("<B"), -6: struct.Struct("<I"), -7: _EIGHT, -8: struct.Struct("<i")}
_KINDS = {
    pickletools.UP_TO_NEWLINE: _LINE,
    pickletools.TAKEN_FROM_ARGUMENT1: -5,
    pickletools.TAKEN_FROM_ARGUMENT4: -8,
    pickletools.TAKEN_FROM_ARGUMENT4U: -6,
    pickletools.TAKEN_FROM_ARGUMENT8U: -7,
}


def _sizes() -> list[int]:
    """For each opcode the bytes of its argument, or (negative) how they are told."""
    sizes = [_NONE] * 256
    for opcode in pickletools.opcodes:
        argument = opcode.arg
        if opcode.name == "FRAME":
            size = _FRAME
        elif argument is None:
            size = 0
        elif argument.n >= 0:
            size = argument.n
        elif argument.name == "stringnl_noescape_pair":
            size = _LINES
        else:
            size = _KINDS[argument.n]
        sizes[ord(opcode.code)] = size
    return sizes


_SIZES = _sizes()
