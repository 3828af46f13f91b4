"""What a pipeline is: its components, what each depends on, how failures are met.

Rule of this file: descriptions are values. Each field is checked when one is made; what concerns
components together, or what they name, is found by :meth:`PipelineConfig.problems`, all at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from parsl_ckpt.errors import ConfigurationError, PipelineConfigError
from parsl_ckpt.kernel.breaker import CircuitBreaker, CircuitBreakerConfig
from parsl_ckpt.kernel.checked import Check, Checked, whole
from parsl_ckpt.kernel.policies import ResiliencePolicy, chosen
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.pipeline import graph
from parsl_ckpt.pipeline.component import misfit
from parsl_ckpt.pipeline.locating import fault_of, locate


class ComponentType(str, Enum):
    """What a component is for; it is told to people and changes nothing."""

    SOURCE = "source"
    TRANSFORMATION = "transformation"
    SINK = "sink"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Problem:
    """Something wrong with the description of a pipeline.

    Attributes:
        place: where, such as ``"components[2].depends_on[0]"``.
        text: what, as a sentence without its subject.
        name: of the component, if it has one.
        line: of the file, if that is known.
    """

    place: str
    text: str
    name: str = ""
    line: int | None = None

    def __str__(self) -> str:
        told = [repr(self.name)] if self.name else []
        told += [f"line {self.line}"] if self.line else []
        where = f" ({', '.join(told)})" if told else ""
        return f"{self.place}{where} {self.text}."


def refusal(problems: Sequence[Problem], what: str) -> PipelineConfigError:
    """The error that tells of problems.

    Args:
        problems: what is wrong.
        what: the pipeline or its file.
    """
    many = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    listed = "".join(f"\n  {one}" for one in problems)
    return PipelineConfigError(f"{what} has {many}:{listed}", problems=tuple(problems), path=what)


# --- checks of fields -----------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return None if value.strip() else "is empty"
    return f"is {value!r}, not a text"


def _any_text(value: Any) -> str | None:
    return None if isinstance(value, str) else f"is {value!r}, not a text"


def _kind(value: Any) -> str | None:
    known = [kind.value for kind in ComponentType]
    right = isinstance(value, str) and value in known
    return None if right else f"is {value!r}, which is none of {', '.join(known)}"


def _mapping(value: Any) -> str | None:
    if not isinstance(value, Mapping):
        return f"is {value!r}, not a mapping"
    wrong = [name for name in value if not isinstance(name, str)]
    return f"has the name {wrong[0]!r}, which is no text" if wrong else None


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"is {value!r}, neither true nor false"


def _names(value: Any) -> str | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return f"is {value!r}, not a list of names"
    wrong = [one for one in value if not isinstance(one, str) or not one]
    return f"has {wrong[0]!r}, which is no name" if wrong else None


def _labels(value: Any) -> str | None:
    return _text(value) if isinstance(value, str) else _names(value)


def _path(value: Any) -> str | None:
    if not isinstance(value, (str, os.PathLike)):
        return f"is {value!r}, not a path"
    return None if os.fspath(value) else "is empty"


def _made_of(*kinds: type) -> Check:
    def check(value: Any) -> str | None:
        ok = value is None or isinstance(value, kinds)
        return None if ok else f"is {value!r}, not a {kinds[0].__name__}"

    return check


def _all_made_of(kind: type) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            return f"is {value!r}, not a list"
        wrong = [one for one in value if not isinstance(one, kind)]
        return f"has {wrong[0]!r}, which is not a {kind.__name__}" if wrong else None

    return check


# --- descriptions ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ComponentConfig(Checked):
    """A component of a pipeline.

    Attributes:
        name: what it is called; no two of a pipeline have the same.
        component_type: ``"source"``, ``"transformation"`` or ``"sink"``.
        class_path: the dotted path of its class (``"package.module.Class"``) or app.
        config: what it is made from: given to ``from_config``, or as keywords.
        depends_on: names of the components that have to succeed before it.
        enabled: False leaves it out: what depends on it runs as if it were not there.
        retry: how it is tried again when it fails; None for not at all.
        circuit_breaker: when it is left alone; None for never. A
            :class:`~parsl_ckpt.CircuitBreaker` in the place of a configuration is shared.
        resilience: both of these in one, instead of them.
        executors: labels of the executors that may run it; None for all.

    Raises:
        ConfigurationError: a field has a value that cannot be; all such fields are named.

    >>> ComponentConfig("load", "sink", "etl.Load", depends_on=["clean"]).depends_on
    ('clean',)
    """

    name: str
    component_type: ComponentType | str
    class_path: str
    config: Mapping[str, Any] = field(default_factory=dict)
    depends_on: Sequence[str] = ()
    enabled: bool = True
    retry: RetryConfig | None = None
    circuit_breaker: CircuitBreakerConfig | CircuitBreaker | None = None
    resilience: ResiliencePolicy | None = None
    executors: str | Sequence[str] | None = None

    _checks = {  # noqa: RUF012
        "name": _text,
        "component_type": _kind,
        "class_path": _text,
        "config": _mapping,
        "depends_on": _names,
        "enabled": _flag,
        "retry": _made_of(RetryConfig),
        "circuit_breaker": _made_of(CircuitBreakerConfig, CircuitBreaker),
        "resilience": _made_of(ResiliencePolicy),
        "executors": lambda value: None if value is None else _labels(value),
    }

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "component_type", ComponentType(self.component_type))
        object.__setattr__(self, "config", dict(self.config))
        object.__setattr__(self, "depends_on", tuple(self.depends_on))
        if self.executors is not None and not isinstance(self.executors, str):
            object.__setattr__(self, "executors", tuple(self.executors))

    @classmethod
    def _together(cls, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        if given.get("resilience") is None:
            return []
        both = [name for name in ("retry", "circuit_breaker") if given.get(name) is not None]
        return [(name, "is given beside resilience, which says both") for name in both]

    @property
    def policy(self) -> ResiliencePolicy:
        """How failures are met, however that was said."""
        return chosen(self.retry, self.circuit_breaker, self.resilience)


@dataclass(frozen=True)
class ExecutorConfig(Checked):
    """An executor that a pipeline brings along.

    Attributes:
        label: what components call it.
        kind: ``"threads"`` or ``"processes"``.
        workers: how many it has; None for as many as there are processors.

    Raises:
        ConfigurationError: a field has a value that cannot be.

    >>> ExecutorConfig("heavy", "processes", workers=4).kind
    'processes'
    """

    label: str
    kind: str = "threads"
    workers: int | None = None

    _checks = {  # noqa: RUF012
        "label": _text,
        "kind": lambda value: (
            None
            if isinstance(value, str) and value in ("threads", "processes")
            else f"is {value!r}, not threads or processes"
        ),
        "workers": lambda value: None if value is None else whole(1)(value),
    }

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True)
class PipelineConfig(Checked):
    """A pipeline.

    Attributes:
        name: what it is called; its progress is kept under this name.
        version: for people; told to hooks.
        components: what it is made of, in any order.
        description: for people.
        run_dir: where runs are recorded, if the runner makes its own kernel.
        executors: what runs components, if the runner makes its own kernel; empty for threads.
        spark: settings of the session that Spark components get: ``master``, ``app_name`` and
            ``conf``, a mapping.

    Raises:
        ConfigurationError: a field has a value that cannot be; all such fields are named.

    >>> extract = ComponentConfig("extract", "source", "etl.Extract")
    >>> load = ComponentConfig("load", "sink", "etl.Load", depends_on=["extract"])
    >>> config = PipelineConfig("nightly", components=[load, extract])
    >>> [one.name for one in config.execution_order]
    ['extract', 'load']
    """

    name: str
    version: str = "1.0"
    components: Sequence[ComponentConfig] = ()
    description: str = ""
    run_dir: str | os.PathLike[str] = "runinfo"
    executors: Sequence[ExecutorConfig] = ()
    spark: Mapping[str, Any] = field(default_factory=dict)

    _checks = {  # noqa: RUF012
        "name": _text,
        "version": _text,
        "components": _all_made_of(ComponentConfig),
        "description": _any_text,
        "run_dir": _path,
        "executors": _all_made_of(ExecutorConfig),
        "spark": _mapping,
    }

    def __post_init__(self) -> None:
        self._check()
        object.__setattr__(self, "components", tuple(self.components))
        object.__setattr__(self, "executors", tuple(self.executors))
        object.__setattr__(self, "spark", dict(self.spark))

    def component(self, name: str) -> ComponentConfig:
        """The component of a name.

        Raises:
            KeyError: there is none.
        """
        for one in self.components:
            if one.name == name:
                return one
        raise KeyError(name)

    @property
    def execution_order(self) -> tuple[ComponentConfig, ...]:
        """The components so that each comes after those it depends on, else as they are listed.

        Raises:
            PipelineConfigError: there is no such order, or a name that is not known.
        """
        self.check(classes=False)
        byname = {one.name: one for one in self.components}
        return tuple(byname[name] for name in graph.order(self._nodes()))

    def problems(self, *, classes: bool = True) -> list[Problem]:
        """All that is wrong with the components together, and with what they name.

        Args:
            classes: import the classes of those that are enabled, and look at them.
        """
        found = executor_problems([one.label for one in self.executors])
        found += graph_problems(self._nodes())
        if classes:
            enabled = [
                (i, c.name, c.class_path, c.config)
                for i, c in enumerate(self.components)
                if c.enabled
            ]
            found += class_problems(enabled)
        return found

    def check(self, *, classes: bool = True) -> None:
        """Refuse a pipeline with which something is wrong.

        Raises:
            PipelineConfigError: it has all of :meth:`problems`.
        """
        found = self.problems(classes=classes)
        if found:
            raise refusal(found, f"Pipeline {self.name!r}")

    def _nodes(self) -> list[graph.Node]:
        return [graph.Node(one.name, one.depends_on) for one in self.components]


def check_config(config: Any, what: str) -> None:
    """Refuse what is no pipeline.

    Args:
        config: what was given.
        what: who was given it.

    Raises:
        ConfigurationError: it is none.
    """
    if not isinstance(config, PipelineConfig):
        raise ConfigurationError(
            f"{what}: config is {config!r:.80}, not a PipelineConfig.",
            hint="Read a file with SimplePipelineRunner.from_file(path), which has it as .config.",
            field="config",
        )


def graph_problems(nodes: Sequence[graph.Node]) -> list[Problem]:
    """What is wrong with components together."""
    return [
        Problem(f"components[{fault.at}].{fault.field}", fault.text, nodes[fault.at].name)
        for fault in graph.faults(nodes)
    ]


def executor_problems(labels: Sequence[Any]) -> list[Problem]:
    """What is wrong with executors together: each has a label of its own."""
    first: dict[Any, int] = {}
    return [
        Problem(
            f"executors[{index}].label", f"is {label!r}, as is that of executors[{first[label]}]"
        )
        for index, label in enumerate(labels)
        if isinstance(label, str) and first.setdefault(label, index) != index
    ]


def class_problems(given: Sequence[tuple[int, str, str, Any]]) -> list[Problem]:
    """What is wrong with classes, and with what they are made from.

    Args:
        given: index of the component, its name, its class path, its configuration.
    """
    found = []
    for index, name, path, config in given:
        if fault := fault_of(path):
            found.append(Problem(f"components[{index}].class_path", f"is {path!r}: {fault}", name))
        elif isinstance(config, Mapping) and (fault := misfit(locate(path), config)):
            found.append(Problem(f"components[{index}].config", f"does not fit: {fault}", name))
    return found
