"""The checkpoint store: knows keys and bytes, not tasks.

Rule of this room: append only; encode first, write once; believe nothing that has not been checked.
``store.py`` is the way in, ``docs/format.rst`` the specification of the bytes.
"""

from .catalog import Problem
from .codec import Encoded, decode, encode
from .format import Alias, Code, Failure, Note, Record, Result, Run, Tombstone
from .local import LocalBackend
from .memory import MemoryBackend
from .reading import Stored
from .rundir import claim, get_all_checkpoints, get_last_checkpoint
from .segment import Entry
from .store import Store

__all__ = [
    "Alias",
    "Code",
    "Encoded",
    "Entry",
    "Failure",
    "LocalBackend",
    "MemoryBackend",
    "Note",
    "Problem",
    "Record",
    "Result",
    "Run",
    "Store",
    "Stored",
    "Tombstone",
    "claim",
    "decode",
    "encode",
    "get_all_checkpoints",
    "get_last_checkpoint",
]
