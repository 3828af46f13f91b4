"""Where workflows put what they compute: arrays with the steps along the first axis.

Rule of this file: a sink is written before the commit that counts what was written, so whatever a
restart point says is done can be read.  What was written after it is written again, with the same
content.  A sink knows nothing of checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from abc import ABC, abstractmethod
from typing import Any, Protocol

from parsl_ckpt.errors import MissingLibraryError, SinkError

__all__ = ["NpySink", "NullSink", "Sink", "ZarrSink"]


class Sink(Protocol):
    """What a workflow needs of a place for its output."""

    def open(self, length: int) -> None:
        """Make room for so many items; what is there already stays, if it has that length.

        Args:
            length: how many items there will be.
        """

    def write(self, index: int, value: Any) -> None:
        """Put an item in its place, over what is there.

        Args:
            index: its number, from 0.
            value: an array, of the shape and type of all others.
        """

    def read(self, index: int) -> Any:
        """An item that was written, as an array of its own.

        Args:
            index: its number, from 0.

        Returns:
            A copy: it stays as it is when the sink is written to.
        """

    def close(self) -> None:
        """Hand everything to the operating system."""


class NullSink:
    """Keeps nothing: for workflows whose states are all that is wanted."""

    def open(self, length: int) -> None:
        """See :meth:`Sink.open`. Nothing happens."""

    def write(self, index: int, value: Any) -> None:
        """See :meth:`Sink.write`. Nothing happens."""

    def read(self, index: int) -> Any:
        """See :meth:`Sink.read`.

        Raises:
            SinkError: there is nothing to be read.
        """
        raise SinkError(
            f"Item {index} was asked of a sink that keeps nothing.",
            hint="Give the workflow a sink, or a checkpoint with level=2.",
            index=index,
        )

    def close(self) -> None:
        """See :meth:`Sink.close`. Nothing happens."""


class _ArraySink(ABC):
    """An array along whose first axis the items stand; it is made for the first of them."""

    _length = 0
    _array: Any = None

    @property
    @abstractmethod
    def _described(self) -> str:
        """What it is called in messages."""

    @abstractmethod
    def _made(self, value: Any) -> Any:
        """The array, for items like this one."""

    def write(self, index: int, value: Any) -> None:
        """See :meth:`Sink.write`.

        Raises:
            SinkError: the item has another shape or type than those before it.
        """
        value = _numpy().asarray(value)
        if value.dtype.hasobject:
            raise SinkError(
                f"{self._described} takes numbers and arrays of numbers, and item {index} is of "
                f"the numpy type {value.dtype}.",
                hint="Have the model give an array.",
                path=self._described,
                index=index,
            )
        if self._array is None:
            self._array = self._made(value)
        _check_item(self._described, self._array, value)
        self._array[index] = value

    def read(self, index: int) -> Any:
        """See :meth:`Sink.read`.

        Raises:
            SinkError: there is nothing to be read.
        """
        if self._array is None:
            raise _nothing(self._described, index)
        return _numpy().array(self._array[index])


class NpySink(_ArraySink):
    """One ``.npy`` file, mapped into memory.

    Args:
        path: of the file; made, under another name first, when the first item is written. What is
            written survives the death of the process.

    >>> import tempfile, numpy
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     sink = NpySink(f"{directory}/u.npy")
    ...     sink.open(3)
    ...     sink.write(1, numpy.arange(4.0))
    ...     sink.read(1)
    array([0., 1., 2., 3.])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def open(self, length: int) -> None:
        """See :meth:`Sink.open`.

        Raises:
            SinkError: what is there has another length, or is no ``.npy`` file.
        """
        self._length = length
        self._array = None
        if os.path.exists(self.path):
            try:
                array = _numpy().lib.format.open_memmap(self.path, mode="r+")
            except (ValueError, EOFError) as error:
                raise SinkError(
                    f"{self.path} is not such a file: {error}.",
                    hint="Give another path, or remove it.",
                    path=self.path,
                ) from error
            _check_length(self.path, array, length)
            self._array = array

    def close(self) -> None:
        """See :meth:`Sink.close`."""
        if self._array is not None:
            self._array.flush()
            self._array = None

    @property
    def _described(self) -> str:
        return self.path

    def _made(self, value: Any) -> Any:
        open_memmap = _numpy().lib.format.open_memmap
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        temporary = f"{self.path}.{secrets.token_hex(6)}.tmp"
        try:  # a file of this name is always whole, whatever kills us
            shape = (self._length, *value.shape)
            array = open_memmap(temporary, mode="w+", dtype=value.dtype, shape=shape)
            os.replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return array


class ZarrSink(_ArraySink):
    """An array of a zarr store, one chunk for each item.

    Args:
        store: a path, or what ``zarr.open_group`` takes.
        name: of the array.

    Raises:
        MissingLibraryError: zarr is not installed (``pip install 'parsl_ckpt[zarr]'``).
    """

    def __init__(self, store: Any, name: str = "data") -> None:
        self.store = os.fspath(store) if isinstance(store, os.PathLike) else store
        self.name = name
        _zarr()

    def open(self, length: int) -> None:
        """See :meth:`Sink.open`.

        Raises:
            SinkError: what is there has another length.
        """
        self._length = length
        group = _zarr().open_group(self.store, mode="a")
        self._array = None
        if self.name in group:
            self._array = group[self.name]
            _check_length(self._described, self._array, length)

    def close(self) -> None:
        """See :meth:`Sink.close`."""
        self._array = None

    @property
    def _described(self) -> str:
        return f"{self.store}/{self.name}"

    def _made(self, value: Any) -> Any:
        group = _zarr().open_group(self.store, mode="a")
        create = getattr(group, "create_array", None) or group.create_dataset  # zarr 3, zarr 2
        return create(
            self.name,
            shape=(self._length, *value.shape),
            chunks=(1, *(size or 1 for size in value.shape)),
            dtype=value.dtype,
        )


# --- what may be wrong ----------------------------------------------------------------------------


def check_sink(sink: Any) -> Any:
    """Something with the methods of a sink."""
    if not all(callable(getattr(sink, name, None)) for name in ("open", "write", "read", "close")):
        raise TypeError(f"sink is {sink!r}, which is no sink; NpySink(path) makes one of a file.")
    return sink


def _check_length(path: str, array: Any, length: int) -> None:
    if array.shape[0] != length:
        raise SinkError(
            f"{path} has room for {array.shape[0]} items, and {length} are to be written.",
            hint="Give another path, or remove it.",
            path=path,
        )


def _check_item(path: str, array: Any, value: Any) -> None:
    if array.shape[1:] != value.shape or array.dtype != value.dtype:
        raise SinkError(
            f"{path} has items of shape {array.shape[1:]} and type {array.dtype}, and one of shape "
            f"{value.shape} and type {value.dtype} is to be written.",
            hint="Give another path, or remove it.",
            path=path,
        )


def _nothing(path: str, index: int) -> SinkError:
    return SinkError(
        f"{path} does not hold item {index}, which the restart point says was written.",
        hint="Put the output back, or remove the checkpoint too, to begin anew.",
        path=path,
        index=index,
    )


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise _missing("numpy") from error
    return numpy


def _zarr() -> Any:
    try:
        import zarr  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise _missing("zarr") from error
    return zarr


def _missing(library: str) -> MissingLibraryError:
    return MissingLibraryError(
        f"Sinks of this kind take {library}, which is not installed.",
        hint=f"pip install {library}",
        library=library,
    )
