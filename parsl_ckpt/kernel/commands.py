"""Running the command of a bash app, where the app runs.

::

    BashRunner(fn)(arguments) ─ fn ─► command line ─ /bin/bash, in a session of its own ─► status
                                        │                 stdin: nothing to read
                                        └─ walltime over, or an error here ─► its group is killed

Rule of this file: light to import, because worker processes do.

Guarantees
    * When a call is over, its shell has ended: by itself, or with everything in its group.
    * If this process is killed, so is the group; see :mod:`~parsl_ckpt.kernel.guardian`.
    * What the command writes goes to its files as it is: no encoding is assumed.

The command line, the streams and the errors are Parsl's; see ``docs/howto/bash.rst`` for what
differs.
"""

from __future__ import annotations

import contextlib
import functools
import os
import reprlib
import select
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parsl_ckpt.errors import (
    AppBadFormatting,
    AppException,
    AppTimeout,
    BashAppNoReturn,
    BashExitFailure,
)
from parsl_ckpt.kernel.guardian import BASH, guardian
from parsl_ckpt.kernel.streams import AUTO_LOGNAME, STREAMS, open_stream, path_of, place_of
from parsl_ckpt.signatures import signature

__all__ = ["BashRunner"]

_LONG = 100_000  # bytes; an argument of a program may have 128 kB
_LONGEST = 1_000_000_000  # milliseconds that a descriptor is waited for; some systems take 31 bits
_TAIL = 600  # bytes of stderr that an error quotes


