"""The bytes of a segment file: constants, encoders, decoders.  No I/O happens here.

The specification in words, with a worked example, is ``docs/format.rst``.  In short::

    segment file = file header, frame, frame, ... [index frame, once sealed]
    frame        = header (56 bytes, with its own checksum), payload (MessagePack)

Rules that the readers rely on:

* The header's checksum covers the segment's random id and the frame's offset.  Bytes of a user's
  value, or a frame copied from elsewhere, are therefore never taken for a frame when reading
  resumes after damage.
* ``record_id`` is the first 16 bytes of the payload's BLAKE3, so the checksum of a record is also
  its name.
* The header carries the first 8 bytes of up to two keys, so that an index is built from headers
  alone.
* Nothing is done on the word of a length before the checksum over it has been verified.

All integers are little-endian.  Unknown kinds are skipped; a frame with an unknown flag is
unreadable and skipped.  Payload structs are arrays: later versions add fields at the end, earlier
readers ignore them.
"""

from __future__ import annotations

import struct
from typing import Any, Union

import msgspec
from blake3 import blake3

from parsl_ckpt.errors import FormatError

# --- file header ----------------------------------------------------------------------------------

SEGMENT_MAGIC = b"PCKPTSEG"
INDEX_MAGIC = b"PCKPTIDX"
VERSION = 1
GATHERED = 2  # of a segment that has extents, which earlier versions would step over
# magic, version, flags, reserved, id, checksum of the preceding 32 bytes
FILE_HEADER = struct.Struct("<8sHHI16s8s")
FILE_HEADER_SIZE = FILE_HEADER.size
ID_SIZE = 16

# --- frames ---------------------------------------------------------------------------------------

FRAME_MAGIC = b"\xc5PF\x01"
# magic, kind, flags, number of keys, reserved, payload length, record id, two key prefixes
FRAME_FIELDS = struct.Struct("<4sBBBBQ16s8s8s")
# kind, number of keys, payload length, record id, two key prefixes as numbers
FRAME_NUMBERS = struct.Struct("<4xBxBxQ16sQQ")
FRAME_FIELDS_SIZE = FRAME_FIELDS.size
# what a header's checksum is over: id of the segment, offset, the fields
FRAME_PLACED = struct.Struct("<16sQ48s")
CHECKSUM_SIZE = 8
FRAME_HEADER_SIZE = FRAME_FIELDS_SIZE + CHECKSUM_SIZE

FLAG_SIGNED = 1  # the predecessor's tag and the frame's own follow the payload
FLAG_COMPRESSED = 2  # reserved: the payload is a zstd frame
TAG_SIZE = 16
SIGNATURE_SIZE = 2 * TAG_SIZE

RESULT, FAILURE, ALIAS, NOTE, CODE, RUN, TOMBSTONE, PIN, SESSION, INDEX = range(1, 11)
UNKEPT, EXTENT = 11, 12
KIND_NAMES = {
    RESULT: "result", FAILURE: "failure", ALIAS: "alias", NOTE: "note", CODE: "code", RUN: "run",
    TOMBSTONE: "tombstone", PIN: "pin", SESSION: "session", INDEX: "index", UNKEPT: "unkept",
    EXTENT: "extent",
}  # fmt: skip

INLINE_LIMIT = 64 * 1024  # larger data is a part of its own, as large buffers are
SPILLED = 0x80  # bit of Result.codec: the encoded data itself is the first part
LAID_OUT = 0x40  # bit of Result.codec: Result.parts says where the parts are

RUN_KEY = blake3(b"parsl_ckpt run records").digest()  # what run records are indexed under


def file_header(magic: bytes, identity: bytes, flags: int = 0, version: int = VERSION) -> bytes:
    """The first bytes of a segment or index file."""
    fields = FILE_HEADER.pack(magic, version, flags, 0, identity, b"")[:-CHECKSUM_SIZE]
    return fields + blake3(fields).digest(CHECKSUM_SIZE)


def read_file_header(data: bytes, magic: bytes) -> bytes | None:
    """The id of a file from its first bytes, None if they are damaged or of another kind.

    Raises:
        FormatError: the header is whole and of a later version of the format.
    """
    if len(data) < FILE_HEADER_SIZE:
        return None
    found, version, _flags, _reserved, identity, checksum = FILE_HEADER.unpack_from(data)
    fields = data[: FILE_HEADER_SIZE - CHECKSUM_SIZE]
    if found != magic or blake3(fields).digest(CHECKSUM_SIZE) != checksum:
        return None
    if not VERSION <= version <= GATHERED:
        raise FormatError(
            f"The file is of format {version}; this library reads formats to {GATHERED}.",
            hint="Use a later version of parsl_ckpt.",
        )
    return bytes(identity)


def is_signed(header: bytes) -> bool:
    """Whether a file header says that the file, an index, is signed."""
    return bool(FILE_HEADER.unpack_from(header)[2] & FLAG_SIGNED)


