"""What a component is, and how one attempt of it runs, wherever that is.

    class ─► made from its config ─► open ─► run ─► close ─► value
                                       │       │      ▲
                                       └───────┴──────┘  whatever they raise

A component is a class with a method ``run``; anything else is optional:

``from_config(config)``
    a class method that makes one from what the configuration says; without it the configuration
    gives the keywords of the class.

``open()``, ``close()``
    before and after ``run``. ``close`` is called in every case, also when ``open`` has failed.

``run(inputs)``
    instead of ``run()``: ``inputs["extract"]`` is what the component ``extract`` has returned, for
    each component in ``depends_on``.

Each of these methods may be a coroutine function; the three share an event loop then.

Or it is an app: it is called with the configuration as keywords, and with what a dependency has
returned for the parameter of that name, or for ``inputs``, if it has such parameters.

Rule of this file: it runs in a worker, knows no kernel, and is imported by worker processes.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from parsl_ckpt.errors import ComponentError, MissingInputError
from parsl_ckpt.signatures import signature

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger(__name__)


class Component(Protocol):
    """The least that a component is."""

    def run(self) -> Any:
        """Do the work; what it returns is given to the components that depend on this one."""


class Inputs(dict[str, Any]):
    """What the components that one depends on have returned, by their names.

    Args:
        values: those values that are known.
        component: whose inputs these are.
        unknown: dependencies that have succeeded and whose values are not known.
    """

    def __init__(
        self, values: Mapping[str, Any], component: str = "", unknown: tuple[str, ...] = ()
    ) -> None:
        super().__init__(values)
        self._component = component
        self._unknown = unknown

    def __missing__(self, name: str) -> Any:
        if name in self._unknown:
            raise MissingInputError(
                f"What {name!r} has returned is not known any more: it succeeded in an earlier "
                "run, and its value was not recorded there, or has been removed since.",
                hint=f"Run the pipeline afresh, or have {name!r} write its result to a file that "
                f"{self._component!r} reads.",
                component=self._component,
                name=name,
            )
        known = ", ".join(map(repr, self)) or "nothing"
        raise MissingInputError(
            f"{self._component!r} has no input {name!r}; it has {known}.",
            hint="Name it in depends_on, and see that it is enabled.",
            component=self._component,
            name=name,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Inputs, (dict(self), self._component, self._unknown)


class ComponentTask:
    """The function of the app that stands for a component.

    What it is called with beside the address does not count in the address of the call, because
    the address has it already.

    Args:
        name: what records and messages call it.
    """

    __slots__ = ("__name__",)

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, address: str, call: Mapping[str, Any]) -> Any:
        """Run one attempt.

        Args:
            address: of the component.
            call: ``component``, the class; ``name``, ``config``, ``inputs`` and ``unknown``, see
                :class:`Inputs`; ``spark``, the settings of a session.
        """
        made = make(call["component"], call["name"], call["config"])
        if callable(give := getattr(made, "set_spark_session", None)):
            from parsl_ckpt.pipeline.spark import session

            give(session(call["spark"], call["name"]))
        inputs = None
        if takes_inputs(call["component"]):
            inputs = Inputs(call["inputs"], call["name"], tuple(call["unknown"]))
        return lived(made, inputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return ComponentTask, (self.__name__,)


def make(kind: Any, name: str, config: Mapping[str, Any]) -> Any:
    """A component of a class.

    Raises:
        ComponentError: the configuration does not fit the class.
        Exception: whatever the class raises when it is made.
    """
    from_config = getattr(kind, "from_config", None)
    if callable(from_config):
        return from_config(dict(config))
    if fault := misfit(kind, config):
        raise ComponentError(
            f"Component {name!r} cannot be made from its configuration: {fault}.",
            hint="Its keywords are the keywords of the class; or give the class a class method "
            "from_config(config).",
            component=name,
        )
    return kind(**config)


def misfit(kind: Any, config: Mapping[str, Any]) -> str | None:
    """Why no component of a class can be made with these keywords, as a clause; None if it may be.

    Of an app nothing is said, nor of a class with ``from_config``.

    >>> class Fetch:
    ...     def __init__(self, path, tries=3): ...
    ...     def run(self): ...
    >>> misfit(Fetch, {"path": "orders.csv"})
    >>> misfit(Fetch, {"paht": "orders.csv"})
    "Fetch needs 'path', and takes no 'paht'"
    """
    if not inspect.isclass(kind) or callable(getattr(kind, "from_config", None)):
        return None
    try:
        parameters = signature(kind).parameters
    except (TypeError, ValueError):  # a class that does not tell what it takes
        return None
    byname = {
        name: one
        for name, one in parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    needs = [
        name for name, one in byname.items() if one.default is one.empty and name not in config
    ]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    strange = [] if takes_any else [name for name in config if name not in byname]
    told = [
        f"{verb} {', '.join(map(repr, names))}"
        for verb, names in (("needs", needs), ("takes no", strange))
        if names
    ]
    return f"{kind.__name__} {', and '.join(told)}" if told else None


def lived(component: Any, inputs: Inputs | None) -> Any:
    """Open a component, run it and close it in every case.

    Raises:
        BaseException: what ``open`` or ``run`` raised, or else ``close``.
    """
    with _awaiting() as ended:
        try:
            ended(_optional(component, "open"))
            value = ended(component.run() if inputs is None else _run_with(component.run, inputs))
        except BaseException:
            try:
                ended(_optional(component, "close"))
            except Exception:  # what came first is what the user wants to know of
                logger.exception("%s.close failed, after a failure.", type(component).__name__)
            raise
        ended(_optional(component, "close"))
        return value


def _optional(component: Any, method: str) -> Any:
    found = getattr(component, method, None)
    return found() if callable(found) else None


def _run_with(run: Callable[..., Any], inputs: Inputs) -> Any:
    parameters = list(signature(run).parameters.values())
    if [one.name for one in parameters if one.kind is not one.KEYWORD_ONLY][:1] == ["inputs"]:
        return run(inputs)  # so that what wraps it need not know the name
    return run(inputs=inputs)


@contextlib.contextmanager
def _awaiting() -> Iterator[Callable[[Any], Any]]:
    """What awaits the coroutines among values, in an event loop that is made for the first."""
    loops: list[asyncio.AbstractEventLoop] = []

    def ended(value: Any) -> Any:
        if not inspect.iscoroutine(value):
            return value
        if not loops:
            import asyncio

            loops.append(asyncio.new_event_loop())
        task = loops[0].create_task(value)
        try:
            return loops[0].run_until_complete(task)
        finally:
            task.cancel()  # if this thread was interrupted; else it is done

    try:
        yield ended
    finally:
        for loop in loops:
            _close(loop)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop as ``asyncio.run`` does."""
    import asyncio

    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def misrun(kind: Any) -> str | None:
    """Why ``run`` of a class cannot be called as that of a component, as a clause; None if it can.

    >>> class Fetch:
    ...     def run(self, rows): ...
    >>> misrun(Fetch)
    "its run takes 'rows'"
    """
    if inspect.isgeneratorfunction(kind.run) or inspect.isasyncgenfunction(kind.run):
        return "its run is a generator function, of which nothing would be run"
    try:
        parameters = list(signature(kind.run).parameters.values())
    except (TypeError, ValueError):  # one that does not tell what it takes
        return None
    if inspect.isfunction(kind.run) and not isinstance(
        inspect.getattr_static(kind, "run"), staticmethod
    ):
        if not parameters or parameters[0].kind is parameters[0].KEYWORD_ONLY:
            return "its run takes no self"
        del parameters[:1]
    strange = [
        repr(str(one).partition(":")[0])
        for one in parameters
        if (one.name == "inputs") == (one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD))
        and one.default is one.empty
    ]
    return f"its run takes {', '.join(strange)}" if strange else None


def takes_inputs(kind: Any) -> bool:
    """Whether a class wants what the components have returned on which it depends."""
    return "inputs" in _parameters(kind.run)


def wants(function: Callable[..., Any], names: Sequence[str]) -> bool:
    """Whether the function of an app takes what any of these components has returned."""
    parameters = _parameters(function)
    return "inputs" in parameters or not parameters.isdisjoint(names)


def keywords_for(
    function: Callable[..., Any], config: Mapping[str, Any], inputs: Inputs
) -> dict[str, Any]:
    """The keywords with which an app is called that is a component.

    Args:
        function: the function of the app.
        config: goes before everything else.
        inputs: what it is given if it has parameters for them.
    """
    parameters = _parameters(function)
    keywords = {name: value for name, value in inputs.items() if name in parameters}
    if "inputs" in parameters:
        keywords["inputs"] = dict(inputs)
    return {**keywords, **config}


def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    try:
        return frozenset(signature(function).parameters)
    except (TypeError, ValueError):
        return frozenset()
