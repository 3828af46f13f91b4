"""Where the standard streams of a command go: what users write, and the files that this means.

Rule of this file: a stream is a path, a pair (path, mode of ``open``), or a ``File``; the forms and
their meanings are Parsl's.  A path alone is appended to, a ``File`` is written anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from parsl_ckpt.errors import BadStdStreamFile

__all__ = ["AUTO_LOGNAME", "STREAMS", "LogNames", "no_log_name", "open_stream", "path_of"]

STREAMS = ("stdout", "stderr")

_MODES = frozenset({"w", "a", "x"})


class _Auto:
    """The one value of its class."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "AUTO_LOGNAME"

    def __repr__(self) -> str:
        return "AUTO_LOGNAME"


AUTO_LOGNAME = _Auto()
"""As ``stdout=`` or ``stderr=``: a file of its own, named by the run; see ``std_autopath``."""


def place_of(app: str, stream: str, spec: Any) -> tuple[str, str]:
    """Path and mode of what was asked for.

    Args:
        app, stream: whose it is, for the error.
        spec: a path, a pair, or a ``File``.

    Raises:
        BadStdStreamFile: it is none of these.
    """
    mode = "w" if hasattr(type(spec), "filepath") else "a"  # a File
    where = spec
    if isinstance(spec, tuple):
        if len(spec) != 2:
            _complain(app, stream, spec, "is no pair of path and mode", "Write (path, 'w').")
        where, mode = spec
        kind = mode.replace("+", "").replace("b", "").replace("t", "") if type(mode) is str else ""
        if kind not in _MODES:
            _complain(app, stream, spec, f"has the mode {mode!r}", "Use 'w', 'a' or 'x'.")
        mode = kind
    try:
        path = os.fsdecode(where)
    except Exception as error:  # not a path; or a File that is not on this machine
        _complain(app, stream, spec, f"is no path ({error})", "Give a path, or (path, mode).")
    if not path or "\0" in path:
        _complain(app, stream, spec, "names no file", "Give a path, or (path, mode).")
    return path, mode


def path_of(spec: Any) -> str:
    """The path of a stream, or the URL of a file elsewhere; empty if it has none."""
    try:
        return place_of("", "", spec)[0]
    except BadStdStreamFile:
        return str(getattr(spec, "url", ""))


class LogNames:
    """Names the files of streams that calls leave to the run.

    Args:
        directory: of the run; None if it is not on this machine.
        custom: ``custom(task_record, stream)``, asked instead; it is the user's.
    """

    def __init__(
        self, directory: str | None, custom: Callable[[Mapping[str, Any], str], Any] | None
    ) -> None:
        self._directory = directory
        self._custom = custom

    def __call__(self, record: Mapping[str, Any], stream: str) -> Any:
        """Where a stream of a call goes.

        Args:
            record: of the call, by Parsl's names: ``id``, ``func_name``, ``func``, ``args``,
                ``kwargs``, ``memoize``, ``try_id``, ``fail_count``.
            stream: ``"stdout"`` or ``"stderr"``.

        Raises:
            BadStdStreamFile: it cannot be told.
        """
        if self._custom is not None:
            return self._ask(self._custom, record, stream)
        if self._directory is None:
            return no_log_name(record, stream)
        tid, label = record["id"], record["kwargs"].get("label")
        name = f"{record['func_name']}" if label is None else f"{record['func_name']}_{label}"
        name = name.replace("/", "_").replace("\0", "_")
        some = f"{tid // _FILES:04}"  # a directory of millions is slow to list
        return os.path.join(self._directory, "task_logs", some, f"task_{tid:04}_{name}.{stream}")

    def _ask(self, custom: Callable[..., Any], record: Mapping[str, Any], stream: str) -> Any:
        try:
            spec = custom(record, stream)
        except Exception as error:
            app = record["func_name"]
            raise BadStdStreamFile(
                f"Config.std_autopath failed to name the {stream} of app {app!r}: "
                f"{type(error).__name__}: {error}.",
                hint="Mend the function, or leave it out.",
                app=app,
                stream=stream,
                path=None,
            ) from error
        if not path_of(spec):
            place_of(record["func_name"], stream, spec)  # which says what is wrong
        return spec


_FILES = 10_000


def no_log_name(record: Mapping[str, Any], stream: str) -> NoReturn:
    """For runs that have no directory on this machine.

    Raises:
        BadStdStreamFile: always.
    """
    app = record["func_name"]
    raise BadStdStreamFile(
        f"The {stream} of app {app!r} is AUTO_LOGNAME, and the run has no directory on this "
        "machine.",
        hint="Give a path, or Config(std_autopath=...).",
        app=app,
        stream=stream,
        path=None,
    )


def open_stream(app: str, stream: str, spec: Any) -> int:
    """Open the file of a stream, making the directories above it; a descriptor.

    Raises:
        BadStdStreamFile: it cannot be opened; the operating system's error is the cause.
    """
    path, mode = place_of(app, stream, spec)
    flags = {"a": os.O_APPEND, "w": os.O_TRUNC, "x": os.O_EXCL}[mode]
    try:
        above = os.path.dirname(path)
        if above:
            os.makedirs(above, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o666)
    except OSError as error:
        raise BadStdStreamFile(
            f"The {stream} of app {app!r} cannot go to {path!r}: {error.strerror or error}.",
            hint="Give a path that can be written where the app runs.",
            app=app,
            stream=stream,
            path=path,
        ) from error


def _complain(app: str, stream: str, spec: Any, what: str, hint: str) -> NoReturn:
    raise BadStdStreamFile(
        f"The {stream} of app {app!r}, {spec!r}, {what}.",
        hint=hint,
        app=app,
        stream=stream,
        path=spec,
    )