class BashRunner:
    """A function that gives a command line, as one that runs it; its value is the status, 0.

    Args:
        fn: the function.
        app: name of the app, for errors.
        stdout, stderr: where the streams go; None for where this process's go.
        walltime: seconds that the command may take; None for as long as it takes.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        app: str,
        stdout: Any = None,
        stderr: Any = None,
        walltime: float | None = None,
    ) -> None:
        functools.update_wrapper(self, fn, updated=())
        self.fn = fn
        self.app = app
        self.stdout = stdout
        self.stderr = stderr
        self.walltime = walltime

    def asked(self, stdout: Any, stderr: Any, walltime: float | None) -> BashRunner:
        """The runner of one call."""
        return BashRunner(self.fn, self.app, stdout, stderr, walltime)

    def placed(self, local: Callable[[Any], Any]) -> BashRunner:
        """The runner with the files of its streams where they are written."""
        stdout, stderr = (
            local(one) if hasattr(type(one), "filepath") else one
            for one in (self.stdout, self.stderr)
        )
        return self.asked(stdout, stderr, self.walltime)

    def __call__(self, *args: Any, **kwargs: Any) -> int:
        args, kwargs = self._with_names(args, kwargs)
        line = self._line(args, kwargs)
        code = self._run(line)
        if code != 0:
            raise BashExitFailure(
                self.app, code, hint=self._last_words(), stdout=self.stdout, stderr=self.stderr
            )
        return code

    def __reduce__(self) -> Any:
        return BashRunner, (self.fn, self.app, self.stdout, self.stderr, self.walltime)

    # --- the command line -------------------------------------------------------------------------

    def _with_names(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with the names of files where the call left them to the run."""
        kwargs = dict(kwargs)
        parameters = signature(self.fn).parameters
        places = [name for name, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
        for name in STREAMS:
            path = getattr(self, name)
            if path is None:
                continue
            place = places.index(name) if name in places else len(args)
            if kwargs.get(name) is AUTO_LOGNAME:
                kwargs[name] = path
            elif place < len(args):
                if args[place] is AUTO_LOGNAME:
                    args = (*args[:place], path, *args[place + 1 :])
            elif name in parameters and parameters[name].default is AUTO_LOGNAME:
                kwargs.setdefault(name, path)
        return args, kwargs

    def _line(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """What the function gives.

        Raises:
            AppBadFormatting: it fails to look up what it puts into the line, or the line cannot be
                one.
            BashAppNoReturn: it gives no string.
        """
        try:
            line = self.fn(*args, **kwargs)
        except (AttributeError, LookupError) as error:
            raise AppBadFormatting(
                f"The command line of bash app {self.app!r} could not be made: "
                f"{type(error).__name__}: {error}.",
                hint="Look at the names and indexes in the string that it returns.",
                app=self.app,
            ) from error
        if not isinstance(line, str):
            raise BashAppNoReturn(
                f"Bash app {self.app!r} returned {reprlib.repr(line)}, which is no command line.",
                hint="Have it return the command as a string.",
                app=self.app,
            )
        if "\0" in line:
            raise AppBadFormatting(
                f"The command line of bash app {self.app!r} has a NUL character in it.",
                hint="Write such data to a file and have the command read that.",
                app=self.app,
            )
        return line

    # --- the command ------------------------------------------------------------------------------

    def _run(self, line: str) -> int:
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            raise AppException(
                f"Bash app {self.app!r} cannot run: SIGCHLD is ignored in this process, so nobody "
                "could tell how its command ends.",
                hint="Have signal.signal(signal.SIGCHLD, signal.SIG_DFL) called before.",
                app=self.app,
            )
        with contextlib.ExitStack() as stack:
            stdout, stderr = self._streams(stack)
            pipe = self._pipe()
            script, also = _script(line, pipe, stack)
            with _default_interrupt():
                shell = subprocess.Popen(
                    [BASH, "-c", script],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=(pipe, *also),
                    start_new_session=True,
                )
        try:
            return _wait(shell, self.walltime)
        except subprocess.TimeoutExpired:
            walltime = self.walltime
            raise AppTimeout(
                f"The command of bash app {self.app!r} took longer than its walltime of "
                f"{walltime:g} s.",
                hint="Allow a longer walltime=, or give it less to do at a time.",
                app=self.app,
                walltime=walltime,
            ) from None
        finally:
            if shell.returncode is None:
                _kill(shell)
            guardian.ended(shell.pid)

    def _pipe(self) -> int:
        try:
            return guardian.pipe()
        except FileNotFoundError as error:
            raise AppException(
                f"Bash app {self.app!r} cannot run: there is no {BASH}.",
                hint="Install bash where the app runs.",
                app=self.app,
                path=BASH,
            ) from error

    def _streams(self, stack: contextlib.ExitStack) -> tuple[int | None, int | None]:
        """Descriptors of the streams; one for both if they are one file."""
        if self.stdout is not None and self.stderr is not None:
            both = (
                place_of(self.app, "stdout", self.stdout),
                place_of(self.app, "stderr", self.stderr),
            )
            if both[0] == both[1]:
                opened = self._open("stdout", stack)
                return opened, opened
        return self._open("stdout", stack), self._open("stderr", stack)

    def _open(self, stream: str, stack: contextlib.ExitStack) -> int | None:
        spec = getattr(self, stream)
        if spec is None:
            return None
        descriptor = open_stream(self.app, stream, spec)
        stack.callback(os.close, descriptor)
        return descriptor

    # --- afterwards -------------------------------------------------------------------------------

    def _last_words(self) -> str:
        """The end of what the command wrote to stderr, for the error."""
        path = path_of(self.stderr)
        if not path:
            return "Call it with stderr=path to keep what it said."
        try:
            with open(path, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                words = file.read(_TAIL).decode("utf-8", "replace").strip()
        except OSError:
            return ""
        return f"The end of {path}:\n{words}" if words else f"It wrote nothing to {path}."


def _script(line: str, pipe: int, stack: contextlib.ExitStack) -> tuple[str, tuple[int, ...]]:
    """What the shell is told, and the descriptors that this takes.

    It says that it begins and then lets go of the guardian's pipe; on the first line, so that the
    numbers of lines in its messages are the script's.
    """
    begin = f'printf "+ $$\\n" >&{pipe}; exec {pipe}>&-; '
    if len(line) < _LONG and len(os.fsencode(line)) < _LONG:
        return begin + line, ()
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the stack closes it); it has no name
    stack.callback(file.close)
    file.write(os.fsencode(line))
    file.seek(0)
    number = file.fileno()
    return f"{begin}. /dev/fd/{number}", (number,)


def _wait(shell: subprocess.Popen[bytes], walltime: float | None) -> int:
    """Wait for the end of the shell.

    Raises:
        subprocess.TimeoutExpired: it has not come in time.
    """
    if walltime is None:
        return shell.wait()
    try:
        watch = os.pidfd_open(shell.pid)
    except (AttributeError, OSError):  # not Linux
        return shell.wait(walltime)  # which looks now and then
    try:
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.poll(min(walltime * 1000, _LONGEST))
    finally:
        os.close(watch)
    return shell.wait(max(0.0, walltime - _LONGEST / 1000))


def _kill(shell: subprocess.Popen[bytes]) -> None:
    """Kill everything in the group of a shell, which leads it and has not been waited for."""
    with contextlib.suppress(OSError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


@contextlib.contextmanager
def _default_interrupt() -> Iterator[None]:
    """While a program is started that shall take SIGINT as usual, though our workers ignore it.

    What is ignored stays ignored in a new program, where what is handled is not.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, _do_nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _do_nothing(*_: Any) -> None:
    pass
