"""What Parsl has for other machines: names that can be imported, and say so when they are used."""

from __future__ import annotations

from typing import Any

from parsl_ckpt.compat.executors import elsewhere


def address_by_hostname(*args: Any, **options: Any) -> str:
    """The address at which workers reach this program: they are on the same machine."""
    return "127.0.0.1"


address_by_query = address_by_route = address_by_hostname
address_by_interface = get_any_address = address_by_hostname


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    made = globals()[name] = elsewhere(name)
    return made
