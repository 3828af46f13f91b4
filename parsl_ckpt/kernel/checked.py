"""Small settings that say all that is wrong with them at once.

Rule of this file: a check takes a value and gives a sentence without a subject, or None; whoever
reads a file of settings puts the place before it, and the constructor the name of the class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from numbers import Integral, Real  # numpy's numbers are such, too
from typing import Any, ClassVar

from parsl_ckpt.errors import ConfigurationError

Check = Callable[[Any], "str | None"]


def whole(least: int) -> Check:
    """A check for an integer of at least ``least``."""

    def check(value: Any) -> str | None:
        if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least:
            return None
        return f"is {value!r}, not a whole number of at least {least}"

    return check


def number(least: float, *, above: bool = False, most: float = math.inf) -> Check:
    """A check for a finite number: at least ``least`` (``above``: more), at most ``most``."""
    bounds = f"{'more than' if above else 'at least'} {least:g}"
    if most < math.inf:
        bounds += f" and at most {most:g}"

    def check(value: Any) -> str | None:
        if isinstance(value, Real) and not isinstance(value, bool):
            try:
                seen = float(value)
            except OverflowError:
                seen = math.inf
            if math.isfinite(seen) and least <= seen <= most and not (above and seen == least):
                return None
        return f"is {value!r}, not a number of {bounds}"

    return check


class Checked:
    """What settings that are checked have in common; for frozen dataclasses.

    Subclasses have ``_checks``, by field, and may have more to say in :meth:`_together` of fields
    that are right each by itself.
    """

    _checks: ClassVar[Mapping[str, Check]] = {}

    @classmethod
    def faults(cls, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        """All that is wrong with settings that were read from somewhere.

        Args:
            given: values by field; those that are left out have their defaults.

        Returns:
            Pairs of the field and what is wrong with it, in the order of the fields; empty if
            ``cls(**given)`` can be made.

        >>> from parsl_ckpt.kernel.retrying import RetryConfig
        >>> for field, fault in RetryConfig.faults({"max_attempts": 0, "tries": 3}):
        ...     print(field, fault)
        max_attempts is 0, not a whole number of at least 1
        tries is no field of RetryConfig
        """
        known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
        wrong = [
            (name, fault)
            for name in known
            if name in given and name in cls._checks and (fault := cls._checks[name](given[name]))
        ]
        wrong += [(str(n), f"is no field of {cls.__name__}") for n in given if n not in known]
        return wrong or cls._together(given)

    @classmethod
    def _together(cls, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        return []

    def _check(self) -> None:
        """Raise what is wrong with the fields.

        Raises:
            ConfigurationError: it names the first field that is wrong, and tells of all.
        """
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}  # type: ignore[attr-defined]
        wrong = self.faults(values)
        if wrong:
            told = "; ".join(f"{name} {fault}" for name, fault in wrong)
            raise ConfigurationError(f"{type(self).__name__}: {told}.", field=wrong[0][0])
