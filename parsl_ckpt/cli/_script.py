"""A script as what this process runs: read, made ``__main__``, executed, its end told apart.

Rule of this file: the process is as it was afterwards.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from parsl_ckpt.errors import ParslCkptError


class ScriptError(ParslCkptError):
    """The script of ``parsl-ckpt plan`` cannot be read."""


class Enough(BaseException):
    """Ends the script.  No error: a script that catches all errors does not catch it."""


def compiled(script: str) -> Any:
    try:
        with open(script, "rb") as file:
            return compile(file.read(), script, "exec", dont_inherit=True)
    except OSError as error:
        raise ScriptError(
            f"{script} cannot be read: {error.strerror or error}.",
            hint="Give the path of a Python script.",
            path=script,
        ) from error
    except (SyntaxError, ValueError) as error:
        raise ScriptError(
            f"{script} is no Python script: {error}.", hint="Correct it.", path=script
        ) from error


@contextlib.contextmanager
def as_main(script: str, arguments: Sequence[str]) -> Iterator[None]:
    """While a script is what this process runs."""
    main = ModuleType("__main__")
    main.__file__ = script
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    before = sys.modules["__main__"], sys.argv, sys.path[:]
    hook = threading.excepthook
    directory = os.getcwd()
    sys.modules["__main__"] = main
    sys.argv = [script, *arguments]
    sys.path[:0] = [os.path.dirname(os.path.abspath(script))]

    def quiet(failed: threading.ExceptHookArgs) -> None:
        if not issubclass(failed.exc_type, Enough):  # which ends a thread, and is no failure of it
            hook(failed)

    threading.excepthook = quiet
    try:
        yield
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = before
        threading.excepthook = hook
        os.chdir(directory)


def executed(code: Any, script: str) -> int:
    """Run a script; its exit status."""
    try:
        exec(code, sys.modules["__main__"].__dict__)
    except Enough:
        return 0
    except SystemExit as end:
        return _status(end)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        _print(error, script)
        return 1
    return 0


def _status(end: SystemExit) -> int:
    """The exit status that the script has asked for."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _print(error: BaseException, script: str) -> None:
    """Print what a script has raised, from its own lines on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != script:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)
