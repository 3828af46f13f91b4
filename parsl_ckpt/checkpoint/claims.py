"""Claiming a run id in an object store, where no directory can be made exclusively.

::

    put NNN/claim.json, if it is not there ─┬─ it is there: someone else's ─► the next number
                                            ├─ ours, and the service says so ─► NNN
                                            └─ the service cannot say ─► NNN-<random>

Guarantees: no two claims give the same id: by the service's word, or by 24 random bits beside a
number that only those who start at the same moment share.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable

from . import heartbeat
from .objects import Objects
from .rundir import order_of

CLAIM = "claim.json"  # in the directory of a run: who claimed it
_PATIENCE = 3  # numbers that are tried one after the other; many starts at once must not all do so


def claim(objects: Objects, taken: Iterable[str]) -> str:
    """Claim the next run id.

    Args:
        objects: the run directory.
        taken: names of the runs that are known.

    Raises:
        OSError: nothing can be written.
    """
    mark = json.dumps({**heartbeat.identify(), "token": secrets.token_hex(8)}).encode()
    number = max((order_of(name)[0] for name in taken), default=-1) + 1
    lost = 0
    while (ours := objects.claim(f"{number:03d}/{CLAIM}", mark)) is False:
        lost += 1
        number += 1 + (secrets.randbelow(2 ** min(lost, 10)) if lost > _PATIENCE else 0)
    if ours:
        return f"{number:03d}"
    own = f"{number:03d}-{secrets.token_hex(3)}"
    while objects.claim(f"{own}/{CLAIM}", mark) is False:
        own = f"{number:03d}-{secrets.token_hex(3)}"
    objects.remove(f"{number:03d}/{CLAIM}")
    return own
