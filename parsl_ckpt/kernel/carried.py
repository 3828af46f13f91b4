"""What was carried over from Parsl, looked up under Parsl's own key of a call.

Rule of this file: what cannot be told counts as not known.  A record that does not say when it was
made is no answer for an app that asks how old its records are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from parsl_ckpt.checkpoint.carrying import PARSL, carried_value, foreign_key
from parsl_ckpt.identity.parsl_key import PROTOCOL, ParslApp
from parsl_ckpt.kernel.failures import one_line
from parsl_ckpt.kernel.task import Spec

if TYPE_CHECKING:
    from parsl_ckpt.kernel.elsewhere import CallRecord
    from parsl_ckpt.kernel.kernel import Kernel


class Found(NamedTuple):
    """A value that Parsl had recorded."""

    value: Any


class Carried:
    """Parsl's keys of the calls of one kernel, and what stands under them.

    Args:
        kernel: the kernel.
        protocols: of the keys of what was carried over; empty if nothing was.
    """

    def __init__(self, kernel: Kernel, protocols: tuple[int, ...]) -> None:
        self._kernel = kernel
        self._protocols = protocols
        self._apps: WeakKeyDictionary[Spec, list[ParslApp | None]] = WeakKeyDictionary()

    def find(self, record: CallRecord) -> Found | None:
        """What Parsl had recorded of a call, if anything."""
        spec = record.task.spec
        if spec.valid is not None:
            return None
        for protocol in self._protocols:
            key = self.key(record, protocol)
            stored = self._kernel.store.find(foreign_key(key[1:])) if key is not None else None
            if key is None or stored is None or stored.result.app != PARSL:
                continue
            try:
                value = carried_value(self._kernel.store, stored, key[1:])
            except Exception as error:  # of the user's classes
                self._kernel.problems.warn_once(
                    f"carried {spec.name}: {type(error).__name__}",
                    spec.name,
                    f"A result of {spec.name} that was carried over from Parsl cannot be read, so "
                    f"it is computed: {one_line(error)}",
                )
                continue
            record.parsl_key = key
            return Found(value)
        return None

    def key(self, record: CallRecord, protocol: int = PROTOCOL) -> bytes | None:
        """Protocol and Parsl's key of a call; None if it has none."""
        task = record.task
        known = self._apps.get(task.spec)
        if known is None:
            spec = task.spec
            app = ParslApp.of(spec.source or spec.fn, spec.ignored, bash=spec.kind == "bash")
            self._apps[spec] = known = [app]
        if known[0] is None:
            return None
        automatic = getattr(task.request, "logs", None) or ()
        key = known[0].key(record["args"], record["kwargs"], automatic, protocol)
        return None if key is None else bytes([protocol]) + key