def frame_header(
    segment_id: bytes,
    offset: int,
    kind: int,
    payload_length: int,
    record_id: bytes,
    keys: tuple[bytes, ...] = (),
) -> bytes:
    """The header of a frame that begins at ``offset`` of the segment."""
    first = keys[0] if keys else b""
    second = keys[1] if len(keys) > 1 else b""
    fields = FRAME_FIELDS.pack(
        FRAME_MAGIC, kind, 0, len(keys), 0, payload_length, record_id, first, second
    )
    return fields + placed_checksum(segment_id, offset, fields)


def placed_checksum(segment_id: bytes, offset: int, fields: bytes) -> bytes:
    """The checksum of the fields of a header that stands at this place of this segment."""
    return blake3(FRAME_PLACED.pack(segment_id, offset, fields)).digest(CHECKSUM_SIZE)


def header_verifies(segment_id: bytes, offset: int, header: bytes) -> bool:
    """Whether the 56 bytes are the header of a frame at this place of this segment."""
    fields = header[:FRAME_FIELDS_SIZE]
    checksum = placed_checksum(segment_id, offset, fields)
    return header[:4] == FRAME_MAGIC and checksum == header[FRAME_FIELDS_SIZE:]


def record_id_of(payload: bytes) -> bytes:
    """The name of a record: what its payload digests to."""
    return blake3(payload).digest(ID_SIZE)


# --- payloads -------------------------------------------------------------------------------------


