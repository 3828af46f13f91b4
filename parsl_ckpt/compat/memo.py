"""What Parsl's memoization does otherwise: types it does not know, exceptions that it keeps."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

from parsl_ckpt.apps.files import File
from parsl_ckpt.errors import UnidentifiableValueError
from parsl_ckpt.identity.address import Binder
from parsl_ckpt.identity.values import id_for_memo
from parsl_ckpt.identity.walk import Known
from parsl_ckpt.kernel import memoizer

_KNOWN = (str, int, float, type(None), FunctionType, Known, File)
_CONTAINERS = (list, tuple, dict)


class UnknownTypeError(UnidentifiableValueError):
    """An argument is of a type that Parsl does not memoize; field: ``type_name``."""


class StrictBinder(Binder):
    """Binds arguments, and refuses those that Parsl's memoizer refuses."""

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values that count, in the order of the parameters.

        Raises:
            TypeError: the call does not fit the signature.
            UnknownTypeError: a value is of a type for which nothing is registered.
        """
        bound = super().bind(args, kwargs)
        for value in bound:
            if type(value) not in (int, str, float):
                check(value)
        return bound


def check(value: Any) -> None:
    """Whether Parsl memoizes a call with this argument.

    Raises:
        UnknownTypeError: it does not; it names the type.

    >>> check([1, ("a", None)])
    >>> check({1, 2})
    Traceback (most recent call last):
    parsl_ckpt.compat.memo.UnknownTypeError: unknown type for memoization: <class 'set'>...
    """
    kind = type(value)
    if kind is list or kind is tuple:
        for item in value:
            check(item)
    elif kind is dict:
        for key, item in value.items():
            check(key)
            check(item)
    elif _registered(kind) or (isinstance(value, _KNOWN) and not isinstance(value, _CONTAINERS)):
        return
    else:
        raise UnknownTypeError(
            f"unknown type for memoization: {kind}.",
            hint="Register a function for it with id_for_memo.register, or use the decorators of "
            "parsl_ckpt, which know more types.",
            type_name=kind.__qualname__,
        )


def _registered(kind: type) -> bool:
    """Whether the user has registered a function for a type."""
    home = id_for_memo.dispatch(kind).__module__
    return home == __name__ or not home.startswith("parsl_ckpt.")


def id_for_memo_pickle(obj: object, output_ref: bool = False) -> bytes:
    """The pickle of a value, to be registered for types whose pickle says all that counts.

    ``id_for_memo.register(Mine)(id_for_memo_pickle)``, as in Parsl.

    Args:
        obj: the value.
        output_ref: that only a reference counts is not what it is for.

    Raises:
        ValueError: it is asked for a reference.
    """
    if output_ref:
        raise ValueError("id_for_memo_pickle makes no references")
    return pickle.dumps(obj)


class BasicMemoizer(memoizer.BasicMemoizer):
    """Parsl's memoizer: a call that has failed fails again in the same run, without being executed.

    Args:
        checkpoint_files, checkpoint_period, checkpoint_mode, memoize: see
            :class:`parsl_ckpt.kernel.memoizer.BasicMemoizer`.
        options: those of its parameters that Parsl does not have.
    """

    def __init__(
        self,
        *,
        checkpoint_files: Sequence[str | os.PathLike[str]] | None = None,
        checkpoint_period: str | float | None = None,
        checkpoint_mode: str | None = None,
        memoize: bool = True,
        **options: Any,
    ) -> None:
        options.setdefault("memoize_exceptions", True)
        options.setdefault("parsl_keys", True)  # who has come may want to go back
        super().__init__(
            checkpoint_files=checkpoint_files, checkpoint_period=checkpoint_period,
            checkpoint_mode=checkpoint_mode, memoize=memoize, **options,
        )  # fmt: skip
