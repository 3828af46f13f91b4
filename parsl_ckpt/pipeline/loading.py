"""From a file to a pipeline; all that is wrong with it is told at once, each with its place.

    file ─► parsed ─► interpolated ─► fields ─► graph ─► classes ─► PipelineConfig
                          │              │         │         │
                          └──────────────┴─────────┴─────────┴────► problems

Rule of this file: what is wrong in one place does not keep the others from being looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.breaker import CircuitBreakerConfig
from parsl_ckpt.kernel.checked import Checked
from parsl_ckpt.kernel.policies import (
    CircuitBreakerConfigs,
    ResiliencePolicies,
    ResiliencePolicy,
    RetryPolicies,
)
from parsl_ckpt.kernel.retrying import RetryConfig
from parsl_ckpt.pipeline import graph
from parsl_ckpt.pipeline.config import (
    ComponentConfig,
    ExecutorConfig,
    PipelineConfig,
    Problem,
    class_problems,
    executor_problems,
    graph_problems,
    refusal,
)
from parsl_ckpt.pipeline.interpolate import FromEnvironment, as_number, interpolated
from parsl_ckpt.pipeline.parsing import parsed

C = TypeVar("C", bound=Checked)


def load_config(
    path: str | os.PathLike[str],
    *,
    environ: Mapping[str, str] | None = None,
    classes: bool = True,
) -> PipelineConfig:
    """The pipeline that a file describes.

    Args:
        path: a YAML, TOML or JSON file; its fields are those of :class:`PipelineConfig`.
        environ: what ``${NAME}`` stands for; None for the environment of this process.
        classes: import the classes of the components and look at them.

    Raises:
        PipelineConfigError: it has all that is wrong, each with its place.
        MissingLibraryError: YAML takes PyYAML, and TOML takes tomli before Python 3.11.
        OSError: the file cannot be read.
        ConfigurationError: it is no path, or its suffix is none that is known.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigurationError(
            f"{path!r:.80} is no path of a file that describes a pipeline.",
            hint="Give that of a YAML, TOML or JSON file; SimplePipelineRunner(config) takes a "
            "PipelineConfig.",
            field="path",
        )
    document = parsed(Path(path))
    reader = _Reader()
    for place, text in document.problems:
        reader.tell(place, text)
    config = None
    if not isinstance(document.content, Mapping):
        if not reader.problems:
            kind = type(document.content).__name__
            empty = document.content is None
            reader.tell("the file", "is empty" if empty else f"is a {kind}, not a mapping")
    else:
        values = os.environ if environ is None else environ
        try:
            content = interpolated(document.content, values, reader.tell)
            config = reader.pipeline(content, document.written, classes)
        except RecursionError:
            reader.tell("the file", "is nested too deeply")
    if config is None or reader.problems:
        told = [
            Problem(one.place, one.text, one.name, document.line(one.place))
            for one in reader.problems
        ]
        raise refusal(told, os.fspath(path))
    return config


