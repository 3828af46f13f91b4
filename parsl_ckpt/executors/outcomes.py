"""How the outcome of a call travels home: packed there, unpacked here, side by side.

Rule of this file: a task that succeeded is reported as failed only if its value cannot travel at
all.  A value that is wanted encoded (for the checkpoint) is encoded there, once, and decoded here
from the same bytes; only where the encoding would make new classes of local ones (dill) does the
value travel beside it.
"""

from __future__ import annotations

import io
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from parsl_ckpt.checkpoint import codec
from parsl_ckpt.errors import ParslCkptError, ResultTransportError
from parsl_ckpt.executors import wire
from parsl_ckpt.executors.failures import pack_error, unpack_error
from parsl_ckpt.executors.pickling import BUFFERS, PLAIN_TYPES, ResultPickler, collector

__all__ = ["Packed", "execute", "pack_failure", "pack_value", "unpack"]


class Packed(NamedTuple):
    """The outcome of a call as bytes.

    Attributes:
        kind: of the frame that carries it: VALUE, ENCODED, BOTH, ERROR, UNSENT.
        flags: STAND_IN for an error that does not pickle.
        codec: of an encoded value.
        data: the pickle or the encoding.
        buffers: large payloads beside it.
    """

    kind: int
    flags: int
    codec: int
    data: bytes
    buffers: Sequence[Any] = ()


def execute(load: Callable[[], tuple[Any, Any, Any]], encode: bool, timer: Any) -> Any:
    """Load a call, run it, pack its outcome.

    Args:
        load: gives function, arguments, keyword arguments; what it raises is the outcome too.
        encode: the value is wanted encoded.
        timer: a clock; the time between its readings is how long the function ran.

    Returns:
        The packed outcome, the time at which the function was begun, and the seconds.
    """
    try:
        fn, args, kwargs = load()
    except BaseException as exc:
        return _not_loaded(exc), time.time(), 0.0
    # After loading, which may import much: sessions of a task are dropped by when it ended.
    began, start = time.time(), timer()
    try:
        value = fn(*args, **kwargs)
    except BaseException as exc:
        seconds = timer() - start
        _flush()
        own = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
        return pack_failure(own), began, seconds
    seconds = timer() - start
    _flush()
    return pack_value(value, encode), began, seconds


def _flush() -> None:
    """What a task printed is seen when it is done, and not lost when its worker is killed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # closed, or None
            continue


def pack_value(value: Any, encode: bool) -> Packed:
    """Pack the value of a task."""
    packed = _encoded(value) if encode else None
    if packed is not None:
        return packed
    try:
        return Packed(wire.VALUE, 0, 0, *_pickle(value))
    except BaseException as exc:  # user code runs in there
        kind = type(value)
        text = f"a {kind.__module__}.{kind.__qualname__} ({type(exc).__name__}: {exc})"
        return Packed(wire.UNSENT, 0, 0, text.encode("utf-8", "replace"))


def _encoded(value: Any) -> Packed | None:
    """Pack a value as its encoding; None if it has none (the kernel announces that)."""
    try:
        encoded = codec.encode(value)
    except Exception:
        return None
    alone = len(encoded.buffers) <= BUFFERS
    if encoded.codec == codec.DILL or not alone:
        try:
            return Packed(wire.BOTH, 0, 0, *_pickle((value, encoded)))
        except Exception:
            if not alone:
                return None
    return Packed(wire.ENCODED, 0, encoded.codec, encoded.data, _views(encoded.buffers))


def pack_failure(error: BaseException) -> Packed:
    """Pack the exception of a task."""
    data, stand_in = pack_error(error, ResultPickler)
    return Packed(wire.ERROR, wire.STAND_IN if stand_in else 0, 0, data)


def _not_loaded(exc: BaseException) -> Packed:
    text = f"{type(exc).__name__}: {exc}"
    return Packed(wire.UNLOADED, 0, 0, text.encode("utf-8", "replace"))


def _pickle(value: Any) -> tuple[bytes, Sequence[Any]]:
    if type(value) in PLAIN_TYPES:
        return pickle.dumps(value, 5), ()
    buffers: list[memoryview] = []
    try:
        return pickle.dumps(value, 5, buffer_callback=collector(buffers)), buffers
    except Exception:
        buffers.clear()
    file = io.BytesIO()
    ResultPickler(file, 5, collector(buffers)).dump(value)
    return file.getvalue(), buffers


def _views(buffers: Sequence[Any]) -> list[memoryview]:
    return [pickle.PickleBuffer(buffer).raw() for buffer in buffers]


def unpack(
    kind: int, flags: int, codec_number: int, data: Any, buffers: Sequence[Any], app: str
) -> tuple[Any, BaseException | None, Any]:
    """Value, error and encoding of a packed outcome.

    Arrays of the value use the memory of the buffers, which the encoding shares: whoever gets both
    writes (or copies) the encoding before giving the value away.
    """
    try:
        if kind == wire.VALUE:
            return pickle.loads(data, buffers=buffers), None, None
        if kind == wire.ENCODED:
            if type(data) is not bytes:
                data = bytes(data)
            value = codec.decode(codec_number, data, buffers)
            return value, None, codec.Encoded(codec_number, data, buffers)
        if kind == wire.BOTH:
            value, encoded = pickle.loads(data, buffers=buffers)
            return value, None, encoded
    except Exception as exc:
        return None, _unloadable(app, exc), None
    if kind == wire.ERROR:
        return None, unpack_error(data, bool(flags & wire.STAND_IN), app), None
    text = str(bytes(data), "utf-8", "replace")
    return None, (_unsent if kind == wire.UNSENT else _unreceived)(app, text), None


def _unloadable(app: str, exc: BaseException) -> ParslCkptError:
    why = exc.__cause__ or exc  # not what the codec says, which speaks of records
    error = ResultTransportError(
        f"App {app!r} succeeded, and its value cannot be loaded here: {type(why).__name__}: {why}.",
        hint="Return a value that unpickles, of classes that can be imported here; or run the app "
        "on threads.",
        app=app,
    )
    error.__cause__ = exc
    return error


def _unsent(app: str, text: str) -> ParslCkptError:
    return ResultTransportError(
        f"App {app!r} succeeded, and its value cannot leave the worker process: {text}.",
        hint="Return something that pickles, or run the app on threads.",
        app=app,
    )


def _unreceived(app: str, text: str) -> ParslCkptError:
    from parsl_ckpt.errors import CallTransportError

    return CallTransportError(
        f"The call of app {app!r} cannot be loaded in the worker process: {text.rstrip('.')}.",
        hint="Modules that the app needs must be importable there: check PYTHONPATH.",
        app=app,
        parameter="",
    )
