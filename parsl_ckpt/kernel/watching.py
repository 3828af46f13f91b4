"""Watching an app while it runs: arguments that it changes, inputs that are no arguments.

    Observer(fn) ── in the worker: digest arguments ─ fn ─ digest again ──► Observed(value, remarks)
                     └─ audit hook, os.environ: what is read meanwhile

Rule of this file: the observer runs where the app runs and changes nothing about it; what it has
seen travels home beside the value.  It sees what Python sees: files, sockets and processes that
Python opens, environment variables that Python code reads; not what a library in C does by itself.

*Guarantees.*  What another thread does is not laid to a task.  A task that fails is reported as it
failed.

*Assumptions.*  An audit hook stays for the life of a process; it costs one test per event in
threads that watch nothing.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from parsl_ckpt.identity.files import content_digest
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.signatures import signature

UNDECLARED = "undeclared"  # the note that keeps what was read


class Input(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Something that an app read and that is no argument of it.

    Attributes:
        kind: ``"file"``, ``"environment"``, ``"socket"`` or ``"process"``.
        name: path, variable, address or command.
        digest: of the content, of a file that could be read again.
    """

    kind: str
    name: str
    digest: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Remarks(NamedTuple):
    """What was seen while a task ran.

    Attributes:
        changed: names of the parameters whose arguments are not what they were.
        inputs: what was read and is no argument.
    """

    changed: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()


class Observed(NamedTuple):
    """The value of a task, and what was seen while it ran."""

    value: Any
    remarks: Remarks


class Observer:
    """A function that is watched; gives :class:`Observed`.

    Args:
        fn: the function.
        names: of its positional parameters, in order.
        mutation: digest the arguments before and after.
        inputs: note what is read.
    """

    def __init__(
        self, fn: Callable[..., Any], names: Sequence[str], mutation: bool, inputs: bool
    ) -> None:
        functools.update_wrapper(self, fn)
        self._fn = fn
        self._names = tuple(names)
        self._mutation = mutation
        self._inputs = inputs

    def __call__(self, *args: Any, **kwargs: Any) -> Observed:
        before = self._leaves(args, kwargs)
        seen: dict[tuple[str, str], None] = {}
        if self._inputs:
            with _watched(seen):
                value = self._fn(*args, **kwargs)
        else:
            value = self._fn(*args, **kwargs)
        after = self._leaves(args, kwargs)
        changed = tuple(name for name, known in before.items() if after.get(name) != known)
        return Observed(value, Remarks(changed, _inputs(seen, args, kwargs)))

    def __reduce__(self) -> Any:
        return Observer, (self._fn, self._names, self._mutation, self._inputs)

    def _leaves(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, bytes]:
        if not self._mutation:
            return {}
        names = (*self._names, *(f"args[{n}]" for n in range(len(self._names), len(args))))
        leaves = {}
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            try:
                leaves[name] = leaf(value)
            except Exception:  # one that does not count in the address
                continue
        return leaves


def positional(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the positional parameters of a function, in order; empty if they cannot be told."""
    try:
        parameters = signature(fn).parameters.values()
    except (ValueError, TypeError):
        return ()
    return tuple(
        p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


# --- what is read ---------------------------------------------------------------------------------


class _Watch(threading.local):
    """What the task of this thread has read; None where nothing is watched."""

    seen: dict[tuple[str, str], None] | None = None


_watch = _Watch()
_lock = threading.Lock()
_installed = False


class _watched:
    """A context in which this thread's reading is noted."""

    def __init__(self, seen: dict[tuple[str, str], None]) -> None:
        self._seen = seen

    def __enter__(self) -> None:
        _install()
        _watch.seen = self._seen

    def __exit__(self, *exc: object) -> None:
        _watch.seen = None


def _install() -> None:
    """See what Python does from now on; once in a process, because a hook cannot be taken away."""
    global _installed
    with _lock:
        if _installed:
            return
        _installed = True
        sys.addaudithook(_on_event)
        environment: Any = type(os.environ)
        real = environment.__getitem__

        @functools.wraps(real)
        def getitem(self: Any, key: Any) -> Any:
            seen = _watch.seen
            if seen is not None and self is os.environ:
                seen["environment", str(key)] = None
            return real(self, key)

        environment.__getitem__ = getitem


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    seen = _watch.seen
    if seen is None:
        return
    if event == "open":
        path, mode, flags = args
        if _reads(mode, flags) and isinstance(path, (str, bytes, os.PathLike)):
            seen["file", os.path.abspath(os.fsdecode(path))] = None
    elif event == "socket.connect":
        seen["socket", str(args[1])] = None
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.exec"):
        command = args[1] if event == "subprocess.Popen" else args[0]
        words = [command] if isinstance(command, (str, bytes, os.PathLike)) else list(command)
        seen["process", " ".join(os.fsdecode(word) for word in words)] = None


def _reads(mode: Any, flags: Any) -> bool:
    if isinstance(mode, str):
        return "r" in mode or "+" in mode
    return isinstance(flags, int) and flags & os.O_ACCMODE != os.O_WRONLY


def _inputs(
    seen: Iterable[tuple[str, str]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Input, ...]:
    """What of it is no argument, and neither Python's own nor installed."""
    if not seen:
        return ()
    declared = set(_paths((*args, *kwargs.values())))
    code = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    code |= {getattr(module, "__cached__", None) for module in list(sys.modules.values())}
    inputs = []
    for kind, name in seen:
        if kind != "file":
            inputs.append(Input(kind, name))
        elif name not in declared and name not in code and not name.startswith(_own()):
            digest = b""
            if os.path.isfile(name):  # it may be gone, or no regular file
                try:
                    digest = content_digest(name)
                except Exception:
                    digest = b""
            inputs.append(Input(kind, name, digest))
    return tuple(sorted(inputs, key=lambda one: (one.kind, one.name)))


def _paths(values: Iterable[Any]) -> Iterable[str]:
    for value in values:
        if isinstance(value, (str, bytes, os.PathLike)):
            try:
                yield os.path.abspath(os.fsdecode(value))
            except (TypeError, ValueError):
                continue
        elif isinstance(value, Mapping):
            yield from _paths(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            yield from _paths(value)


@functools.lru_cache(maxsize=1)
def _own() -> tuple[str, ...]:
    """Where Python and what is installed are: code counts by the address already."""
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    places |= {site.getusersitepackages(), *site.getsitepackages()}
    inside = {place.rstrip(os.sep) + os.sep for place in places if place and place != os.sep}
    return (*inside, "/proc/", "/sys/", "/dev/")


# --- here -----------------------------------------------------------------------------------------


def encode(inputs: Sequence[Input]) -> bytes:
    """A note of what was read."""
    return msgspec.msgpack.encode(list(inputs))


def decode(note: bytes) -> list[Input]:
    """What was read, from a note; empty if it cannot be told."""
    try:
        return msgspec.msgpack.decode(note, type=list[Input])
    except msgspec.MsgspecError:
        return []


def unchanged(inputs: Iterable[Input]) -> bool:
    """Whether the files that were read are what they were."""
    for one in inputs:
        if one.kind == "file":
            try:
                if not one.digest or content_digest(one.name) != one.digest:
                    return False
            except Exception:
                return False
    return True
