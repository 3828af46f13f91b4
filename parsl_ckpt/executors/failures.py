"""Exceptions as they travel between processes: with traceback, cause, context and notes.

Rule of this file: an exception that comes home is the one that was raised, as far as pickle allows.
Its constructor is not called when it is one of Python code (it may want other arguments than
``args``): the instance is made as ``__new__`` makes it and its state is put back.  What does not
travel even so arrives as :class:`~parsl_ckpt.errors.RemoteError`, with type, message and traceback.

Tracebacks are flat lists of frames on the way, so that a deep recursion needs no deep pickle, and
become real ones at home through tblib.
"""

from __future__ import annotations

import io
import pickle
import traceback
from types import FunctionType, SimpleNamespace, TracebackType
from typing import Any

from parsl_ckpt.errors import RemoteError

__all__ = ["pack_error", "reduce_exception", "reduce_traceback", "unpack_error"]


def reduce_exception(error: BaseException) -> tuple[Any, ...]:
    """The reduction of an exception, for a pickler's ``reducer_override``."""
    kind = type(error)
    reduced = error.__reduce_ex__(4)
    if not isinstance(reduced, tuple):
        raise pickle.PicklingError(f"{kind.__name__}.__reduce__ does not return a tuple")
    func, args, state = (*reduced, None)[:3]
    if func is kind and _is_python(kind.__init__) and not _is_python(kind.__reduce__):
        func, args = _without_constructor, (kind, args)
    links = (error.__cause__, error.__context__, error.__suppress_context__, error.__traceback__)
    return func, args, (state, links), None, None, _restore


def reduce_traceback(tb: TracebackType) -> tuple[Any, ...]:
    """The reduction of a traceback: its frames, outermost first."""
    frames = []
    step: TracebackType | None = tb
    while step is not None:
        code = step.tb_frame.f_code
        module = step.tb_frame.f_globals.get("__name__")
        frames.append((code.co_filename, code.co_name, step.tb_lineno, module))
        step = step.tb_next
    return _traceback, (frames,)


def _is_python(method: Any) -> bool:
    return isinstance(method, FunctionType)


def _without_constructor(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    error = kind.__new__(kind, *args)
    for base in kind.__mro__:
        init = base.__dict__.get("__init__")
        if init is not None and not _is_python(init):
            init(error, *args)  # the fields that live in C: errno, name, code
            break
    error.args = args
    return error


def _restore(error: BaseException, parts: tuple[Any, Any]) -> None:
    state, links = parts
    if state is not None:
        setstate = getattr(error, "__setstate__", None)
        if setstate is not None:
            setstate(state)
        else:
            error.__dict__.update(state)
    error.__cause__, error.__context__, error.__suppress_context__, error.__traceback__ = links


def _traceback(frames: list[tuple[str, str, int, str | None]]) -> TracebackType | None:
    from tblib import Traceback  # type: ignore[import-untyped, unused-ignore]

    below: Any = None
    for filename, name, line, module in reversed(frames):
        here = object.__new__(Traceback)
        here.tb_frame = SimpleNamespace(
            f_code=SimpleNamespace(co_filename=filename, co_name=name),
            f_globals={"__file__": filename, "__name__": module},
            f_locals={},
        )
        here.tb_lineno = line
        here.tb_next = below
        below = here
    made: TracebackType | None = below.as_traceback() if below is not None else None
    return made


def pack_error(error: BaseException, pickler: type[pickle.Pickler]) -> tuple[bytes, bool]:
    """An exception as bytes that are known to unpickle.

    Args:
        error: the exception.
        pickler: the pickler to use; it reduces exceptions with :func:`reduce_exception`.

    Returns:
        The bytes, and whether they hold only what is known of the exception, not itself.
    """
    try:
        data = _dumps(error, pickler)
        again = pickle.loads(data)
        if type(again) is type(error):
            return data, False
    except BaseException:  # user code runs in there
        pass
    return _dumps(_what_is_known(error), pickler), True


def unpack_error(data: Any, stand_in: bool, app: str) -> BaseException:
    """The exception that was packed, or an error that stands for it."""
    try:
        if stand_in:
            name, bases, message, text, tb = pickle.loads(data)
            return RemoteError(
                f"App {app!r} raised {name}: {message}",
                hint="The exception itself does not pickle, so this stands for it.",
                app=app,
                kind=name,
                bases=bases,
                traceback_text=text,
            ).with_traceback(tb)
        error = pickle.loads(data)
        if isinstance(error, BaseException):
            return error
        reason = f"it came home as {type(error).__name__}"
    except Exception as exc:
        reason = f"{type(exc).__name__}: {exc}"
    return RemoteError(
        f"App {app!r} failed, and its exception cannot be loaded here ({reason}).",
        hint="Define the exception's class in a module that can be imported here.",
        app=app,
        kind="",
    )


def _dumps(obj: Any, pickler: type[pickle.Pickler]) -> bytes:
    file = io.BytesIO()
    pickler(file, 5).dump(obj)
    return file.getvalue()


def _what_is_known(
    error: BaseException,
) -> tuple[str, tuple[str, ...], str, str, TracebackType | None]:
    kind = type(error)
    builtin = kind.__module__ == "builtins"
    name = kind.__qualname__ if builtin else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be shown)"
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        text = ""
    bases = tuple(base.__name__ for base in kind.__mro__[1:-1])
    return name, bases, message, text, error.__traceback__
