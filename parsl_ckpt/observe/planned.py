"""Why a call of a plan would run: its nearest earlier call, as far as the two can be compared yet.

    inputs ─┬─ recorded ─► their values are known, or cheap to read ─► compared
            └─ computed first ─► the parameters that they go to are left out of the comparison

Rule of this file: nothing is run and nothing is waited for.  Values are read only where a digest of
them was not kept, and only small ones.

*Assumptions.*  Whoever asks sees to it that nobody else asks at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

from parsl_ckpt.checkpoint.reading import Stored
from parsl_ckpt.checkpoint.rundir import run_of
from parsl_ckpt.errors import ParslCkptError
from parsl_ckpt.identity.address import Address
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.identity.walk import Known
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.hits import VALUE_NOTE
from parsl_ckpt.kernel.outputs import Holding, validity
from parsl_ckpt.kernel.planning import Planned
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.observe import differences
from parsl_ckpt.observe.differences import Difference, Side
from parsl_ckpt.observe.nearest import Found, Wanted
from parsl_ckpt.observe.reasons import (
    Asked,
    Differs,
    Expired,
    FoundByValue,
    NoEarlierCall,
    NotCached,
    Outdated,
    Reason,
    Restored,
    Spoiled,
    Upstream,
)
from parsl_ckpt.observe.why import Call, Why, codes_of, nodes_of, restored
from parsl_ckpt.plan.standing import HIT, Standing

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel

LARGEST = 1 << 20  # bytes of a value that is read for its digest
MANY = 1000  # inputs of one call that are looked at

#: The name and the standing of a task of the plan; None for a future of somewhere else.
Named = Callable[[Future[Any]], "tuple[str, Standing] | None"]

_UNKNOWN = Known(b"L" + bytes(32))  # in the place of what is computed first


class _Inputs(NamedTuple):
    """What is known of the futures among a call's arguments.

    Args:
        leaves: the identities of values, where they are known.
        hidden: those of which no value is known.
        first: names of the tasks that are computed before.
    """

    leaves: dict[Future[Any], Known]
    hidden: frozenset[Future[Any]]
    first: tuple[str, ...]


class Planning:
    """Explains calls of plans.

    Args:
        kernel: what they were recorded on.
        why: explains the calls of its store.
        off: what keeps outcomes from being looked up, as the end of a sentence.
    """

    def __init__(self, kernel: Kernel, why: Why, off: str) -> None:
        self._kernel = kernel
        self._why = why
        self._off = off

    def reason(self, future: AppFuture, standing: Standing, named: Named) -> Reason:
        """Why a call would run, or where its outcome would come from.

        Args:
            future: of a plan that has not run.
            standing: how it stands.
            named: the names and standings of the other tasks of the plan.
        """
        lazy = future._lazy
        assert isinstance(lazy, Planned)
        spec, stored = lazy.spec, standing.stored
        if standing.state == HIT and stored is not None:
            return restored(stored)
        if not spec.cache or spec.addresser is None:
            return NotCached(spec.name, "because the app is not cached (cache=True)")
        if not self._kernel.memo.lookup:
            return NotCached(spec.name, self._off)
        if lazy.refresh:
            return Asked(spec.name, self._run_with(lazy))
        if standing.why.startswith("its value"):  # was not kept
            return Outdated(spec.name, standing.why)
        wrong = None if stored is None else self._invalid(lazy, stored)
        if wrong is not None:
            return wrong
        try:
            return self._compared(lazy, self._inputs(lazy, named), standing)
        except ParslCkptError:  # a value has no identity, a record cannot be read
            return Outdated(spec.name, standing.why)

    def _run_with(self, lazy: Planned) -> str:
        stored = None if lazy.key is None else self._kernel.memo.find(lazy.key)
        return "" if stored is None else run_of(stored.directory)

    def _invalid(self, lazy: Planned, stored: Stored) -> Reason | None:
        """Why a record that is there may not be used, if its app or its files say so."""
        valid = validity(self._kernel, lazy.spec, lazy.arguments.request)
        if valid is None or valid(stored):
            return None
        if isinstance(valid, Holding) and valid.wrong:
            return Spoiled(lazy.spec.name, run_of(valid.directory), valid.wrong)
        return Expired(lazy.spec.name, run_of(stored.directory), stored.result.began)

    # -- what it takes -----------------------------------------------------------------------------

    def _inputs(self, lazy: Planned, named: Named) -> _Inputs:
        leaves: dict[Future[Any], Known] = {}
        first: dict[str, None] = {}
        futures = lazy.arguments.futures
        for at, one in enumerate(futures):
            known = named(one)
            if known is not None and known[1].state != HIT:
                first[known[0]] = None
            elif at < MANY:
                found = self._elsewhere(one) if known is None else self._recorded(one, known[1])
                if found is not None:
                    leaves[one] = found
        return _Inputs(leaves, frozenset(futures).difference(leaves), tuple(first))

    def _recorded(self, future: Future[Any], standing: Standing) -> Known | None:
        """The identity of a value that is recorded, or of a part of it; None if it is large."""
        stored, store = standing.stored, self._kernel.store
        if stored is None or isinstance(future, DataFuture) or not isinstance(future, AppFuture):
            return None
        path: list[tuple[Callable[..., Any], Any]] = []
        while isinstance(future, AppFuture) and isinstance(lazy := future._lazy, Planned):
            if lazy.spec.kind != "lift":
                break
            future, item = lazy.arguments.args
            path.append((lazy.spec.fn, item))
        if not path:
            noted = store.note(stored.record_id, VALUE_NOTE)
            if noted is not None:
                return Known(noted)
        if len(stored.result.value) + sum(size for _, size in stored.result.blobs) > LARGEST:
            return None
        try:
            value = store.value(stored)
            for part, item in reversed(path):
                value = part(value, item)
            return Known(leaf(value))
        except Exception:  # it does not decode, or has no such part: found out when it is needed
            return None

    def _elsewhere(self, future: Future[Any]) -> Known | None:
        """The identity of the value of a future of somewhere else; None if it has none yet."""
        if isinstance(future, DataFuture):
            return None
        try:
            if not future.done() or future.cancelled() or future.exception() is not None:
                return None
            return self._kernel.inputs.leaf(future)
        except Exception:  # one of another plan, that has not run
            return None

    # -- the call, as far as it is known -----------------------------------------------------------

    def _compared(self, lazy: Planned, inputs: _Inputs, standing: Standing) -> Reason:
        kernel, spec, arguments = self._kernel, lazy.spec, lazy.arguments
        assert spec.addresser is not None and spec.binder is not None
        args, kwargs = arguments.args, arguments.kwargs
        if not kernel.resolving.by_lineage and arguments.futures:
            return Outdated(spec.name, standing.why)
        if arguments.futures:
            leaves: dict[Future[Any], Any] = dict.fromkeys(arguments.futures, _UNKNOWN)
            args, kwargs = kernel.resolving.substitute(args, kwargs, leaves | inputs.leaves)
        address = spec.addresser.address(spec.binder.bind(args, kwargs))
        if inputs.hidden:
            return self._partly(lazy, address, inputs, standing)
        call = Call(
            address.app, address.code, spec.addresser.version, address.names, address.leaves,
            address.key, nodes_of(spec, address, args, kwargs), codes=codes_of(spec, address.code),
        )  # fmt: skip
        reason = self._why.explain(call, validity(kernel, spec, arguments.request))
        if not isinstance(reason, Restored):
            return reason
        if not arguments.futures:  # there is a record, and the plan is not to use it
            return Outdated(spec.name, standing.why)
        return FoundByValue(spec.name, reason.run)

    def _partly(
        self, lazy: Planned, address: Address, inputs: _Inputs, standing: Standing
    ) -> Reason:
        """The answer for a call of which some arguments are not known yet."""
        spec, why = lazy.spec, self._why
        assert spec.addresser is not None
        hidden = self._parameters(lazy, inputs.hidden)
        new = Side(address.code, spec.addresser.version, address.names, address.leaves, {})
        known = _without(new, hidden)
        found = why.nearest(
            Wanted(spec.name, new.code, new.version, known.names, known.leaves)
        )  # fmt: skip
        if not found:
            return NoEarlierCall(spec.name)

        def differing(one: Found) -> list[Difference]:
            return differences.arguments(_without(differences.side_of(one.result), hidden), known)

        nearest = min(found, key=lambda one: len(differing(one)))
        old = nearest.result
        told = differing(nearest)
        if old.version != new.version:
            told.append(Difference("version", "version", old=repr(old.version),
                                   new=repr(new.version)))  # fmt: skip
        if old.code != new.code:
            told += differences.code(why.store.code(old.code), codes_of(spec, address.code))
        if not told and (inputs.first or standing.why == "what it takes is computed anew"):
            return Upstream(spec.name, inputs.first)
        if not told:
            return Outdated(spec.name, standing.why)
        run = run_of(nearest.directory)
        return Differs(spec.name, run, old.key, (*told, *_later(hidden, inputs.first)))

    def _parameters(self, lazy: Planned, hidden: frozenset[Future[Any]]) -> tuple[str, ...]:
        """The parameters in which there are futures of which nothing is known."""
        spec, gather = lazy.spec, self._kernel.resolving.gather
        assert spec.binder is not None
        bound = spec.binder.bind(lazy.arguments.args, lazy.arguments.kwargs)
        return tuple(
            name
            for name, value in zip(spec.binder.names, bound, strict=True)
            if not hidden.isdisjoint(gather((), {name: value}).futures)
        )

    def edited(self, spec: Spec, code: bytes, version: str) -> list[Difference]:
        """How the code of an app differs from code under which calls of it are recorded.

        Args:
            spec: the app.
            code: the digest of that code.
            version: the user's, at that time.
        """
        assert spec.addresser is not None
        now = spec.addresser.version
        found = []
        if now != version:
            found.append(Difference("version", "version", old=repr(version), new=repr(now)))
        digest = spec.addresser.code.digest()
        if digest != code:
            found += differences.code(self._why.store.code(code), codes_of(spec, digest))
        return found


def _without(side: Side, names: tuple[str, ...]) -> Side:
    """One side of a comparison without some parameters."""
    kept = [
        at for at, name in enumerate(side.names) if name not in names and at < len(side.leaves)
    ]  # fmt: skip
    outline: Mapping[int, Any] = {
        new: side.outline[old] for new, old in enumerate(kept) if old in side.outline
    }
    return Side(
        side.code, side.version, [side.names[at] for at in kept], [side.leaves[at] for at in kept],
        outline,
    )  # fmt: skip


def _later(parameters: tuple[str, ...], first: tuple[str, ...]) -> list[Difference]:
    """A remark on each parameter whose value is not known before something else is."""
    if not first:
        return []
    some = ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")
    verb = "is" if len(first) == 1 else "are"
    return [
        Difference("argument", name, note=f"not known before {some} {verb} computed")
        for name in parameters
    ]
