"""Random numbers that are a function of the call: ``task_rng()``.

Rule of this file: the seed is the address of the call, so a call that runs again draws the same
numbers, wherever and after whatever it runs; an edited app, or other arguments, draw others.
"""

from __future__ import annotations

import random
from typing import Any, Literal

from parsl_ckpt.errors import TaskRandomError
from parsl_ckpt.kernel.attempt import worker

_Kind = Literal["numpy", "standard"]


def task_rng(kind: _Kind = "numpy") -> Any:
    """The random generator of the task that runs in this thread.

    Args:
        kind: ``"numpy"``: a ``numpy.random.Generator``; ``"standard"``: a ``random.Random``.

    Returns:
        A generator seeded from the task's own address. Each call within one task gives the same
        generator, which goes on where it is.

    Raises:
        TaskRandomError: there is no task in this thread, its app is not cached (so that it has no
            address), or numpy is not installed.

    .. code-block:: python

        @python_app(cache=True)
        def sample(n):
            return task_rng().normal(size=n).mean()

        sample(1000).result() == sample.fresh(1000).result()   # True, in any process
    """
    seed = worker.seed
    if type(seed) is bytes:
        if not seed:
            raise TaskRandomError(
                "task_rng() was called where there is no task with an address.",
                hint="Call it in the body of an app with cache=True, in the thread that runs it; "
                "hand the generator on to threads of your own.",
            )
        seed = worker.seed = _Generators(seed)
    return seed.get(kind)


class _Generators:
    """The generators of one task, made when they are asked for."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._seed = int.from_bytes(key, "big")
        self._made: dict[str, Any] = {}

    def get(self, kind: str) -> Any:
        made = self._made.get(kind)
        if made is None:
            made = self._made[kind] = self._make(kind)
        return made

    def _make(self, kind: str) -> Any:
        if kind == "standard":
            return random.Random(self._seed)
        if kind != "numpy":
            raise TaskRandomError(
                f"task_rng({kind!r}): there is no such kind of generator.",
                hint="Use 'numpy' or 'standard'.",
            )
        try:
            from numpy.random import PCG64, Generator
        except ImportError as error:
            raise TaskRandomError(
                "task_rng() gives a numpy generator, and numpy is not installed.",
                hint="Use task_rng('standard'), or install numpy.",
            ) from error
        return Generator(PCG64(self._seed))  # named, because numpy's default may change
