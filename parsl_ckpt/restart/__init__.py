"""Restart sessions: a loop records restart points, and goes on from the last of them.

Rule of this room: nothing is pickled, nothing is changed in place, and what could give a wrong
result is refused.  ``checkpoint.py`` is the way in; rows are records of a checkpoint store.
"""

from parsl_ckpt.checkpoint.registry import register_codec
from parsl_ckpt.errors import (
    CheckpointedStop,
    CheckpointError,
    CheckpointSerializationError,
    CheckpointStateCollision,
    CheckpointStateSchemaError,
    IncompleteRestore,
)

from .checkpoint import Checkpoint
from .entry import CheckpointEntry
from .null import NullCheckpoint
from .ranks import register_rank_detector
from .session import CheckpointSession
from .state import CheckpointState, bind_checkpoint_state
from .tasks import task_checkpoint

__all__ = [
    "Checkpoint",
    "CheckpointEntry",
    "CheckpointError",
    "CheckpointSerializationError",
    "CheckpointSession",
    "CheckpointState",
    "CheckpointStateCollision",
    "CheckpointStateSchemaError",
    "CheckpointedStop",
    "IncompleteRestore",
    "NullCheckpoint",
    "bind_checkpoint_state",
    "register_codec",
    "register_rank_detector",
    "task_checkpoint",
]
