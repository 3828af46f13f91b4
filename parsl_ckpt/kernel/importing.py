"""Modules that begin a run, or call apps, while they are imported.

In the process of the user that may be (``import script``).  What is pickled there names the classes
of the module, and whoever names a module waits until it is imported: other threads would wait for
the import, and the import for them.  So a run makes the modules that it is begun in open to them.

A worker process imports modules for what they define.  One that begins a run must not begin one
there: its workers would import it again, and so on without end.  Its apps are defined all the same.
A *task* may have a kernel of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from parsl_ckpt.errors import NestedAppError
from parsl_ckpt.kernel.attempt import worker


def _in_the_middle_of() -> Iterator[Any]:
    """The specifications of the modules that this thread is importing, innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            spec = frame.f_globals.get("__spec__")
            if getattr(spec, "_initializing", False):
                yield spec
        frame = frame.f_back


def open_to_other_threads() -> None:
    """Let other threads use the modules that this one is importing, as far as they have come."""
    for spec in _in_the_middle_of():
        spec._initializing = False  # the import machinery's own; it is what others wait for


def imported_by_worker() -> str:
    """The module that this thread is importing in a worker process; empty if there is none."""
    if not worker.in_process_worker:
        return ""
    return next((str(spec.name) for spec in _in_the_middle_of()), "")


def not_here(module: str, what: str) -> NestedAppError:
    """The error of a module that does something for which it needs a kernel."""
    return NestedAppError(
        f"The module {module} {what} when it is imported, and a worker process imports it for what "
        "it defines.",
        hint="Put what is to run only in the script under `if __name__ == '__main__':`, or into a "
        "file of its own.",
        module=module,
    )


class AbsentKernel:
    """Takes the place of a ``DataFlowKernel``: apps may be bound to it, and it does nothing."""

    kernel = None

    def __init__(self, module: str) -> None:
        self._module = module

    def __enter__(self) -> AbsentKernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def cleanup(self) -> None:
        """Nothing is to be ended."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_here(self._module, f"uses a kernel (.{name})")
