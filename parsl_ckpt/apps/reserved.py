"""The parameters by which a call asks for something: ``outputs``, ``walltime`` and their like.

Rule of this file: a value is taken from the call, by keyword or by position, or else from the
function's default, as Parsl does; the function gets it too if it has such a parameter.  A name
that the function does not have is taken out of the call.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from parsl_ckpt.apps.files import File
from parsl_ckpt.errors import RequestError
from parsl_ckpt.kernel.data import DataFuture
from parsl_ckpt.kernel.outputs import here
from parsl_ckpt.kernel.request import Request
from parsl_ckpt.signatures import signature

LIMITS = frozenset({"walltime", "parsl_resource_specification"})
STREAMS = frozenset({"stdout", "stderr"})

_NAMES = {
    "python": LIMITS | {"outputs"},
    "join": LIMITS | {"outputs"},
    "bash": LIMITS | STREAMS | {"outputs"},
}

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Reserved:
    """What the calls of one app may ask for, and how it is told from their arguments.

    Args:
        fn: the function.
        name: the app's name, for messages.
        kind: ``"python"``, ``"join"`` or ``"bash"``.
        walltime: of calls that do not say, nor the function's default.

    Attributes:
        declared: the function has such a parameter itself, so that each call may ask.
        optional: output files need not be written.
        uncounted: names that do not count in addresses, among those that the function can take.
    """

    __slots__ = ("_app", "_bash", "_defaults", "_later", "_names", "_places", "_taken",
                 "declared", "optional", "uncounted")  # fmt: skip

    def __init__(
        self, fn: Callable[..., Any], name: str, kind: str, walltime: float | None = None
    ) -> None:
        self._app = name
        self._bash = kind == "bash"
        self._names = _NAMES[kind]
        try:
            parameters = signature(fn).parameters
        except (ValueError, TypeError):  # some functions in C have none
            parameters = signature(lambda **_: None).parameters
        own = {one: p for one, p in parameters.items() if one in self._names}
        places = [one for one, p in parameters.items() if p.kind in _POSITIONAL]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._places = {one: places.index(one) for one in own if one in places}
        self._defaults = {one: p.default for one, p in own.items() if p.default is not p.empty}
        self._taken = self._names if takes_any else frozenset(own)
        if walltime is not None and self._defaults.get("walltime") is None:
            self._defaults["walltime"] = walltime
        self._later = {
            one: (places.index(one) if one in places else sys.maxsize, p.default)
            for one, p in parameters.items()
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and _comes_later(p.default)
        }
        self.declared = bool(own) or walltime is not None or bool(self._later)
        self.optional = False
        self.uncounted = tuple(sorted(self._taken & (LIMITS | STREAMS)))

    def split(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Request | None, tuple[Any, ...], dict[str, Any]]:
        """What a call asks for, and the arguments that its function gets.

        Raises:
            RequestError: it asks for what cannot be; names the parameter.
        """
        asked = {}
        for name in self._names:
            value = self._value(name, args, kwargs)
            if value is not None:
                asked[name] = value
        spare = self._names - self._taken - {"outputs"}  # an output must count, so it must be taken
        if not spare.isdisjoint(kwargs):
            kwargs = {name: value for name, value in kwargs.items() if name not in spare}
        for name, (place, value) in self._later.items():
            if name not in kwargs and place >= len(args):
                kwargs = {**kwargs, name: value}
        request = self._request(asked)
        return request, args, kwargs

    def _value(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if name in kwargs:
            return kwargs[name]
        place = self._places.get(name)
        if place is not None and place < len(args):
            return args[place]
        return self._defaults.get(name)

    def _request(self, asked: Mapping[str, Any]) -> Request | None:
        fields: dict[str, Any] = {}
        if "outputs" in asked:
            fields["outputs"] = self._outputs(asked["outputs"])
        if "walltime" in asked:
            fields["walltime"] = self._walltime(asked["walltime"])
        if "parsl_resource_specification" in asked:
            fields["resources"] = self._resources(asked["parsl_resource_specification"])
        fields |= {name: asked[name] for name in STREAMS if name in asked}
        streams = [one for name in sorted(STREAMS) if isinstance(one := asked.get(name), File)]
        if streams:  # they are data rather than logs
            fields["outputs"] = (*fields.get("outputs", ()), *reversed(streams))
            fields["streams"] = len(streams)
        fields = {name: value for name, value in fields.items() if value not in (None, (), {})}
        if self.optional and fields.get("outputs"):
            fields["optional"] = True
        return Request(**fields) if fields else None

    def _outputs(self, value: Any) -> tuple[File, ...]:
        """The files to be written; none where ``outputs`` means something else to the function."""
        kinds = (File, os.PathLike, str) if self._bash else (File, os.PathLike)
        if isinstance(value, kinds):
            self._complain("outputs", value, "is one file, not a list", "Put it into a list: [...]")
        if isinstance(value, (list, tuple)):
            for position, one in enumerate(value):
                if isinstance(one, DataFuture):
                    self._complain(
                        f"outputs[{position}]", one, "is a file that another call writes",
                        "Give a File of its own; or its .file_obj, when that call is done.",
                    )  # fmt: skip
        if not isinstance(value, (list, tuple)) or not any(isinstance(v, kinds) for v in value):
            if self._bash and value not in ((), []):
                self._complain("outputs", value, "is no list of files", _FILES)
            return ()
        for position, one in enumerate(value):
            if not isinstance(one, kinds):
                self._complain(f"outputs[{position}]", one, "is no File", _FILES)
        return tuple([one if isinstance(one, File) else File(one) for one in value])

    def _walltime(self, value: Any) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not 0 < value < float("inf")
        ):
            self._complain(
                "walltime", value, "is no time", "Give a positive number of seconds, or None."
            )
        return float(value)

    def _resources(self, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            self._complain(
                "parsl_resource_specification", value, "is no dictionary of resources",
                "Give a dictionary such as {'cores': 2}, or leave it out.",
            )  # fmt: skip
        return dict(value)

    def _complain(self, parameter: str, value: Any, what: str, hint: str) -> None:
        raise RequestError(
            f"{self._app}: {parameter}={value!r} {what}.",
            hint=hint,
            app=self._app,
            parameter=parameter.partition("[")[0],
        )


def _comes_later(default: Any) -> bool:
    """Whether a default has a future in it, or a file to be fetched: each call then gives it."""
    if isinstance(default, (list, tuple, set, frozenset)):
        return any(map(_comes_later, default))
    if isinstance(default, dict):
        return any(map(_comes_later, default.values()))
    return isinstance(default, Future) or not here(default)


_FILES = "Give a list of File objects: the files that the call is to write."
