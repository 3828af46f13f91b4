"""``DataFuture``: an output file of a call, known before it is written.

Rule of this file: a data future has no state of its own.  Whatever it is asked it asks the call
that writes the file, except for who waits for *it*: the standard library's waiters want to be told
of the future that they were given.
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, PENDING
from typing import Any, NoReturn

from blake3 import blake3

from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.errors import FileIdentityError
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel import outputs
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.futures import AppFuture, Callback, _Waiting


def _parents(name: str) -> Any:
    """A slot of the base class that is read at the parent, and that nobody sets here."""

    def read(self: DataFuture) -> Any:
        return getattr(self.parent, name)

    return property(read, lambda self, value: None)


class DataFuture(AppFuture[Any]):
    """A file that a call is to write: one of ``future.outputs``.

    Among the arguments of another call it is waited for, as the call itself would be, and the
    function gets the :class:`~parsl_ckpt.apps.files.File`.

    Attributes:
        parent: the future of the call.
        file_obj: the file.
        tid: number of the task that writes it.

    The idea and the names are Parsl's.
    """

    __slots__ = ("_altered", "_index", "_woken", "file_obj", "parent")

    def __init__(self, fut: AppFuture[Any], file_obj: Any, tid: int, index: int = 0) -> None:
        # First, because what the base class sets is read there.
        self.parent = fut
        self.file_obj = file_obj
        self._index = index
        self._altered = False
        self._woken = False
        super().__init__(fut._kernel, tid)

    _phase = _parents("_phase")
    _status = _parents("_status")
    _restored = _parents("_restored")
    _exception = _parents("_exception")
    _lazy = _parents("_lazy")
    _task = _parents("_task")
    _value_key = _parents("_value_key")
    from_memo = _parents("from_memo")

    @property
    def _result(self) -> Any:
        return self.file_obj

    @_result.setter
    def _result(self, value: Any) -> None: ...

    @property
    def _key(self) -> bytes | None:
        key = self.parent._key
        return key and blake3(b"output" + key + self._index.to_bytes(4, "big")).digest()

    @_key.setter
    def _key(self, value: Any) -> None: ...

    @property
    def _record(self) -> bytes | None:
        return None if self._altered else self.parent._record

    @_record.setter
    def _record(self, value: Any) -> None: ...

    # -- the file ----------------------------------------------------------------------------------

    @property
    def filepath(self) -> str:
        """The path of the file."""
        path: str = self.file_obj.filepath
        return path

    @property
    def filename(self) -> str:
        """The path of the file, as Parsl has it."""
        return self.filepath

    def file_leaf(self, store: Store) -> bytes:
        """The identity of the file as it is now.

        If it is not what the call has left, it stands for itself from here on, not for the record.

        Raises:
            FileIdentityError: it cannot be read.
        """
        file, record = self.file_obj, self.parent._record
        if file.identity == "content":
            try:
                digest = file.content()
            except FileIdentityError:
                self._altered = True
                raise
            file = file.known(digest)
            noted = outputs.decode(store.note(record, outputs.OUTPUTS)) if record else None
            if noted is not None and noted.files[self._index].digest != digest:
                self._altered = True
        return leaf(file)

    # -- how it stands -----------------------------------------------------------------------------

    @property
    def _state(self) -> str:  # type: ignore[override]
        # To a waiter of the standard library it is done when the waiter has been told.
        if self._wait is not None and not self._woken:
            return PENDING
        return self.parent._state

    def done(self) -> bool:
        """Whether the file is written, or will not be."""
        return self.parent.done()

    def cancelled(self) -> bool:
        """Whether the call was given up."""
        return self.parent.cancelled()

    def cancel(self) -> bool:
        """Does nothing: a call is given up as a whole, by ``future.parent.cancel()``."""
        return False

    def _await(self, timeout: float | None) -> None:
        self.parent._await(timeout)

    def add_done_callback(self, fn: Callback) -> None:
        """Have ``fn(future)`` called when the outcome of the call is known."""
        self.parent.add_done_callback(lambda _: fn(self))

    def why(self) -> Any:
        """Why the call ran, or where its outcome came from; see :meth:`AppFuture.why`."""
        return self.parent.why()

    # -- what the standard library looks for ------------------------------------------------

    def _waiting(self) -> _Waiting:
        waiting = self._wait
        if waiting is None:
            # Hooked before it is seen, so that Ctrl-C in between leaves nobody waiting for nothing.
            waiting = self.__dict__.setdefault("_waiting_first", _Waiting())
            self.parent.add_done_callback(lambda _: self._tell(waiting))
            self._wait = waiting
        return waiting

    def _tell(self, waiting: _Waiting) -> None:
        """Tell who waits; more than one thread may have asked to be called."""
        with waiting.lock:
            if self._woken:
                return
            self._woken = True
            for waiter in waiting.waiters:
                if self.parent._phase == CANCELLED_AND_NOTIFIED:
                    waiter.add_cancelled(self)
                elif self._exception is not None:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)

    # -- what it is not ----------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> NoReturn:
        raise TypeError("A file is not indexed. Index the call's future, or its result().")

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"A data future has no attribute {name!r}.")

    def __repr__(self) -> str:
        return f"<DataFuture {self.file_obj!r} of task {self.tid} {self.task_status()}>"


def data_futures(future: AppFuture[Any]) -> list[DataFuture]:
    """The output files of a call, in order; none for one that has not asked for any."""
    request = getattr(future, "_request", None)
    if request is None:
        return []
    files = request.outputs[: len(request.outputs) - request.streams]
    return [DataFuture(future, file, future.tid, index) for index, file in enumerate(files)]


def stream_of(future: AppFuture[Any], name: str) -> Any:
    """Where a stream of a call is; see :attr:`AppFuture.stdout`."""
    request = getattr(future, "_request", None)
    spec = None if request is None else request.stream(name)
    original = future._restored and name in getattr(request, "logs", ())
    if request is not None and isinstance(spec, outputs.FileObject) and not original:
        index = request.outputs.index(spec, len(request.outputs) - request.streams)
        return future.__dict__.setdefault(f"_{name}", DataFuture(future, spec, future.tid, index))
    if future._restored and future._record:
        kernel: Any = future._kernel
        noted = outputs.decode(kernel.store.note(future._record, outputs.OUTPUTS))
        path = getattr(noted, name, "")
        if path or request is None or name in request.logs:
            return path or None
    return spec


def is_spoiled(future: Future[Any]) -> bool:
    """Whether it is a file that turned out to be other than its call has left it."""
    return isinstance(future, DataFuture) and future._altered


def fetches(arguments: Arguments) -> bool:
    """Whether there are files among arguments, or in a container among them, to be fetched."""
    values = [*arguments.args, *arguments.kwargs.values()]
    for value in values[:]:
        if type(value) in (list, tuple, set, frozenset):
            values += value
        elif type(value) is dict:
            values += value.values()
    values += [one.file_obj for one in arguments.futures if isinstance(one, DataFuture)]
    return not all(map(outputs.here, values))
