"""``future[key]`` and ``future.name``: futures of a part of another future's value."""

from __future__ import annotations

import operator
from concurrent.futures._base import FINISHED, PENDING
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import run_again
from parsl_ckpt.kernel.task import Spec, Task

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

_SPECS = {
    "item": Spec(name="item of a future", fn=operator.getitem, kind="lift"),
    "attribute": Spec(name="attribute of a future", fn=getattr, kind="lift"),
}


def lifted_spec(kind: str) -> Spec:
    """The kernel's own app for ``"item"`` or ``"attribute"``."""
    return _SPECS[kind]


def lifted_key(spec: Spec, parent: Any, item: Any) -> bytes | None:
    """The lineage key of a part, if the whole has one and the key of the part can be identified."""
    if not isinstance(parent, AppFuture) or parent._key is None:
        return None
    try:
        part = leaf(item)
    except Exception:
        return None
    return blake3(b"lift" + spec.name.encode() + b"\0" + parent._key + part).digest()


class LiftedHit:
    """A part of a recorded value; neither is decoded until someone looks."""

    def __init__(self, kernel: Kernel, task: Task) -> None:
        self.kernel = kernel
        self.task = task

    def load(self, future: AppFuture) -> bool:
        """Take the part; if the whole has to be computed after all, wait for it like any other."""
        parent, item = self.task.args
        if parent._state == PENDING:
            run_again(self, future)
            return False
        if future._exception is None and "_result" not in future.__dict__:
            try:
                value = self.task.spec.fn(parent.result(), item)
            except Exception as error:
                future._exception = error
            else:
                future.__dict__.setdefault("_result", value)
        future._phase = FINISHED
        return True
