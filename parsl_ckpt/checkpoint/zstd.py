"""Compression: zstd, where it is installed and where it pays.

Rule of this file: nothing is allocated on the word of a compressed frame.  The size that it claims
must be the one that the record says, and no more than ``MOST`` times what is there, so that a small
file cannot claim much memory; a writer pads what shrinks further than that.

Python 3.14 has zstd (``compression.zstd``); before, the package ``zstandard`` is used.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any, Literal

from parsl_ckpt.errors import ConfigurationError, FormatError

Compression = Literal["auto", "zstd", "none"]

LEVEL = 1  # levels beyond cost several times the time for some percent
FROM = 4096  # bytes from which it is tried
MOST = 1024
WORTH = 0.9  # what does not shrink to this is left as it is, under "auto"
_SAMPLE_FROM = 64 * 1024
_SAMPLES, _SAMPLE = 4, 8 * 1024
_SKIPPABLE = b"\x50\x2a\x4d\x18"  # a frame that decoders step over
_UNKNOWN = (-1, (1 << 64) - 1, (1 << 64) - 2, None)


def codec_of(compression: Compression) -> Zstd | None:
    """What compresses, or None if nothing is to be compressed.

    Args:
        compression: ``"auto"``: what shrinks, if zstd is installed; ``"zstd"``: everything that
            shrinks at all; ``"none"``.

    Raises:
        ConfigurationError: there is no such kind, or zstd is asked for and not installed.
    """
    if compression not in ("auto", "zstd", "none"):
        raise ConfigurationError(
            f"compression is {compression!r}.",
            hint='Use "auto", "zstd" or "none".',
            field="compression",
        )
    if compression == "none":
        return None
    module = _module()
    if module is None and compression == "zstd":
        raise ConfigurationError(
            "compression is 'zstd', and zstd is not installed.",
            hint="pip install 'parsl_ckpt[zstd]', or use compression='auto'.",
            field="compression",
        )
    return None if module is None else Zstd(module, always=compression == "zstd")


class Zstd:
    """Compresses; any thread.

    Attributes:
        always: everything that shrinks at all, not only what is worth it.
    """

    def __init__(self, module: Any, *, always: bool) -> None:
        self._compress = _compressor(module)
        self.always = always

    def shrunk(self, data: Any) -> bytes | None:
        """The compressed bytes, or None if they are not worth it.

        Args:
            data: contiguous bytes.
        """
        view = memoryview(data).cast("B")
        size = len(view)
        if size < FROM or (not self.always and not self._promising(view)):
            return None
        small: bytes = self._compress(view)
        if len(small) >= (size if self.always else size * WORTH):
            return None
        missing = -(-size // MOST) - len(small)
        if missing > 0:
            small += _SKIPPABLE + missing.to_bytes(4, "little") + bytes(missing)
        return small

    def _promising(self, view: memoryview) -> bool:
        """Whether samples shrink; what does not is then not compressed as a whole for nothing."""
        size = len(view)
        if size < _SAMPLE_FROM:
            return True
        step = size // _SAMPLES
        sampled = sum(
            len(self._compress(view[start : start + _SAMPLE]))
            for start in range(0, step * _SAMPLES, step)
        )
        return sampled < WORTH * _SAMPLES * _SAMPLE


def expand(data: Any, size: int) -> bytes:
    """What was compressed.

    Args:
        data: the compressed bytes.
        size: how many bytes they must become.

    Raises:
        FormatError: they do not, or zstd is not installed.
    """
    module = _module()
    if module is None:
        raise FormatError(
            "The value is compressed with zstd, which is not installed.",
            hint="pip install 'parsl_ckpt[zstd]'.",
        )
    view = memoryview(data).cast("B")
    if not 0 < size <= MOST * len(view):
        raise FormatError("A compressed value claims more bytes than it can have.")
    try:
        expanded: bytes = _expander(module)(bytes(view[:18]), view, size)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"A compressed value does not expand: {error}.") from None
    if len(expanded) != size:
        raise FormatError("A compressed value does not have the size that its record says.")
    return expanded


# --- the two modules ------------------------------------------------------------------------------

_local = threading.local()  # their contexts serve one thread at a time
_found: list[Any] = []


def _module() -> Any:
    if not _found:
        module = None
        for name in ("compression.zstd", "zstandard"):
            try:
                module = importlib.import_module(name)
                break
            except ImportError:
                continue
        _found.append(module)
    return _found[0]


def _compressor(module: Any) -> Any:
    if hasattr(module, "get_frame_info"):  # the standard library's
        return lambda view: module.compress(view, LEVEL)

    def compress(view: memoryview) -> Any:
        context = getattr(_local, "compressor", None)
        if context is None:
            context = _local.compressor = module.ZstdCompressor(level=LEVEL)
        return context.compress(view)

    return compress


def _expander(module: Any) -> Any:
    def claimed(head: bytes, size: int) -> None:
        if hasattr(module, "get_frame_info"):
            said = module.get_frame_info(head).decompressed_size
        else:
            said = module.frame_content_size(head)
        if said in _UNKNOWN or said != size:
            raise FormatError("A compressed value does not have the size that its record says.")

    def standard(head: bytes, view: memoryview, size: int) -> Any:
        claimed(head, size)
        expander = module.ZstdDecompressor()
        data = expander.decompress(view, max_length=size)
        return data if expander.eof or len(data) == size else b""

    def packaged(head: bytes, view: memoryview, size: int) -> Any:
        claimed(head, size)
        context = getattr(_local, "expander", None)
        if context is None:
            context = _local.expander = module.ZstdDecompressor()
        return context.decompress(view, max_output_size=size)

    return standard if hasattr(module, "get_frame_info") else packaged
