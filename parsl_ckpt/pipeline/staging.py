"""The kernel's side of one run of a pipeline: each component is an app with an address.

    names ─────────────┐
    code of the class ─┼─► lineage ─┐
    configuration ─────┤            ├─► address ─► recorded? ─┬─ yes ─► its value, without running
    upstream lineages ─┘    token ──┘                         └─ no ──► a task, recorded under it

The address is the argument of the task, and everything else that it gets does not count. So the
kernel finds and records what a component comes to as it does for any app, and a
``task_checkpoint()`` inside goes on where an equal attempt has stopped, in this run or after it.

* The token is the run's own, also when it is resumed: nothing of another run is found by accident.
* What is recorded is also filed under the address with an empty token. By lineage a run looks
  there: what was recorded for this code, this configuration and this upstream holds, nothing else.
* What is restored keeps the lineage that it had, whatever the configuration says now, and hands
  that down to what depends on it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from parsl_ckpt.apps.app import AppBase
from parsl_ckpt.apps.options import Options
from parsl_ckpt.errors import ComponentError, JoinError
from parsl_ckpt.identity.code import code_digest_of
from parsl_ckpt.identity.values import leaf
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.pipeline.component import (
    ComponentTask,
    Inputs,
    keywords_for,
    takes_inputs,
    wants,
)
from parsl_ckpt.pipeline.locating import locate

if TYPE_CHECKING:
    from parsl_ckpt.dataflow import DataFlowKernel
    from parsl_ckpt.pipeline.completed import RunStart
    from parsl_ckpt.pipeline.config import ComponentConfig, PipelineConfig

logger = logging.getLogger(__name__)

ONCE = RetryConfig(max_attempts=1)  # attempts are the conductor's to count


class AppTask:
    """The function of the join app that stands for a component that is an app itself."""

    __slots__ = ("__name__", "_stage")

    def __init__(self, name: str, stage: Stage) -> None:
        self.__name__ = name
        self._stage = stage

    def __call__(self, address: str, call: Mapping[str, Any]) -> Any:
        app, labels = call["component"], call["executors"]
        inputs = Inputs(call["inputs"], call["name"], tuple(call["unknown"]))
        keywords = keywords_for(app.__wrapped__, call["config"], inputs)
        kernel = self._stage.dfk.kernel
        spec = app.spec_on(kernel)
        if labels is not None:
            labels = kernel.execution.labels_for(call["name"], labels)
            spec = dataclasses.replace(spec, executors=labels)
        return app._submit(kernel, spec, (), keywords)


class Stage:
    """The components of a run as apps of a kernel.

    Args:
        dfk: the kernel.
        config: the pipeline; nothing is wrong with its graph.
        start: the token, and what is inherited.
        named: progress is recorded, which names values that then have to be on the disk.
    """

    def __init__(
        self, dfk: DataFlowKernel, config: PipelineConfig, start: RunStart, named: bool = True
    ) -> None:
        self.dfk = dfk
        self._named = named
        self._config = config
        self._token = start.token
        self._kinds: dict[str, Any] = {}
        self._apps: dict[str, AppBase] = {}
        self._lineages: dict[str, str | None] = {}
        for one in config.execution_order:
            if one.name in start.completed:
                self._lineages[one.name] = start.completed.values.get(one.name)
            else:
                self._lineages[one.name] = self._lineage(one)

    def lineage(self, name: str) -> str | None:
        """What a component is made of; None if that cannot be told."""
        return self._lineages[name]

    def recorded(self, one: ComponentConfig) -> str | None:
        """The run in whose checkpoint a value is recorded for a component as it is now; or None."""
        address = self._address(one.name)
        if address is None:
            return None
        kernel = self.dfk.kernel
        stored = kernel.calls.find(self._app(one).spec_on(kernel), (address, {}), {})
        return None if stored is None else PurePath(stored.directory).parent.name

    def value(self, one: ComponentConfig) -> Future[Any] | None:
        """The recorded value of a component; None if there is none."""
        address = self._address(one.name)
        return None if address is None else self._app(one).peek(address, {})

    def wants_inputs(self, one: ComponentConfig) -> bool:
        """Whether a component gets what its dependencies have returned."""
        try:
            kind = self._kind(one)
        except ComponentError:  # which launching it tells
            return False
        if isinstance(kind, AppBase):
            return wants(kind.__wrapped__, one.depends_on)
        return takes_inputs(kind)

    def launch(
        self, one: ComponentConfig, inputs: Mapping[str, Future[Any]], unknown: Sequence[str]
    ) -> Future[Any]:
        """Have an attempt of a component run.

        Args:
            one: the component.
            inputs: the values of its dependencies, as futures that are done.
            unknown: dependencies whose values are not known.

        Returns:
            The future of what it returns. Whatever is wrong is the future's error.
        """
        try:
            call = {
                "component": self._kind(one), "name": one.name, "config": one.config,
                "inputs": dict(inputs), "unknown": list(unknown), "spark": self._config.spark,
                "executors": one.executors,
            }  # fmt: skip
            future: Future[Any] = self._app(one)(self._address(one.name) or "", call)
        except Exception as error:
            future = Future()
            future.set_exception(error)
        return future

    def failure(self, one: ComponentConfig, error: BaseException) -> BaseException:
        """What a component has raised, given what its future says."""
        inner = error.__cause__ if isinstance(error, JoinError) else None
        return error if inner is None else inner

    def file(self, one: ComponentConfig, future: Future[Any]) -> None:
        """See to it that a later run finds the value of a component that has just succeeded."""
        lineage, record = self._lineages[one.name], getattr(future, "_record", None)
        if lineage is None or not isinstance(future, AppFuture) or not record:
            return
        kernel = self.dfk.kernel
        if self._token and future._value_key is not None:
            spec = self._app(one).spec_on(kernel)
            key = kernel.calls.key(spec, (_addressed("", lineage), {}), {})
            kernel.writer.commit(
                None, kernel.store.stage_alias(key=key, record_id=record, target=future._value_key)
            )
        if not self._named:
            return
        try:
            if self.dfk.config.checkpoint_mode == "task_exit":
                kernel.store.sync()
            else:
                self.dfk.checkpoint()
        except Exception as error:  # of whichever task; that of this one was told already
            logger.warning("Not everything is saved after component %s: %s", one.name, error)

    # -- apps and addresses ------------------------------------------------------------------------

    def _kind(self, one: ComponentConfig) -> Any:
        if one.name not in self._kinds:
            self._kinds[one.name] = locate(one.class_path)
        return self._kinds[one.name]

    def _app(self, one: ComponentConfig) -> AppBase:
        app = self._apps.get(one.name)
        if app is None:
            name = f"{self._config.name}.{one.name}"
            is_app = isinstance(self._kind(one), AppBase)
            cached = self._lineages[one.name] is not None
            options = Options(
                cache=cached,
                executors="all" if is_app or one.executors is None else one.executors,
                ignore_for_cache=("call",) if cached else None,
                code="name",
                retry=ONCE,
            )
            task = AppTask(name, self) if is_app else ComponentTask(name)
            app = AppBase(
                task, options=options, kind="join" if is_app else "python",
                data_flow_kernel=self.dfk,
            )  # fmt: skip
            self._apps[one.name] = app
        return app

    def _address(self, name: str) -> str | None:
        lineage = self._lineages[name]
        return None if lineage is None else _addressed(self._token, lineage)

    def _lineage(self, one: ComponentConfig) -> str | None:
        """What counts of a component and of all that it depends on; None if that cannot be told."""
        upstream = [self._lineages[name] for name in sorted(one.depends_on)]
        known = [lineage for lineage in upstream if lineage is not None]
        if len(known) < len(upstream):
            return None
        code = settings = b""
        if one.enabled:
            try:
                kind = self._kind(one)
                code = code_digest_of(kind.__wrapped__ if isinstance(kind, AppBase) else kind)
                settings = leaf(one.config)
            except Exception as error:
                logger.warning(
                    "Component %s has no address, so its value is not recorded: %s", one.name, error
                )
                return None
        names = _bytes(self._config.name), _bytes(one.name)
        return _digest(b"lineage", *names, code, settings, *(text.encode() for text in known))


def _addressed(token: str, lineage: str) -> str:
    return _digest(b"address", _bytes(token), lineage.encode())


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")  # names are any texts


def _digest(*parts: bytes) -> str:
    digest = blake3(b"parsl_ckpt pipeline 1")
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
