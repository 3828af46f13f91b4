"""A run directory that keeps within a budget: ``Config(max_checkpoint_bytes=...)``.

::

    heartbeat ─► a segment was sealed since? ─► size of all runs ─► above? ─► prune to below
    end of the run ────────────────────────────────┘

Rule of this file: what is cheapest to compute again for the room that it takes goes first, of runs
that are over; a run that lives keeps all of its own, whatever it takes, and what it takes from
earlier runs may be computed again.  It is a service and never a failure: whatever is in its way (a
full disk, someone else who maintains the directory) leaves it for the next time.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from parsl_ckpt.errors import StoreBusyError

from . import inventory, maintain
from .backend import Backend
from .local import LocalBackend
from .prune import Pruned
from .segment import parse_name

if TYPE_CHECKING:
    from parsl_ckpt.identity.keys import KeySource

logger = logging.getLogger(__name__)

LOW = 0.9  # pruned down to this share, so that it is not needed again at once


class Budget:
    """Keeps a run directory within a size.

    Args:
        run_dir: the directory of all runs.
        own: the checkpoint directory of this run.
        max_bytes: the size.
        signing_key: where records are signed.
        backend: where it is.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        own: str,
        max_bytes: int,
        *,
        signing_key: KeySource | None = None,
        backend: Backend | None = None,
    ) -> None:
        self._backend = backend or LocalBackend()
        self._run_dir = run_dir
        self._own = own
        self._max = max_bytes
        self._key = signing_key
        self._segments = -1

    def look(self) -> None:
        """Enforce the budget if this run has begun another segment since the last time."""
        names = inventory.listing(self._backend, self._own)
        segments = sum(parse_name(name) is not None for name in names)
        if segments != self._segments:
            self._segments = segments
            self.enforce()

    def enforce(self) -> Pruned | None:
        """Prune if the directory is above its budget; what was done, or None."""
        try:
            places = inventory.find(self._backend, self._run_dir)
            if sum(inventory.size(self._backend, place) for place in places) <= self._max:
                return None
            done = maintain.prune(
                self._run_dir, max_bytes=int(self._max * LOW), signing_key=self._key,
                backend=self._backend,
            )  # fmt: skip
        except StoreBusyError:
            return None
        except Exception as error:
            logger.warning("The checkpoints in %s were not pruned: %s", self._run_dir, error)
            return None
        if done.after > self._max:
            logger.warning(
                "The checkpoints in %s take %d bytes, of %d allowed: what is left is of live runs.",
                self._run_dir, done.after, self._max,
            )  # fmt: skip
        return done
