"""Values as bytes and back: the plain codec, then pickle, then dill.

Rule of this file: pure and stateless, so that worker processes use it too.  A value is encoded
completely before anything is written.  Which codec was used is recorded beside the bytes.

===== ======================================================================================
plain no pickle: scalars, containers, dates, paths, enum members, dataclasses, numpy arrays
pickle protocol 5, large buffers out of band
dill  for what pickle refuses: lambdas, closures, local classes
===== ======================================================================================

Classes and functions of ``__main__`` are named, never copied, wherever a name finds them: what
comes home is then an instance of the class that the script knows.
"""

from __future__ import annotations

import io
import pickle as _pickle
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from parsl_ckpt.errors import FormatError, ParslCkptError, UnserializableValueError

from .plain import _SCALARS, _TAG_U32, BUFFER_MINIMUM, NotPlain, _find, encode_plain
from .unplain import decode_plain

PLAIN, PICKLE, DILL = 1, 2, 3
CODEC_NAMES = {PLAIN: "plain", PICKLE: "pickle", DILL: "dill"}
_UNBOUNDED = 5_000_000  # nodes; bounds what sharing tuples can blow up to, where pickle is refused


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A value as bytes.

    Attributes:
        codec: which codec made it.
        data: the encoded value.
        buffers: large payloads beside it; views of the value's own memory where that is possible,
            so the value must not change until they are written.
    """

    codec: int
    data: bytes
    buffers: Sequence[Any] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def __reduce__(self) -> tuple[Any, ...]:
        # So that an encoding made in a worker travels, out of band where the transport can do that.
        buffers = [_pickle.PickleBuffer(buffer) for buffer in self.buffers]
        return Encoded, (self.codec, self.data, buffers)


def encode(value: Any, pickle: bool = True, *, foreign_main: bool = False) -> Encoded:
    """Encode a value completely.

    Args:
        value: what to encode.
        pickle: pickle and dill may be used for what the plain codec does not carry.
        foreign_main: this process's ``__main__`` is not the user's script (a worker process); its
            classes and functions are named without being looked up.

    Returns:
        The bytes and the name of the codec.

    Raises:
        UnserializableValueError: no codec that may be used carries the value.

    >>> decode(*astuple(encode({"a": (1, 2.5)})))
    {'a': (1, 2.5)}
    """
    kind = type(value)
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return Encoded(PLAIN, scalar(value))
    if kind is bytes and len(value) < BUFFER_MINIMUM:
        return Encoded(PLAIN, _TAG_U32.pack(b"b", len(value)) + value)
    try:
        if pickle:
            data, buffers = encode_plain(value, foreign_main=foreign_main)
        else:
            data, buffers = encode_plain(value, limit=_UNBOUNDED, foreign_main=foreign_main)
        return Encoded(PLAIN, data, buffers)
    except NotPlain as reason:
        if not pickle:
            raise UnserializableValueError(
                f"The value holds {reason}, which cannot be recorded without pickle.",
                hint="Return plain values, or allow pickle.",
                type=_type_name(value),
            ) from None
    except RecursionError:
        raise _unserializable(value, "it is nested too deep") from None
    return _encode_pickle(value, foreign_main)


def decode(
    codec: int,
    data: bytes,
    buffers: Sequence[Any] = (),
    pickle: bool = True,
    stand_ins: bool = False,
) -> Any:
    """The value that was encoded.

    Args:
        codec: which codec made the data.
        data: the encoded value.
        buffers: the buffers beside it; arrays use writable ones as their memory.
        pickle: pickle and dill may be used, and modules imported to find classes.
        stand_ins: plain values of classes that are not there any more come as their fields.

    Raises:
        FormatError: the bytes do not decode, or may not be decoded.
    """
    if codec == PLAIN:
        return decode_plain(data, buffers, imports=pickle, stand_ins=stand_ins)
    if codec not in CODEC_NAMES:
        raise FormatError(f"There is no codec {codec}.", hint="Use a later version of parsl_ckpt.")
    if not pickle:
        raise FormatError(
            "The value was pickled, and pickle is not allowed here.",
            hint="Open the store with pickle=True if you trust it.",
        )
    try:
        if codec == PICKLE:
            return _pickle.loads(data, buffers=buffers)
        import dill  # type: ignore[import-untyped, unused-ignore]

        return dill.Unpickler(io.BytesIO(data), buffers=buffers).load()
    except Exception as error:
        raise FormatError(
            f"The value does not unpickle: {type(error).__name__}: {error}.",
            hint="The record is left aside and what it held is computed again.",
        ) from error


def astuple(encoded: Encoded) -> tuple[int, bytes, Sequence[Any]]:
    """The three arguments of :func:`decode`."""
    return encoded.codec, encoded.data, encoded.buffers


# --- pickle and dill ------------------------------------------------------------------------------


def _encode_pickle(value: Any, foreign_main: bool) -> Encoded:
    buffers: list[Any] = []
    try:
        if foreign_main:
            file = io.BytesIO()
            _NamingPickler(file, 5, buffer_callback=_collector(buffers)).dump(value)
            return Encoded(PICKLE, file.getvalue(), buffers)
        return Encoded(
            PICKLE, _pickle.dumps(value, 5, buffer_callback=_collector(buffers)), buffers
        )
    except Exception as error:
        reason = error
    try:
        return _encode_dill(value, foreign_main)
    except Exception as error:
        detail = error if isinstance(error, (TypeError, _pickle.PicklingError)) else reason
        raise _unserializable(value, f"{type(detail).__name__}: {detail}") from error


_CODE = (
    "argcount", "posonlyargcount", "kwonlyargcount", "nlocals", "stacksize", "flags", "code",
    "consts", "names", "varnames", "filename", "name", "qualname", "firstlineno", "linetable",
    "exceptiontable", "freevars", "cellvars",
)  # fmt: skip
"""What a code object is made with since Python 3.11, in order."""


def _encode_dill(value: Any, foreign_main: bool) -> Encoded:
    import dill

    class Pickler(dill.Pickler):  # type: ignore[misc]
        """dill copies functions of ``__main__``; here they are named, as pickle does."""

        def reducer_override(self, value: Any) -> Any:
            if type(value) is types.CodeType and sys.version_info >= (3, 15):
                # dill 0.4 asks for it, and Python 3.15 has it no more.
                return types.CodeType, tuple([getattr(value, f"co_{name}") for name in _CODE])
            return _by_name(value, looked_up=not foreign_main)

    buffers: list[Any] = []
    file = io.BytesIO()
    Pickler(file, 5, byref=True, buffer_callback=_collector(buffers)).dump(value)
    return Encoded(DILL, file.getvalue(), buffers)


def _collector(buffers: list[Any]) -> Callable[[_pickle.PickleBuffer], bool]:
    def collect(buffer: _pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous: stays in the stream
        if raw.nbytes < BUFFER_MINIMUM:
            return True
        buffers.append(raw)
        return False

    return collect


class _NamingPickler(_pickle.Pickler):
    """Names what belongs to a ``__main__`` that is not here."""

    def reducer_override(self, value: Any) -> Any:
        return _by_name(value, looked_up=False)


def _by_name(value: Any, *, looked_up: bool) -> Any:
    if (
        isinstance(value, (type, types.FunctionType))
        and value.__module__ == "__main__"
        and "<" not in value.__qualname__
    ):
        found = _find(sys.modules.get("__main__"), value.__qualname__)
        if found is value or (found is None and not looked_up):
            return _from_main, (value.__qualname__,)
    return NotImplemented


def _from_main(qualname: str) -> Any:
    """What a name means in the script that runs now."""
    found = _find(sys.modules.get("__main__"), qualname)
    if found is None:
        raise AttributeError(f"__main__ has no {qualname}")
    return found


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _unserializable(value: Any, reason: str) -> ParslCkptError:
    return UnserializableValueError(
        f"A value of type {_type_name(value)} cannot be recorded: {reason}.",
        hint="Return something that pickles, or give the type a __reduce__.",
        type=_type_name(value),
    )
