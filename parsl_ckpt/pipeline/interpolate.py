"""Variables of the environment in configurations: ``${NAME}`` and ``${NAME:-default}``.

Rule of this file: pure; the environment is handed in, and what is wrong is told and not raised.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$(?:(\$)(?=\{)|\{([^{}]*)(\}?))")
_INSIDE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)\s*(?::-(.*))?", re.DOTALL)
Tell = Callable[[str, str], None]


class FromEnvironment(str):
    """A text all of which came from the environment: where a number belongs it may be one."""

    __slots__ = ()


def interpolated(value: Any, environ: Mapping[str, str], tell: Tell, place: str = "") -> Any:
    """A copy of what was read from a file, with the values of variables in their places.

    Args:
        value: texts in it are looked at, at any depth of lists and mappings; keys are not.
        environ: the variables.
        tell: called with the place and what is wrong with it.
        place: of the value.

    >>> interpolated({"path": "${ROOT}/in", "n": ["${N:-4}"]}, {"ROOT": "/data"}, print)
    {'path': '/data/in', 'n': ['4']}
    >>> interpolated("a $${b}", {}, print)
    'a ${b}'

    A default is a plain text: one in braces again would be taken for something else by most.

    >>> _ = interpolated("${A:-${B}}", {"B": "b"}, print, "path")
    path has '${A:-$' without a '}' (a default has no braces, and $${ is a plain ${)
    """
    if isinstance(value, str):
        return _text(value, environ, tell, place)
    if isinstance(value, Mapping):
        return {
            name: interpolated(inner, environ, tell, f"{place}.{name}" if place else str(name))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [interpolated(v, environ, tell, f"{place}[{i}]") for i, v in enumerate(value)]
    return value


def _text(value: str, environ: Mapping[str, str], tell: Tell, place: str) -> str:
    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        if not found[3]:
            rule = "a default has no braces, and $${ is a plain ${"
            tell(place, f"has {found[0]!r} without a '}}' ({rule})")
            return found[0]
        inside = _INSIDE.fullmatch(found[2])
        if inside is None:
            tell(place, f"has {found[0]}, which names no variable")
            return found[0]
        name, default = inside[1], inside[2]
        # As in a shell, ":-" stands in for a variable that is empty as well.
        if environ.get(name) or (name in environ and default is None):
            return environ[name]
        if default is not None:
            return default
        tell(place, f"takes the environment variable {name}, which is not set")
        return ""

    text = _REFERENCE.sub(replaced, value)
    whole = _REFERENCE.fullmatch(value)
    return FromEnvironment(text) if whole and not whole[1] else text


def as_number(value: Any) -> Any:
    """A number or truth value for a text that came from the environment and is one.

    >>> as_number(FromEnvironment("4")), as_number(FromEnvironment("true")), as_number("4")
    (4, True, '4')
    """
    if not isinstance(value, FromEnvironment):
        return value
    known = {"true": True, "false": False}
    if value.lower() in known:
        return known[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return str(value)