class Result(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An address with its outcome.

    Attributes:
        key: the value key, 32 bytes.
        lineage: the lineage key, or None where there is none or it equals ``key``.
        app: name of the app.
        code: digest of its code.
        version: version given by the user.
        names: names of the parameters, in order.
        leaves: identity of each argument, aligned with ``names``.
        parents: (own key, record id) of each task whose future was an argument.
        codec: how ``value`` is encoded; with ``SPILLED`` set, the data is the first part.
        value: the encoded data, if it is small.
        blobs: (digest, size) of each part that is a file of its own.
        began: start in seconds since the epoch.
        seconds: duration.
        tries: attempts that it took.
        worker: what ran it.
        parts: with ``LAID_OUT`` set, for each part its size before compression (0: it is not
            compressed) and its bytes (none: it is the next blob).  Without it, the parts are the
            blobs.
        tid: number of the task in its run; -1 if there was none.
        outline: paths and short values inside arguments whose leaf is a digest, for explanations;
            see :mod:`parsl_ckpt.identity.outline`.
    """

    key: bytes
    lineage: bytes | None = None
    app: str = ""
    code: bytes = b""
    version: str = ""
    names: tuple[str, ...] = ()
    leaves: tuple[bytes, ...] = ()
    parents: tuple[tuple[bytes, bytes], ...] = ()
    codec: int = 0
    value: bytes = b""
    blobs: tuple[tuple[bytes, int], ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    tries: int = 1
    worker: str = ""
    parts: tuple[tuple[int, bytes], ...] = ()
    tid: int = -1
    outline: bytes = b""


class Failure(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A task that failed, kept for reports and never restored; fields as those of a result."""

    key: bytes
    app: str = ""
    tid: int = -1
    error: str = ""
    traceback: bytes = b""
    lineage: bytes | None = None
    code: bytes = b""
    version: str = ""
    names: tuple[str, ...] = ()
    leaves: tuple[bytes, ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    tries: int = 1
    worker: str = ""
    outline: bytes = b""


class Alias(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Another key of a result; ``parents`` are those of the call that has this key."""

    key: bytes
    record_id: bytes
    target_key: bytes
    parents: tuple[tuple[bytes, bytes], ...] = ()


class Note(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Something learnt late about a record, such as the digest of its value."""

    record_id: bytes
    name: str
    leaf: bytes


class Code(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a code digest was made of: a digest by name, and a source text by digest."""

    digest: bytes
    app: str = ""
    leaves: dict[str, bytes] = {}
    sources: dict[bytes, str] = {}


class Run(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event in the life of a run: its beginning with the provenance, its end."""

    event: str
    data: dict[str, Any] = {}


class Tombstone(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Records that are removed: never found again, whatever segment holds them."""

    record_ids: tuple[bytes, ...]
    reason: str = ""


class Pin(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A name given to a result, in a set of such names.  The newest of a set and name counts.

    Attributes:
        set: the set, as bytes of any kind: UTF-8 with surrogates passed, where it was text.
        name: the name, likewise.
        key: the value key of the result.
        record_id: the result.
        at: what tells which is newest: nanoseconds since the epoch, or one more than that of the
            pin that this one takes the place of.
        lineage: the lineage key by which the result was found, or None.
    """

    set: bytes
    name: bytes
    key: bytes
    record_id: bytes
    at: int
    lineage: bytes | None = None


class Unkept(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call that came to a value which was not kept; what was computed from it names this record.

    Fields as those of a result; ``size`` is how many bytes the value would have taken, 0 if that is
    not known.
    """

    key: bytes
    lineage: bytes | None = None
    app: str = ""
    code: bytes = b""
    parents: tuple[tuple[bytes, bytes], ...] = ()
    began: float = 0.0
    seconds: float = 0.0
    tries: int = 1
    worker: str = ""
    tid: int = -1
    size: int = 0


class SessionState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One state of a session.  Names are UTF-8 with surrogates passed.

    Attributes:
        module, qualname: of its class.
        name: what the user calls it, if there are several of the class; else empty.
        schema: its fields and their types, as JSON.
        data: the encoded fields.
        parts: the buffers beside the data: the number of a blob of the record, or bytes.
    """

    module: bytes
    qualname: bytes
    name: bytes
    schema: bytes
    data: bytes
    parts: tuple[int | bytes, ...] = ()


class Session(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row of a restart session: how far a loop has come, and what it needs to go on.

    Attributes:
        key: what the rows of a session are indexed under, 32 bytes.
        commit: name of the row, 16 random bytes.
        parent: the row that it goes on from; empty for the first.
        at: nanoseconds since the epoch; greater than that of every row known to its writer.
        count: steps that are done.
        labels: the encoded labels.
        metadata: (name, encoded value, parts) of each.
        states: the states.
        blobs: (digest, size) of what the parts name.
        rank, world_size: who wrote it, of how many.
        attempt, launch: what the rows have in common that ranks wrote in one go.
        level: what was asked to be saved.
    """

    key: bytes
    commit: bytes
    parent: bytes = b""
    at: int = 0
    count: int = 0
    labels: bytes = b""
    metadata: tuple[tuple[bytes, bytes, tuple[int | bytes, ...]], ...] = ()
    states: tuple[SessionState, ...] = ()
    blobs: tuple[tuple[bytes, int], ...] = ()
    rank: int = 0
    world_size: int = 1
    attempt: int = 0
    launch: str = ""
    level: int = 2


Record = Union[  # noqa: UP007 (runtime, 3.10)
    Result, Failure, Alias, Note, Code, Run, Tombstone, Pin, Unkept, Session
]

KIND_OF: dict[type, int] = {
    Result: RESULT, Failure: FAILURE, Alias: ALIAS, Note: NOTE, Code: CODE, Run: RUN,
    Tombstone: TOMBSTONE, Pin: PIN, Unkept: UNKEPT, Session: SESSION,
}  # fmt: skip
_DECODERS: dict[int, Any] = {
    kind: msgspec.msgpack.Decoder(struct).decode for struct, kind in KIND_OF.items()
}
decode_result = msgspec.msgpack.Decoder(Result).decode
_encode = msgspec.msgpack.Encoder(enc_hook=repr).encode


def encode_record(record: Record) -> bytes:
    """The payload of a record.

    Text that is no valid Unicode (lone surrogates, as in undecodable file names) is escaped, and
    integers that MessagePack has no room for become text: they stand in names and messages, never
    in values or keys.
    """
    try:
        return _encode(record)
    except (UnicodeEncodeError, OverflowError):
        fields = {name: _escaped(getattr(record, name)) for name in record.__struct_fields__}
        return _encode(type(record)(**fields))


def decode_record(kind: int, payload: bytes | memoryview) -> Record | None:
    """The record in a payload; None for a kind that this version does not know.

    Raises:
        FormatError: the payload is not a record of that kind.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        return None
    try:
        return decoder(payload)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"A {KIND_NAMES[kind]} record does not decode: {error}.") from None


def keys_of(record: Record) -> tuple[bytes, ...]:
    """What a record is indexed under: at most two keys, of which the first 8 bytes count."""
    if isinstance(record, (Result, Failure, Unkept)):
        if not record.key:
            return ()  # the failure of a task that has no address
        if record.lineage is None or record.lineage == record.key:
            return (record.key,)
        return (record.key, record.lineage)
    if isinstance(record, Alias):
        return (record.key,)
    if isinstance(record, Note):
        return (record.record_id,)
    if isinstance(record, Session):
        return (record.key,)
    if isinstance(record, Code):
        return (record.digest,)
    if isinstance(record, Run):
        return (RUN_KEY,)
    if isinstance(record, Pin):
        return (set_key(record.set), name_key(record.set, record.name))
    return ()


def set_key(name: bytes) -> bytes:
    """What all pins of a set are indexed under."""
    return blake3(b"parsl_ckpt set " + name).digest()


def name_key(of: bytes, name: bytes) -> bytes:
    """What the pins of one name in a set are indexed under."""
    return blake3(b"parsl_ckpt pin " + blake3(of).digest() + name).digest()


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        return str(value)
    if isinstance(value, (tuple, list)):
        return type(value)(_escaped(item) for item in value)
    if isinstance(value, dict):
        return {_escaped(k): _escaped(v) for k, v in value.items()}
    return value
