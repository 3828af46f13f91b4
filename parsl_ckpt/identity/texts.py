"""Source texts: where the source of a code object is to be found, and which of them are kept.

Rule of this file: a text is read again whenever its file may have changed, and nothing fails: what
cannot be read is as good as absent. Whether a text is the one that is running is not decided here
but by ``source.py``, by compiling it.
"""

from __future__ import annotations

import importlib.util
import io
import linecache
import marshal
import os
import struct
import tokenize
from types import CodeType
from typing import Any

from .source import Source

_KEPT = 64  # texts; a project seldom has more in one app's reach

_WORD = 0xFFFFFFFF
_YOUNG_NS = 2_000_000_000

_sources: dict[str, tuple[Any, Source | None]] = {}


def source_of(filename: str, namespace: dict[str, Any]) -> Source | None:
    """The source of a file, notebook cell or interpreter line; None where there is none.

    Args:
        filename: ``co_filename`` of the code.
        namespace: its globals; ``__file__`` and ``__loader__`` are asked where the name is no file.
    """
    try:
        return _source_of_file(filename)
    except OSError:
        pass
    lines = linecache.getlines(filename, namespace)
    if lines:
        text = "".join(lines)
        known = _sources.get(filename)
        if known is not None and known[0] == text:
            return known[1]
        return _remember(filename, text, text)
    try:  # compiled elsewhere, and moved here
        return _source_of_file(str(namespace.get("__file__") or ""))
    except OSError:
        return None


def _source_of_file(path: str) -> Source | None:
    stat = os.stat(path)
    state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _sources.get(path)
    if known is not None and known[0] == state:
        return known[1]
    return _remember(path, state, _read(path), stat)


def _cached_code(path: str, stat: os.stat_result) -> CodeType | None:
    """What Python's import system has compiled the file to, which takes half of the time.

    It is used under Python's own conditions, and only if the file was no longer young when it was
    compiled: Python compares times in whole seconds, and would not notice a quick edit.
    """
    try:
        cached = importlib.util.cache_from_source(path)
        with open(cached, "rb") as file:
            made = os.fstat(file.fileno()).st_mtime_ns
            data = file.read()
        facts = struct.pack("<4sLLL", importlib.util.MAGIC_NUMBER, 0, int(stat.st_mtime) & _WORD,
                            stat.st_size & _WORD)  # fmt: skip
        if data[:16] != facts or made - max(stat.st_mtime_ns, stat.st_ctime_ns) < _YOUNG_NS:
            return None
        code = marshal.loads(memoryview(data)[16:])
    except (OSError, ValueError, EOFError, TypeError, NotImplementedError):
        return None
    return code if type(code) is CodeType else None


def _remember(
    path: str, state: Any, text: str | None, stat: os.stat_result | None = None
) -> Source | None:
    source = None
    if text is not None:
        source = Source(text, path, lambda: stat and _cached_code(path, stat))
    while len(_sources) >= _KEPT:
        _sources.pop(next(iter(_sources)), None)
    _sources[path] = (state, source)
    return source


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            data = file.read()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return io.TextIOWrapper(io.BytesIO(data), encoding, newline=None).read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
