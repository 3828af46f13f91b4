"""An app that is a method, seen from an instance: that is the first argument of every call."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_ckpt.apps.app import AppBase
    from parsl_ckpt.kernel.futures import AppFuture


class BoundApp:
    # No docstring: `help()` and `inspect` are to find the function's.
    # It is what `instance.method` gives where `method` is an app; made anew each time, so small.

    __slots__ = ("__self__", "_app")

    def __init__(self, app: AppBase, instance: object) -> None:
        self._app = app
        self.__self__ = instance

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._app(self.__self__, *args, **kwargs)

    def fresh(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._app.fresh(self.__self__, *args, **kwargs)

    def peek(self, /, *args: Any, **kwargs: Any) -> AppFuture | None:
        return self._app.peek(self.__self__, *args, **kwargs)

    def key(self, /, *args: Any, **kwargs: Any) -> str:
        return self._app.key(self.__self__, *args, **kwargs)

    def forget(self, /, *args: Any, **kwargs: Any) -> int:
        return self._app.forget(self.__self__, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], **options: Any) -> Iterator[Any]:
        return self._app.map(repeat(self.__self__), *iterables, **options)

    @property
    def __func__(self) -> AppBase:
        return self._app

    @property
    def __wrapped__(self) -> types.MethodType:
        # Where `inspect.signature` looks: the function's parameters, without the first one.
        return types.MethodType(self._app.__wrapped__, self.__self__)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return self._app.__doc__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoundApp):
            return NotImplemented
        return self._app is other._app and self.__self__ is other.__self__

    def __hash__(self) -> int:
        return hash((id(self._app), id(self.__self__)))

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.__self__, self._app._name)

    def __repr__(self) -> str:
        return f"<{self._app.kind}_app {self._app._name} of {type(self.__self__).__qualname__}>"
