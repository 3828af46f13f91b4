"""``future[key]`` and ``future.name``: futures of a part of another future's value.

A part stands for its whole's record and the path that leads to it, so that tasks which take a part
are looked up by lineage, and get the part as it was recorded.
"""

from __future__ import annotations

import operator
import weakref
from concurrent.futures import Future
from concurrent.futures._base import PENDING
from typing import Any

from blake3 import blake3

from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel.arguments import gather
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import Call, Look
from parsl_ckpt.kernel.memo import unkept_id
from parsl_ckpt.kernel.task import Spec

WHOLE = (
    "_whole"  # in the dictionary of the future of a part of a value that is not recorded: of what
)

_SPECS = {
    "item": Spec(name="item of a future", fn=operator.getitem, kind="lift"),
    "attribute": Spec(name="attribute of a future", fn=getattr, kind="lift"),
}


def lifted_spec(kind: str) -> Spec:
    """The kernel's own app for ``"item"`` or ``"attribute"``."""
    return _SPECS[kind]


def lifted_key(spec: Spec, parent: Any, item: Any) -> bytes | None:
    """The lineage key of a part, if the whole has one and the key of the part can be identified."""
    if not isinstance(parent, AppFuture) or parent._key is None or isinstance(item, Future):
        return None
    try:
        part = leaf(item)
    except Exception:
        return None
    return blake3(b"lift" + spec.name.encode() + b"\0" + parent._key + part).digest()


def item_known(item: Any) -> bool:
    """Whether there is no future in the key of a part."""
    return not gather((item,), {}).futures


def mark_part(spec: Spec, parent: Any, item: Any, future: AppFuture) -> None:
    """Tell the future of a part which record it is a part of; an item may be a future itself."""
    if not isinstance(parent, AppFuture) or not item_known(item):
        return
    unkept = unkept_id(parent)
    if parent._record:
        future._value_key = parent._value_key
        future._record = parent._record
        future._path = (*parent._path, (spec.fn, item))
    elif unkept is not None:
        future._unkept = unkept
        future.__dict__[WHOLE] = parent.__dict__.get(WHOLE) or weakref.ref(parent)
    elif unkept_id(future) is not None:  # it was promised, and is none
        future._unkept = None


class LiftedHit(Call, gc=False, eq=False):
    """A part of a recorded value; neither is decoded until someone looks."""

    def look(self, future: AppFuture) -> Look:
        """Take the part; if the whole has to be computed after all, wait for it like any other."""
        parent, item = self.arguments.args
        if parent._state == PENDING:
            return self.task(future)
        try:
            return self.spec.fn(parent.result(), item), None
        except Exception as error:
            return None, error
