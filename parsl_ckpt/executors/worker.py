"""What runs inside a worker process.

Rule of this file: a worker does one thing at a time.  It takes a token, reads frames up to the call
that the token names, runs it, sends the outcome home, and only then takes the next token.  So when
a worker dies, at most one call had begun and not ended.

The process was started afresh (not forked), its ``__main__`` is empty and never the user's script.
It ignores SIGINT (a Ctrl-C in the terminal reaches the whole process group, and the kernel decides
what becomes of running tasks), keeps SIGTERM's default, and dies with its parent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from typing import Any

from parsl_ckpt.executors import outcomes, wire
from parsl_ckpt.executors.transport import Unpacker
from parsl_ckpt.kernel.attempt import SESSIONS_VARIABLE, Worker

__all__ = ["main"]


def main(stream: int, tokens: int, parent: int, argv: list[str]) -> None:
    """Run calls until the parent closes the tokens.

    Args:
        stream: descriptor of the socket.
        tokens: descriptor of the pipe's reading end.
        parent: process id of the parent.
        argv: what ``sys.argv`` shall be.
    """
    _prepare_signals()
    _die_with(parent)
    sys.argv[:] = argv
    Worker.in_process_worker = True  # of the class: threads that a task starts are no kernel either
    Worker.sessions = os.environ.pop(SESSIONS_VARIABLE, None)  # programs that tasks start have none
    sock = socket.socket(fileno=stream)
    os.register_at_fork(after_in_child=lambda: _let_go(sock, tokens))
    _Loop(sock, tokens).run()


class _Loop:
    def __init__(self, sock: socket.socket, tokens: int) -> None:
        self._sock = sock
        self._tokens = tokens
        self._stream = wire.StreamReader(sock)
        self._unpacker = Unpacker()
        self._poll = select.poll()
        self._poll.register(tokens, select.POLLIN)

    def run(self) -> None:
        if not self._set_up():
            return
        while True:
            token = self._next_token()
            if token is None:
                return
            call = self._find(token)
            if call is None:
                return
            self._serve(call)
            call = None

    def _set_up(self) -> bool:
        setup = self._next_frame()
        if setup is None:
            return False
        if setup.flags:  # there is an initializer
            packed, _, _ = outcomes.execute(
                lambda: self._unpacker.call(setup.function, setup.data, setup.buffers),
                False,
                time.perf_counter,
            )
            if packed.kind not in (wire.VALUE, wire.UNSENT):
                self._send(wire.FAILED, 0, packed._replace(codec=packed.kind), 0.0, 0.0)
                return False
        self._send(wire.READY, 0, outcomes.Packed(wire.READY, 0, 0, b""), 0.0, 0.0)
        return True

    def _serve(self, call: wire.Frame) -> None:
        load = self._load_timed if call.flags & wire.TIMED else self._load
        packed, began, seconds = outcomes.execute(
            lambda: load(call),
            call.flags & wire.ENCODE != 0,
            time.perf_counter,
        )
        self._send(packed.kind, call.id, packed, began, seconds)

    def _load(self, call: wire.Frame) -> tuple[Any, Any, Any]:
        return self._unpacker.call(call.function, call.data, call.buffers)

    def _load_timed(self, call: wire.Frame) -> tuple[Any, Any, Any]:
        """Load a call and say that it begins; what is imported for it is not on its time."""
        loaded = self._load(call)
        wire.send_all(self._sock, wire.frame(wire.BEGUN, call.id))
        return loaded

    def _send(
        self, kind: int, id: int, packed: outcomes.Packed, began: float, seconds: float
    ) -> None:
        parts = wire.frame(
            kind,
            id,
            packed.data,
            packed.buffers,
            flags=packed.flags,
            codec=packed.codec,
            began=began,
            seconds=seconds,
        )
        wire.send_all(self._sock, parts)

    def _next_token(self) -> int | None:
        """The right to run a call; None when there will be no more."""
        while True:
            try:
                token = os.read(self._tokens, wire.TOKEN)
            except BlockingIOError:  # the pipe is shared with the pool, which must never block
                self._poll.poll()
                continue
            return int.from_bytes(token, "little") or None  # END, or the end of the pipe

    def _find(self, token: int) -> wire.Frame | None:
        """The frame of a call; those before it were taken back."""
        while True:
            call = self._next_frame()
            if call is None or call.id == token:
                return call

    def _next_frame(self) -> wire.Frame | None:
        """The next frame that is not about definitions."""
        while True:
            frame = self._stream.read()
            if frame is None:
                return None
            if frame.kind == wire.DEFINE:
                self._unpacker.define(frame.function, frame.data)
            elif frame.kind == wire.FORGET:
                self._unpacker.forget(frame.function)
            else:
                return frame


def _prepare_signals() -> None:
    signal.pthread_sigmask(
        signal.SIG_SETMASK, []
    )  # that of the thread that started us is inherited
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die_with(parent: int) -> None:
    """Arrange that this process does not outlive its parent, even in the middle of a task."""
    if not _death_signal():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it died meanwhile
        os._exit(1)


def _death_signal() -> bool:
    """Ask Linux to kill us when the thread that started us ends."""
    if sys.platform != "linux":
        return False
    try:
        import ctypes

        pr_set_pdeathsig = 1
        done: Any = ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGKILL), 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return False
    return bool(done == 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _let_go(sock: socket.socket, tokens: int) -> None:
    """In a child that a task forks: it must not hold the channels open, nor read from them."""
    sock.close()
    with contextlib.suppress(OSError):
        os.close(tokens)
