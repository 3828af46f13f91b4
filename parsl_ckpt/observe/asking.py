"""Questions to a kernel: why did this future run, and would that call?

    future ─ fut.why() ─► kernel.explain ─┬─ hit ────────► where it came from
                                          ├─ recorded ───► its record, compared with older ones
                                          └─ else ───────► its address, if that is still known

Rule of this file: everything is worked out when it is asked for; the call itself paid for nothing.
Nothing is run, waited for, or recorded.

*Guarantees.*  Several threads may ask at once; they are answered one after the other.  After the
end of the run the answers come from its checkpoint, opened again for reading.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures._base import PENDING
from typing import TYPE_CHECKING, Any

from parsl_ckpt.checkpoint.rundir import run_of
from parsl_ckpt.checkpoint.store import Store
from parsl_ckpt.config import Config
from parsl_ckpt.errors import CacheKeyError, NotAnAppError
from parsl_ckpt.identity.address import Address
from parsl_ckpt.identity.outline import read_outline
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.outputs import Holding, validity
from parsl_ckpt.kernel.planning import Planned
from parsl_ckpt.kernel.task import Spec, Task
from parsl_ckpt.kernel.unkept import AGAIN
from parsl_ckpt.observe.differences import Difference
from parsl_ckpt.observe.planned import Named, Planning
from parsl_ckpt.observe.reasons import (
    Expired,
    Joined,
    NotBegun,
    NotCached,
    NotKept,
    Reason,
    Restored,
    Spoiled,
    Unknown,
    Waiting,
)
from parsl_ckpt.observe.why import Call, Why, call_of, codes_of, nodes_of, restored
from parsl_ckpt.plan.standing import Standing

if TYPE_CHECKING:
    from parsl_ckpt.kernel.kernel import Kernel
    from parsl_ckpt.kernel.request import Request


class Asking:
    """What can be asked of one kernel.

    Args:
        kernel: the kernel.
        config: what it was made with.
    """

    def __init__(self, kernel: Kernel, config: Config) -> None:
        self._kernel = kernel
        self._config = config
        self._off = _off(config)
        self._lock = threading.Lock()
        self._why: Why | None = None

    @property
    def store(self) -> Store:
        """What is recorded: the kernel's store, or its directories opened again after the end."""
        with self._lock:
            return self._open().store

    def future(self, future: AppFuture) -> Reason:
        """Why the task of a future ran, or did not have to."""
        with self._lock:
            return self._future(future)

    def call(self, app: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reason:
        """Whether a call would run, and why; nothing is executed.

        Args:
            app: an app.
            args, kwargs: its arguments; futures may stand in them.

        Raises:
            NotAnAppError: it is no app.
            UnidentifiableValueError: an argument has no identity; names the parameter.
            TypeError: the app cannot be called so.
        """
        describe = getattr(app, "_describe", None)
        if describe is None:
            raise NotAnAppError(
                f"{app!r:.80} is no app, so that nothing is known of its calls.",
                hint="Decorate it with @python_app(cache=True).",
            )
        request, args, kwargs = app._reserved.split(args, kwargs)
        known = app._described
        if known is None or known[0]() is not self._kernel:
            known = describe(self._kernel)
        with self._lock:
            return self._call(known[1], args, kwargs, request)

    # --- plans ---

    def planned(self, future: AppFuture, standing: Standing, named: Named) -> Reason:
        """Why a call of a plan would run; see :meth:`Planning.reason`."""
        with self._lock:
            return Planning(self._kernel, self._open(), self._off).reason(future, standing, named)

    def edited(self, spec: Spec, code: bytes, version: str) -> list[Difference]:
        """How the code of an app has changed; see :meth:`Planning.edited`."""
        with self._lock:
            return Planning(self._kernel, self._open(), self._off).edited(spec, code, version)

    # --- futures ---

    def _future(self, future: AppFuture) -> Reason:
        task = future._task
        if task is not None and future._phase == PENDING:
            return self._task(task, future)
        if future._value_key is None:
            if isinstance(future._lazy, Planned):
                return NotBegun(future._lazy.spec.name)
            if not self._kernel.caching:
                return NotCached("", self._off)
            return NotCached("", "its app is not cached (cache=True), or the call failed early")
        why = self._open()
        stored = why.store.find(future._value_key)
        spoiled = future.__dict__.get("_spoiled")
        if spoiled is not None and not future._restored:
            name = stored.result.app if stored is not None else ""
            return Spoiled(name, run_of(spoiled[1]), spoiled[0])
        if stored is None or stored.record_id != future._record:
            missed = getattr(future, "_missed", None)
            if missed is not None and future.__dict__.get(AGAIN):
                return NotKept(missed[1].name)
            if missed is not None:
                return self._missed(why, *missed)
            if future.from_memo and future._restored:
                return Unknown("", "its outcome came from a record that is not there any more")
            return Unknown("", "its outcome is not recorded")
        if future._restored:
            return restored(stored)
        if future.from_memo:
            return Joined(stored.result.app)
        if not self._kernel.memo.lookup:
            return NotCached(stored.result.app, self._off)
        missed = getattr(future, "_missed", None)
        call = call_of(stored.result, stored.record_id)
        if missed is None:
            return why.explain(call)
        return self._explained(why, call, missed[1], missed[2])

    def _missed(self, why: Why, address: Address, spec: Spec, asked: bool) -> Reason:
        """The answer for a task whose outcome is not recorded."""
        if not self._kernel.memo.lookup:
            return NotCached(spec.name, self._off)
        assert spec.addresser is not None
        outline = read_outline(address.outline)
        call = Call(
            address.app, address.code, spec.addresser.version, address.names, address.leaves,
            address.key, outline, codes=codes_of(spec, address.code),
        )  # fmt: skip
        return self._explained(why, call, spec, asked, ran=True)

    def _explained(
        self, why: Why, call: Call, spec: Spec, asked: bool, ran: bool = False
    ) -> Reason:
        if not self._kernel.memo.lookup:
            return NotCached(spec.name, self._off)
        reason = why.explain(call, getattr(spec, "valid", None), asked)
        if ran and isinstance(reason, Restored):
            return Unknown(spec.name, f"the same call is recorded in run {reason.run} by now")
        return reason

    def _task(self, task: Task, future: AppFuture) -> Reason:
        """The answer while the task is under way."""
        spec = task.spec
        if future.from_memo:
            return Joined(spec.name)
        if not spec.cache or spec.addresser is None:
            return NotCached(spec.name, "because the app is not cached (cache=True)")
        if not self._kernel.caching:
            return NotCached(spec.name, self._off)
        if task.address is None:
            return Waiting(spec.name, _unfinished(task.inputs))
        return self._missed(self._open(), task.address, spec, task.refresh)

    # --- calls that are not made ---

    def _call(
        self,
        spec: Spec,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        request: Request | None,
    ) -> Reason:
        kernel = self._kernel
        if not spec.cache or spec.addresser is None:
            return NotCached(spec.name, "because the app is not cached (cache=True)")
        if not kernel.memo.lookup:
            return NotCached(spec.name, self._off)
        why = self._open()
        try:
            valid, stored = validity(kernel, spec, request), None
            if why.store is kernel.store:
                stored = kernel.calls.find(spec, args, kwargs, request)
            address = kernel.calls.keys(spec, args, kwargs).value
        except CacheKeyError:
            return Waiting(spec.name, _unfinished(kernel.resolving.gather(args, kwargs).futures))
        if stored is not None:
            return restored(stored)
        if address is None:
            return Waiting(spec.name, _unfinished(kernel.resolving.gather(args, kwargs).futures))
        call = Call(
            address.app, address.code, spec.addresser.version, address.names, address.leaves,
            address.key, nodes_of(spec, address, args, kwargs), codes=codes_of(spec, address.code),
        )  # fmt: skip
        reason = why.explain(call, valid)
        if isinstance(reason, Expired) and isinstance(valid, Holding) and valid.wrong:
            return Spoiled(spec.name, run_of(valid.directory), valid.wrong)
        return reason

    def _open(self) -> Why:
        """What answers: of the kernel's store, or of its directories once that is closed."""
        why, store = self._why, self._kernel.store
        if why is None or (why.store is store and store._closed):
            why = self._why = Why(self._reopened(store) if store._closed else store)
        return why

    def _reopened(self, store: Store) -> Store:
        """The checkpoints of a run that has ended, for reading."""
        config = self._config
        own = [store.path] if store.path is not None else []
        return Store.open(
            None, sources=[*store.sources, *own], named=False, pickle=config.pickle,
            trust=config.trust, signing_key=config.signing_key, backend=store.catalog.backend,
        )  # fmt: skip


def _off(config: Config) -> str:
    """What keeps outcomes from being looked up, as the end of a sentence."""
    wish = os.environ.get("PARSL_CKPT", "")
    if wish in ("off", "refresh"):
        return f"because the environment says PARSL_CKPT={wish}"
    return "because caching was off when the run began (Config(app_cache=False), PARSL_CKPT)"


def _unfinished(futures: Any) -> tuple[int, ...]:
    return tuple(
        one.tid for one in futures if isinstance(one, AppFuture) and one._phase == PENDING
        and one._lazy is None
    )  # fmt: skip
