"""Other libraries' names, for scripts that were written for them: :mod:`parsl_ckpt.compat.parsl`.

Rule of this room: what exists for another library's sake alone stands here, and nothing else in the
library imports it.
"""
