"""What a callable takes, and what a class declares, whatever their annotations are worth.

Since Python 3.14 annotations are evaluated when somebody asks for them (PEP 649), and then names
that stand under ``TYPE_CHECKING`` only are missing.  Nothing here fails for want of one.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

if sys.version_info >= (3, 14):
    import annotationlib

    def signature(function: Callable[..., Any]) -> inspect.Signature:
        """The signature of a callable; annotations may be there as text.

        Raises:
            TypeError, ValueError: it has none that could be told, as some functions in C.

        >>> list(signature(lambda x, y=2: None).parameters)
        ['x', 'y']
        """
        if type(function) is FunctionType:
            told = inspect.unwrap(function, stop=lambda each: hasattr(each, "__signature__"))
            if type(told) is FunctionType:
                return inspect.signature(annotated_with_text(told))
        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)

    def annotated_with_text(function: FunctionType) -> FunctionType:
        """A function that does the same, whose annotations are as they were written."""
        copy = FunctionType(
            function.__code__, function.__globals__, function.__name__, function.__defaults__,
            function.__closure__,
        )  # fmt: skip
        for name in ("__doc__", "__kwdefaults__", "__module__", "__qualname__", "__type_params__"):
            setattr(copy, name, getattr(function, name))
        vars(copy).update(vars(function))
        with contextlib.suppress(Exception):  # `"Name" | None` fails even as text
            copy.__annotations__ = annotationlib.get_annotations(
                function, format=annotationlib.Format.STRING
            )
        return copy

    def _annotations(cls: type) -> dict[str, Any]:
        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)

else:
    from inspect import get_annotations as _annotations
    from inspect import signature as signature

    def annotated_with_text(function: FunctionType) -> FunctionType:
        """The function itself, whose annotations are there already."""
        return function


class AnnotationsOfWrapped:
    """Attribute of a wrapper: the annotations of what it wraps, made when somebody asks.

    >>> class Wrapper:
    ...     __annotations__ = AnnotationsOfWrapped()
    >>> import functools
    >>> wrapper = functools.update_wrapper(Wrapper(), annotations_of)
    >>> wrapper.__annotations__
    {'cls': 'type', 'return': 'dict[str, Any]'}
    """

    def __get__(self, wrapper: Any, kind: type) -> dict[str, Any]:
        return {} if wrapper is None else dict(wrapper.__wrapped__.__annotations__)


def annotations_of(cls: type) -> dict[str, Any]:
    """The annotations in the body of a class; names that mean nothing stay as references.

    >>> class Point:
    ...     x: int
    >>> annotations_of(Point)
    {'x': 'int'}
    """
    try:
        return _annotations(cls)
    except Exception:  # what is evaluated is the user's
        return {}
