"""``await future``, in any event loop, without a thread that waits.

    coroutine ─ await ─► asyncio future of its loop ◄─ call_soon_threadsafe ◄─ callback ◄─ kernel
        │ cancelled
        └─► the call is given up, if nobody else awaits it and no worker has begun it

*Guarantees.*  Any number of coroutines in any number of loops may await one future; each is
resumed by its own loop.  A cancelled coroutine takes nothing from the others.  Whatever the app
raised comes out of the ``await``; a StopIteration as a RuntimeError, for no coroutine can raise it.

*Assumptions.*  ``list.append``, ``list.remove`` and reading a list are atomic.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures._base import PENDING
from typing import TYPE_CHECKING, Any

from parsl_ckpt.kernel.attempt import worker

if TYPE_CHECKING:
    from parsl_ckpt.kernel.futures import AppFuture

HERE = "_awaiting"  # where a future keeps who awaits it, from the first of them on


async def outcome_of(future: AppFuture[Any]) -> Any:
    """The value of a future.

    Raises:
        asyncio.CancelledError: the coroutine was cancelled, or the call was.
        BaseException: what the app raised.
    """
    loop = asyncio.get_running_loop()
    while not _known(future):
        if future._lazy is not None:
            # A hit at which nobody has looked: its value is read and decoded, which may take long.
            await loop.run_in_executor(None, future.done)
        else:
            await _told(future, loop)
    try:
        return future.result(0)
    except CancelledError:
        raise asyncio.CancelledError from None


def _known(future: AppFuture[Any]) -> bool:
    return future._lazy is None and future._phase != PENDING


async def _told(future: AppFuture[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Until the future says that it is done."""
    waiting: asyncio.Future[None] = loop.create_future()

    def wake(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_finish, waiting)

    awaiting: list[object] = future.__dict__.setdefault(HERE, [])
    awaiting.append(waiting)
    try:
        future.add_done_callback(wake)
        with _blocking:
            await waiting
    except asyncio.CancelledError:
        awaiting.remove(waiting)
        if not awaiting:
            future.cancel()
        raise
    awaiting.remove(waiting)


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class _Blocking(threading.local):
    """While a coroutine app awaits, its worker makes up for one thread, however many awaits."""

    count = 0
    context: Any = None

    def __enter__(self) -> None:
        self.count += 1
        if self.count == 1 and worker.pool is not None:
            self.context = worker.pool.blocked()
            self.context.__enter__()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if self.count == 0 and self.context is not None:
            context, self.context = self.context, None
            context.__exit__(None, None, None)


_blocking = _Blocking()
