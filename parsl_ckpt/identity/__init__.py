"""From a call to its address: pure functions that say which calls are the same.

Rule of this room: nothing here knows of tasks, stores or kernels, and nothing is remembered that
could change an answer. ``values.py`` identifies arguments, ``code.py`` the code that an app
reaches, ``files.py`` what is in a file, and ``address.py`` puts them together.
"""

from . import arrays as arrays  # registers what it knows
from .address import Address, Addresser, Binder
from .code import CodeIdentity, code_digest_of
from .files import content_digest, file_leaf
from .values import id_for_memo, leaf
from .walk import Known

__all__ = [
    "Address",
    "Addresser",
    "Binder",
    "CodeIdentity",
    "Known",
    "code_digest_of",
    "content_digest",
    "file_leaf",
    "id_for_memo",
    "leaf",
]
