"""One worker process as the pool sees it: how it is started, fed, relieved and buried.

Rule of this file: nothing blocks (but for reaping a process that was killed), and everything is
called by one thread, the pool's.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from parsl_ckpt.executors import wire
from parsl_ckpt.executors.transport import Parcel
from parsl_ckpt.kernel.attempt import Attempt, Finished

__all__ = ["Call", "WorkerProcess"]

_DEFINITIONS = 512  # that a worker keeps at once
_MANY_BYTES = 1 << 20  # a worker that has this much before it is given no more than the next call

#: Modules that every worker imports before anything else, because what it imports later depends on
#: them as it does in this process.
IMPORTED_FIRST: list[str] = []


class Call:
    """An attempt in the pool's hands; it is claimed when it has a parcel."""

    __slots__ = ("attempt", "finished", "parcel")

    def __init__(self, attempt: Attempt, finished: Finished) -> None:
        self.attempt = attempt
        self.finished = finished
        self.parcel: Parcel | None = None

    @property
    def flags(self) -> int:
        """What its worker is told of it."""
        flags = wire.ENCODE if self.attempt.encode else 0
        return flags if self.attempt.walltime is None else flags | wire.TIMED


class WorkerProcess:
    """A worker process.

    Attributes:
        slot: which of the pool's places it fills; a worker that replaces it fills the same.
        name: what attempts say of where they ran.
        ready: it has reported itself.
        calls: what it was given and has not answered, by id, oldest first.
        load: bytes of those.
    """

    def __init__(self, slot: int, label: str, env: Mapping[str, str]) -> None:
        self.slot = slot
        self.ready = False
        self.calls: dict[int, Call] = {}
        self.load = 0
        self.listening = selectors.EVENT_READ  # what the pool's selector watches its stream for
        self._next_id = 1
        self._defined: OrderedDict[int, None] = OrderedDict()
        self._outgoing: deque[memoryview] = deque()
        self._parts: list[Any] = []
        self._owed = b""  # tokens that the pipe had no room for
        self.stream, theirs = socket.socketpair()
        tokens, self._tokens = os.pipe()
        # The worker reads tokens, and so do we (to take them back); only the worker may sleep for
        # one, which it does by polling: the two ends of a pipe share their flags.
        self._returned = os.dup(tokens)
        os.set_blocking(tokens, False)
        os.set_blocking(self._tokens, False)
        self.stream.setblocking(False)
        try:
            self.process = _spawn(theirs.fileno(), tokens, env)
        except BaseException:
            self._close()
            raise
        finally:
            theirs.close()
            os.close(tokens)
        self.name = f"{label}-{slot}:{self.process.pid}"
        self.reader = wire.FrameReader(self.stream)
        self.death = _death_of(self.process.pid)

    # --- giving -----------------------------------------------------------------------------------

    def set_up(self, parcel: Parcel | None) -> None:
        """Send what a worker needs before its first call: the initializer, if there is one."""
        if parcel is None:
            self._parts += wire.frame(wire.SETUP)
        else:
            self._define(parcel)
            self._parts += wire.frame(
                wire.SETUP, 0, parcel.data, parcel.buffers, flags=1, function=parcel.function
            )
        self.flush()

    def give(self, call: Call) -> None:
        """Queue a packed call; :meth:`flush` sends it and the right to run it."""
        parcel = call.parcel
        assert parcel is not None
        self._define(parcel)
        id = self._next_id
        self._next_id += 1
        self.calls[id] = call
        self.load += parcel.size
        self._owed += id.to_bytes(wire.TOKEN, "little")
        self._parts += wire.frame(
            wire.CALL,
            id,
            parcel.data,
            parcel.buffers,
            flags=call.flags,
            function=parcel.function,
        )

    def _define(self, parcel: Parcel) -> None:
        """Send the definitions that it does not have; it keeps the latest ones.

        It reads frames in order, and skips no definition, so it has what we think that it has when
        it comes to the call.
        """
        for serial, payload in parcel.needs:
            if serial in self._defined:
                self._defined.move_to_end(serial)
                continue
            self._defined[serial] = None
            self._parts += wire.frame(wire.DEFINE, 0, payload, function=serial)
        while len(self._defined) > _DEFINITIONS:
            serial, _ = self._defined.popitem(last=False)
            self._parts += wire.frame(wire.FORGET, 0, function=serial)

    def flush(self) -> None:
        """Send what was queued, as far as the socket takes it, and hand out the tokens."""
        if self._parts:
            self._outgoing.extend(_joined(self._parts))
            self._parts = []
        self.send()
        if self._owed:
            self.pay()

    def pay(self) -> None:
        """Hand out the right to run what was given."""
        try:
            # The window keeps all tokens below the smallest pipe; but be it full, the rest waits.
            self._owed = self._owed[os.write(self._tokens, self._owed) :]
        except BlockingIOError:
            pass
        except OSError:  # it has died; we shall be told
            self._owed = b""

    @property
    def owing(self) -> bool:
        return bool(self._owed)

    def send(self) -> None:
        """Send on; :attr:`sending` tells whether there is more."""
        outgoing = self._outgoing
        try:
            while outgoing:
                part = outgoing[0]
                count = self.stream.send(part)
                if count < len(part):
                    outgoing[0] = part[count:]
                else:
                    outgoing.popleft()
        except BlockingIOError:
            pass
        except OSError:  # it has died; we shall be told
            outgoing.clear()

    @property
    def sending(self) -> bool:
        return bool(self._outgoing)

    @property
    def laden(self) -> bool:
        """Whether it has so much to read that it gets no more for now."""
        return self.load > _MANY_BYTES

    # --- taking -----------------------------------------------------------------------------------

    def answered(self, id: int) -> Call | None:
        """The call that a reply is about, which is then no longer the worker's."""
        call = self.calls.pop(id, None)
        if call is not None and call.parcel is not None:
            self.load -= call.parcel.size
        return call

    def take_back(self, count: int) -> list[Call]:
        """Take back up to that many calls that have not begun, oldest first."""
        try:
            tokens = os.read(self._returned, wire.TOKEN * count)
        except OSError:
            tokens = b""
        size = wire.TOKEN
        missing = size * count - len(tokens)
        tokens += self._owed[:missing]
        self._owed = self._owed[missing:]
        ids = [int.from_bytes(tokens[i : i + size], "little") for i in range(0, len(tokens), size)]
        calls = (self.answered(id) for id in ids)
        return [call for call in calls if call is not None]

    def dismiss(self) -> None:
        """Let it end by itself."""
        with contextlib.suppress(OSError):
            os.write(self._tokens, wire.END)

    def bury(self) -> int:
        """Kill it if it lives, reap it, close what led to it; its exit code."""
        with contextlib.suppress(OSError):
            self.process.kill()
        code = self.process.wait()
        self._close()
        return code

    def wait(self, timeout: float) -> bool:
        """Wait for its end; whether it came."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def let_go(self) -> None:
        """Close what leads to it, and leave it alone."""
        self._close()

    def _close(self) -> None:
        self.stream.close()
        for name in ("_tokens", "_returned", "death"):
            descriptor = getattr(self, name, None)
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)


def _joined(parts: list[Any]) -> list[memoryview]:
    """Parts as few pieces: small ones become one, large ones are not copied."""
    pieces: list[memoryview] = []
    small: list[Any] = []
    for part in parts:
        if len(part) < 1 << 14:
            small.append(part)
            continue
        if small:
            pieces.append(memoryview(b"".join(small)))
            small = []
        pieces.append(memoryview(part).cast("B"))
    if small:
        pieces.append(memoryview(b"".join(small)))
    return pieces


def _spawn(stream: int, tokens: int, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter that can import what this one can."""
    path = [entry or os.getcwd() for entry in sys.path]
    first = "".join(f"import {module}; " for module in IMPORTED_FIRST)
    program = (
        f"import sys; sys.path[:] = {path!r}; {first}"
        "from parsl_ckpt.executors.worker import main; "
        f"main({stream}, {tokens}, {os.getpid()}, {sys.argv!r})"
    )
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return subprocess.Popen(
        [sys.executable, *flags, "-c", program],
        pass_fds=(stream, tokens),
        stdin=subprocess.DEVNULL,
        env={**os.environ, **env},
    )


def _death_of(pid: int) -> int:
    """A descriptor that becomes readable when the process ends; -1 where there is no such thing.

    The end of the stream says so too, unless the worker has children that hold it open.
    """
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def exit_text(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