class _Reader:
    """Makes descriptions, and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._name = ""  # of the component that is read

    def tell(self, place: str, text: str) -> None:
        self.problems.append(Problem(place, text, self._name))

    def pipeline(
        self, content: Mapping[str, Any], written: Mapping[str, str], classes: bool
    ) -> PipelineConfig | None:
        given = dict(content)
        if isinstance(given.get("version"), (int, float, date)):  # as YAML reads 1.10
            given["version"] = written.get("version", str(given["version"]))
        listed = self._list(given.pop("components", []), "components")
        executors = self._list(given.pop("executors", []), "executors")
        made = [self._component(raw, f"components[{i}]") for i, raw in enumerate(listed)]
        given["executors"] = [
            one
            for i, raw in enumerate(executors)
            if (one := self._made(ExecutorConfig, raw, f"executors[{i}]", {"workers"}))
        ]
        labels = [raw.get("label") if isinstance(raw, Mapping) else None for raw in executors]
        self.problems += executor_problems(labels)
        self._together(listed, classes)
        given["spark"] = _plain(given.get("spark", {}))
        given["components"] = [one for one in made if one is not None]
        return self._made(PipelineConfig, given, "")

    def _component(self, raw: Any, place: str) -> ComponentConfig | None:
        if not isinstance(raw, Mapping):
            self.tell(place, f"is {raw!r}, not a mapping")
            return None
        given = dict(raw)
        self._name = given["name"] if isinstance(given.get("name"), str) else ""
        given["config"] = _plain(given.get("config") or {})
        for name, kind, ready in (
            ("retry", RetryConfig, RetryPolicies),
            ("circuit_breaker", CircuitBreakerConfig, CircuitBreakerConfigs),
        ):
            if given.get(name) is not None:
                given[name] = self._policy(kind, given[name], f"{place}.{name}", ready)
        if given.get("resilience") is not None:
            given["resilience"] = self._resilience(given["resilience"], f"{place}.resilience")
        made = self._made(ComponentConfig, given, place, {"enabled"})
        self._name = ""
        return made

    def _resilience(self, raw: Any, place: str) -> ResiliencePolicy | None:
        if isinstance(raw, str):
            policy: ResiliencePolicy | None = self._ready(raw, place, ResiliencePolicies)
            return policy
        if not isinstance(raw, Mapping):
            self.tell(place, f"is {raw!r}, neither a mapping nor a name")
            return None
        for name in raw.keys() - {"retry", "circuit_breaker"}:
            self.tell(f"{place}.{name}", "is no field of ResiliencePolicy")
        retry, breaker = raw.get("retry"), raw.get("circuit_breaker")
        if retry is not None:
            retry = self._policy(RetryConfig, retry, f"{place}.retry", RetryPolicies)
        if breaker is not None:
            where = f"{place}.circuit_breaker"
            breaker = self._policy(CircuitBreakerConfig, breaker, where, CircuitBreakerConfigs)
        return ResiliencePolicy(retry, breaker)

    def _policy(self, kind: type[C], raw: Any, place: str, ready: type) -> C | None:
        if isinstance(raw, str):
            found: C | None = self._ready(raw, place, ready)
            return found
        if not isinstance(raw, Mapping):
            self.tell(place, f"is {raw!r}, neither a mapping nor a name")
            return None
        return self._made(kind, raw, place, raw.keys())

    def _ready(self, name: str, place: str, ready: type) -> Any:
        """A ready-made one, by its name."""
        known = {one.lower(): value for one, value in vars(ready).items() if one.isupper()}
        if name.lower() not in known:
            self.tell(place, f"is {name!r}, which is none of {', '.join(known)}")
        return known.get(name.lower())

    def _made(self, kind: type[C], raw: Any, place: str, numbers: Iterable[str] = ()) -> C | None:
        """One of a kind; None, and what is wrong is told, if it cannot be made.

        Args:
            kind: what is made.
            raw: its fields.
            place: of it.
            numbers: fields in which a text from the environment may stand for a number.
        """
        if not isinstance(raw, Mapping):
            self.tell(place, f"is {raw!r}, not a mapping")
            return None
        before = f"{place}." if place else ""
        numbers = set(numbers)
        given = {n: as_number(v) if n in numbers else _plain(v) for n, v in raw.items()}
        required = [
            one.name
            for one in fields(kind)  # type: ignore[arg-type]
            if one.default is MISSING and one.default_factory is MISSING
        ]
        missing = [name for name in required if given.get(name) is None]
        for name in missing:
            self.tell(f"{before}{name}", "is missing")
            given.pop(name, None)
        wrong = kind.faults(given)
        for name, text in wrong:
            self.tell(f"{before}{name}", text)
        return None if missing or wrong else kind(**given)

    def _list(self, raw: Any, place: str) -> list[Any]:
        if isinstance(raw, list):
            return raw
        if raw is not None:
            self.tell(place, f"is {raw!r}, not a list")
        return []

    def _together(self, listed: list[Any], classes: bool) -> None:
        """What concerns components together, and what they name; of those that are any."""
        nodes, paths = [], []
        for index, raw in enumerate(listed):
            told = raw if isinstance(raw, Mapping) else {}
            # One without a name, which is told elsewhere, is in nobody's way.
            name = _plain(told["name"]) if isinstance(told.get("name"), str) else f"\0{index}"
            depends_on = told.get("depends_on")
            names = (
                [d for d in depends_on if isinstance(d, str)]
                if isinstance(depends_on, list)
                else []
            )
            nodes.append(graph.Node(name, _plain(names)))
            path = told.get("class_path")
            if isinstance(path, str) and path.strip() and as_number(told.get("enabled", True)):
                config = _plain(told.get("config") or {})
                paths.append((index, name.lstrip("\0"), _plain(path), config))
        self.problems += graph_problems(nodes)
        if classes:
            self.problems += class_problems(paths)


def _plain(value: Any) -> Any:
    """A value without a trace of where it came from."""
    if isinstance(value, FromEnvironment):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
