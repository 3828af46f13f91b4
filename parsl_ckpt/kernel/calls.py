"""What can be asked of a call without making it: its address, its recorded outcome, to forget it.

Rule of this file: nothing here runs a task or waits for one.  An argument that is a future counts
by its lineage, or by its value where that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_ckpt.errors import CacheKeyError
from parsl_ckpt.kernel import task as states
from parsl_ckpt.kernel.arguments import Arguments
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import InputPending, mark
from parsl_ckpt.kernel.memo import lineage_leaves
from parsl_ckpt.kernel.outputs import validity
from parsl_ckpt.kernel.request import Request
from parsl_ckpt.kernel.task import Spec

if TYPE_CHECKING:
    from parsl_ckpt.checkpoint.store import Stored
    from parsl_ckpt.identity.address import Address
    from parsl_ckpt.kernel.kernel import Kernel


class Keys(NamedTuple):
    """The addresses of a call, as far as they are known.

    Attributes:
        value: by the values of all arguments; None if one of them is not known yet.
        lineage: by the lineage of the futures among them; None if one has none.
    """

    value: Address | None
    lineage: Address | None


class Calls:
    """Questions about calls of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def keys(self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Keys:
        """The addresses of a call.

        Raises:
            CacheKeyError: the app is not cached, or no address is known yet.
            UnidentifiableValueError: an argument has none; names the parameter.
            TypeError: the app cannot be called so.
        """
        if spec.addresser is None:
            raise CacheKeyError(
                f"Calls of {spec.name} have no address, because it is not cached.",
                hint="Declare it with cache=True.",
                app=spec.name,
            )
        arguments = self._kernel.resolving.gather(args, kwargs)
        if not arguments.futures:
            return Keys(self._address(spec, arguments, {}), None)
        by_lineage = self._kernel.resolving.by_lineage
        leaves = lineage_leaves(arguments.futures) if by_lineage else None
        lineage = None if leaves is None else self._address(spec, arguments, leaves)
        value = self._by_value(spec, arguments)
        if value is None and lineage is None:
            raise CacheKeyError(
                f"The address of this call of {spec.name} is not known before its inputs are.",
                hint="Wait for the futures among its arguments.",
                app=spec.name,
            )
        return Keys(value, lineage)

    def key(self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """The key under which the outcome of a call is filed; see :meth:`keys`."""
        keys = self.keys(spec, args, kwargs)
        address = keys.value or keys.lineage
        assert address is not None
        return address.key

    def peek(
        self,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        request: Request | None = None,
    ) -> AppFuture | None:
        """The recorded outcome of a call as a future that is done; None if there is none.

        Raises:
            CacheKeyError, UnidentifiableValueError, TypeError: see :meth:`keys`.
        """
        stored = self.find(spec, args, kwargs, request)
        if stored is None:
            return None
        try:
            value = self._kernel.store.value(stored)
        except Exception as error:
            self._kernel.problems.unreadable(spec.name, -1, error)
            return None
        future = AppFuture(self._kernel, -1)
        future.from_memo = future._restored = True
        mark(future, stored)
        if request is not None:
            future._request = request
        future._conclude(FINISHED, value, None, states.MEMO_DONE)
        return future

    def find(
        self,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        request: Request | None = None,
    ) -> Stored | None:
        """The valid record of a call, or None."""
        memo, valid = self._kernel.memo, validity(self._kernel, spec, request)
        keys = self.keys(spec, args, kwargs)
        if keys.lineage is not None:
            futures = self._kernel.resolving.gather(args, kwargs).futures
            stored = memo.find_by_lineage(keys.lineage.key, futures, valid)
            if stored is not None:
                return stored
        return None if keys.value is None else memo.find(keys.value.key, valid)

    def forget(self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        """Remove what is recorded of a call; how many records that were.

        What was computed from it is no hit by lineage any more.

        Raises:
            CacheKeyError, UnidentifiableValueError, TypeError: see :meth:`keys`.
            StoreError: the removal cannot be recorded.
        """
        keys = self.keys(spec, args, kwargs)
        found = [address.key for address in keys if address is not None]
        if self._kernel.execution.midway is not None:
            self._kernel.execution.midway.drop(*found)
        return self._kernel.store.forget(*found)

    def _by_value(self, spec: Spec, arguments: Arguments) -> Address | None:
        if not all(future.done() for future in arguments.futures):
            return None
        if any(future.cancelled() or future.exception() for future in arguments.futures):
            return None
        try:
            leaves = (
                {one: self._kernel.inputs.leaf(one) for one in arguments.futures}
                if self._kernel.resolving.by_lineage
                else {}
            )
        except InputPending:
            return None
        return self._address(spec, arguments, leaves)

    def _address(self, spec: Spec, arguments: Arguments, leaves: Mapping[Any, Any]) -> Address:
        args, kwargs = arguments.args, arguments.kwargs
        if arguments.futures:
            args, kwargs = self._kernel.resolving.substitute(args, kwargs, dict(leaves))
        assert spec.addresser is not None and spec.binder is not None
        return spec.addresser.address(spec.binder.bind(args, kwargs))
